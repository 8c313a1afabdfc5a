"""How requests connects here: through the gate, and with the one list of certificates."""

import socket
import ssl
from functools import partial
from typing import Any

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import parse_url

from daemon.errors import Reason
from daemon.loader.gate import Gate, GuardedTLSSocket
from daemon.loader.problem import LoadError

KEPT_HOSTS = 16
"""Hosts to which a thread keeps a connection open."""


class _PlainConnection(HTTPConnection):
    def __init__(self, *args: Any, gate: Gate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = gate

    def _new_conn(self) -> socket.socket:
        return self._gate.connect(self._dns_host, self.port)


class _TLSConnection(HTTPSConnection):
    def __init__(self, *args: Any, gate: Gate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = gate

    def _new_conn(self) -> socket.socket:
        return self._gate.connect(self._dns_host, self.port)

    def connect(self) -> None:
        try:
            super().connect()
        except TimeoutError:
            self._gate.left()
            raise LoadError(Reason.CONNECT_TIMEOUT, "in the TLS handshake") from None
        if isinstance(self.sock, GuardedTLSSocket):
            self.sock.gate = self._gate


class _PlainPool(HTTPConnectionPool):
    def __init__(self, *args: Any, gate: Gate, **kwargs: Any) -> None:
        self.ConnectionCls = partial(_PlainConnection, gate=gate)  # type: ignore[assignment]  # Called like a class.
        super().__init__(*args, **kwargs)


class _TLSPool(HTTPSConnectionPool):
    def __init__(self, *args: Any, gate: Gate, **kwargs: Any) -> None:
        self.ConnectionCls = partial(_TLSConnection, gate=gate)  # type: ignore[assignment]  # Called like a class.
        super().__init__(*args, **kwargs)


class GuardedAdapter(HTTPAdapter):
    """Keeps connections like any adapter of requests, and makes them through the gate.

    It is called directly, not through a `Session`: that would read the whole body of a redirect, take proxies and
    passwords from the environment, and carry cookies from one image to another.
    """

    def __init__(self, gate: Gate, trust: ssl.SSLContext) -> None:
        self._gate = gate
        self._trust = trust
        super().__init__(pool_connections=KEPT_HOSTS, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_PlainPool, gate=self._gate),
            "https": partial(_TLSPool, gate=self._gate, ssl_context=self._trust),
        }

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        *_: Any,
        **__: Any,
    ) -> HTTPConnectionPool:
        url = parse_url(str(request.url))
        pool: HTTPConnectionPool = self.poolmanager.connection_from_host(url.host, url.port, url.scheme)
        return pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Nothing to do: the context knows whom to trust. Requests would load the list anew for each connection."""


def make_trust(ca_file: str) -> ssl.SSLContext:
    """Whom TLS connections trust: this file's certificates, or certifi's. Raises `OSError` that names the key."""
    path = ca_file or DEFAULT_CA_BUNDLE_PATH
    try:
        context = ssl.create_default_context(cafile=path)
    except OSError as error:
        raise OSError(f"fetch.ca_file: {path} holds no certificates that can be read: {error}") from error
    context.sslsocket_class = GuardedTLSSocket
    context.set_alpn_protocols(["http/1.1"])
    return context
