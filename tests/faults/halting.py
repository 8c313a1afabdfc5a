"""`python -m daemon`, with a model that halts over its batch, and says so, while the file $FAULTS_HALT is there."""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from daemon import cli
from daemon.pipeline.embed import EmbedStage
from daemon.records import Loaded

SIGN = Path(os.environ["FAULTS_HALT"])
_embed = EmbedStage._embed


def embed_or_halt(stage: EmbedStage, batch: Sequence[Loaded]) -> None:
    if SIGN.exists():
        sys.stderr.write('{"event": "test.halted"}\n')
        sys.stderr.flush()
        pause = threading.Event()
        while SIGN.exists():
            pause.wait(0.02)
    _embed(stage, batch)


setattr(EmbedStage, "_embed", embed_or_halt)  # noqa: B010 - a plain assignment would need its type ignored

if __name__ == "__main__":
    cli.main()
