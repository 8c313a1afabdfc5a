"""The API held against its own description by schemathesis: right requests, wrong ones, and chains of them.

Every answer has a status, a type and a shape that /openapi.json tells; what it calls wrong is refused; no token, no
answer; and nothing ends in a server error.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from daemon import wiring
from daemon.wiring import Daemon
from tests.pictures import Web, picture
from tests.whole import Tables, settings

CONFIG = Path(__file__).with_name("api_contract.toml")
TOKEN = "of-this-test"
PATIENCE = 170


@pytest.fixture
def daemon(empty_database: str, compiled: Path, web: Web, tmp_path: Path) -> Iterator[Daemon]:
    """One with images of all kinds. It may fetch from the port of the pictures alone, so nothing leaves loopback."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    given = settings(
        empty_database,
        compiled,
        http={"token_file": str(token_file)},
        fetch={"allow_ports": [urlsplit(web.base).port]},
    )
    with wiring.open_daemon(given, allow_untrained=True) as daemon:
        tables = Tables(empty_database)
        tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 9)})
        tables.insert({9: web.base + "/gone.jpg", 10: "", 123456: "http://10.0.0.1/x.jpg"})
        tables.wait(lambda: len(tables.vectors()) == 8, "the vectors")
        yield daemon


@pytest.mark.parametrize(("phases", "examples"), [("examples,coverage,fuzzing", 15), ("stateful", 8)])
def test_the_api_is_as_it_says(daemon: Daemon, tmp_path: Path, phases: str, examples: int) -> None:
    command = [
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--no-color", "--config-file", str(CONFIG), "run", daemon.address + "/openapi.json"),
        *("--checks", "all", "--phases", phases, "--max-examples", str(examples), "--workers", "2"),
        *("--generation-deterministic", "--continue-on-failure", "--request-timeout", "60"),
        *("--header", f"Authorization: Bearer {TOKEN}"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
