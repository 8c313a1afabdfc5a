"""`python -m daemon`, with a model that hangs for ever once the file $STATE_DIRECTORY/hang is there; that goes with it.

Health calls a pipeline stalled after five minutes; here after a second.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from daemon import cli, options
from daemon.pipeline.embed import EmbedStage
from daemon.records import Loaded

SIGN = Path(os.environ.get("STATE_DIRECTORY", "/nowhere")) / "hang"
_embed = EmbedStage._embed


def embed_or_hang(stage: EmbedStage, batch: Sequence[Loaded]) -> None:
    if SIGN.exists():
        SIGN.unlink()
        threading.Event().wait()
    _embed(stage, batch)


setattr(options, "stalled_seconds", lambda _: 1.0)  # noqa: B010 - as the next one
setattr(EmbedStage, "_embed", embed_or_hang)  # noqa: B010 - a plain assignment would need its type ignored

if __name__ == "__main__":
    cli.main()
