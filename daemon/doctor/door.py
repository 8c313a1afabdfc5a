"""Looks at the HTTP port and the token: free, or taken by a vectord, or by somebody else."""

import errno
import json
import socket
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from daemon.api.access import admission
from daemon.doctor.findings import Finding, ok, problem, warning
from daemon.errors import ConfigurationError
from daemon.health import State
from daemon.sections import Http

ANSWER_SECONDS = 3.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask a server that listens everywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """How a port was found: the error of binding it, and what `/health` there says, if that is a vectord.

    `starting`: it is not warm yet, and its database does not know it before.
    """

    host: str
    port: int
    error: OSError | None = None
    status: str | None = None
    healthy: bool = False
    starting: bool = False


def look_at_port(host: str, port: int) -> Port:
    """Binds it for a moment, as the daemon would."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, port))
            made.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Port(host=host, port=port, error=error)
            return _who(host, port, error)
    return Port(host=host, port=port)


def judge_port(found: Port, key: str = "http.port", *, lives_here: bool | None = None) -> Finding:
    """A daemon that runs already is what `check` most often meets.

    `lives_here`: whether this database knows of a daemon on this machine that is alive; None where it was not asked.
    """
    where = f"{found.host}:{found.port}"
    if found.error is None:
        return ok(key, f"{where} is free" if found.port else "any port that is free")
    if found.status is None:
        reason = "another program has it" if found.error.errno == errno.EADDRINUSE else str(found.error.strerror)
        return problem(key, f"cannot listen on {where}: {reason}", f"set http.host and {key} to what is free")
    told = f"a vectord answers on {where}: {found.status}"
    if lives_here is False:
        return _of_others(told, key, starting=found.starting)
    if found.healthy:
        return ok(key, told)
    return warning(key, told, "its journal says more: journalctl -u 'vectord*'")


def _of_others(told: str, key: str, *, starting: bool) -> Finding:
    if starting:
        return warning(key, f"{told}, and until then it may be another installation's", "ask again when it has started")
    variable = f"VECTORD_{key.replace('.', '__').upper()}"
    return problem(
        key,
        f"{told}, but no daemon of this machine works on this database: another installation's vectord has it",
        f"set {key} ({variable}) to what is free",
    )


def look_at_token(http: Http) -> Finding:
    """Readable, not empty, and there where the port is open to others."""
    try:
        token = admission(http.token_file, http.host, allow_anonymous=http.allow_anonymous)
    except ConfigurationError as error:
        return problem("token", str(error), "write a token into a file that the daemon's user can read")
    if token is not None:
        return ok("token", f"in {http.token_file}")
    if http.allow_anonymous:
        return warning("token", "none, and http.allow_anonymous lets everybody in", "set http.token_file")
    return ok("token", f"none is needed on {http.host}")


def _who(host: str, port: int, error: OSError) -> Port:
    connection = HTTPConnection(ANYWHERE.get(host, host), port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        said = json.loads(answer.read(65536))
        return Port(
            host=host,
            port=port,
            error=error,
            status=str(said["status"]),
            healthy=bool(said["healthy"]),
            starting=said.get("state") == State.STARTING,
        )
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return Port(host=host, port=port, error=error)
    finally:
        connection.close()
