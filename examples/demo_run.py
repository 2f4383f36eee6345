"""What the demos share: how they fail, and how they end."""

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from runai_core.client.results import Workload


class DemoFailed(Exception):
    """Something that the demo promises did not happen; `workload` is the one that shows it, where one does."""

    def __init__(self, message: str, workload: Workload | None = None) -> None:
        super().__init__(message)
        self.workload = workload


def run_in_a_folder(play: Callable[[Path], None]) -> int:
    """Play in a folder that is gone afterwards; return the exit status. SIGTERM ends a demo as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix="runai-demo-", ignore_cleanup_errors=True) as folder:
        try:
            play(Path(folder))
        except DemoFailed as error:
            print(f"The demo failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nInterrupted; everything that the demo started has been stopped.", file=sys.stderr)
            return 130
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
