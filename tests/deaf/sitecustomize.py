"""On PYTHONPATH, makes each slot's first process deaf: as if it had a message in hand for ever.

Python imports this at its start. ``DEAF`` is a folder that remembers who was. The seconds that
such a process is given are a few.
"""

import os
import sys
from pathlib import Path


def _patch() -> None:
    from kombu.transport.virtual import QoS

    from tasks import hearing

    QoS.can_consume = lambda _: False
    hearing.SAYS_SO, hearing.ENDS, hearing.ASKS = 2.0, 4.0, 0.5


def _is_first(folder: Path, name: str) -> bool:
    try:
        (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


if os.environ.get("DEAF") and sys.orig_argv[-3:-1] == ["worker", "start"]:
    slot = sys.orig_argv[-1]
    if slot != "reconcile" and _is_first(Path(os.environ["DEAF"]), slot):
        _patch()
