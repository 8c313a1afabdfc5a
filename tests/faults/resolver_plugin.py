"""Planted into real loaders by `LOADER_TEST_PLUGIN=resolver_plugin`: names that end in .test, all of them this machine.

While the file $FAULTS_RESOLVER is there, the resolver cannot be reached, and each try is a line in it: when it was.
"""

import os
import socket
import time
from pathlib import Path
from typing import Any

SIGN = Path(os.environ["FAULTS_RESOLVER"])
_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
    """As the C library answers when it has nobody to ask."""
    if SIGN.exists():
        with SIGN.open("a") as tries:
            tries.write(f"{time.monotonic()}\n")
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _getaddrinfo("127.0.0.1" if str(host).endswith(".test") else host, *arguments, **named)


socket.getaddrinfo = getaddrinfo
