"""Processes that end with the one that started them, however that ends.

Linux only. A step is forked from a server between it and its run's process, so that the kernel's
signal at a parent's death (`command_ending_with_parent`) would come from the wrong one:
`end_steps_with_run` watches the run's process itself.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_POLL_S = 0.05


def command_ending_with_parent(module: str, *arguments: str) -> list[str]:
    """The command `python -m MODULE ARGUMENTS`, which the kernel interrupts (SIGINT) when the
    thread that starts it ends."""
    return [sys.executable, __file__, module, *arguments]  # the file alone imports no Dagster


def end_steps_with_run() -> None:
    """For the process that steps are forked from: each is killed when its run's process is gone.

    A step that outlives its run holds its artifact, its memory and its GPU, and what it makes
    would be counted to a run that has failed. Nothing half-written is left: all is written
    beside its place and renamed.
    """
    os.register_at_fork(after_in_child=_watch)


def _watch() -> None:
    threading.Thread(target=_end_with_run, args=(os.getpid(),), daemon=True,
                     name="ends with its run").start()


def _end_with_run(process: int) -> None:
    # Just forked, it does not know its parent yet: what it shall do comes through a pipe first.
    while (run := multiprocessing.parent_process()) is None:
        time.sleep(_POLL_S)
    run.join()
    os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    # The signal is kept through exec. Set between fork and exec it might deadlock with threads.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell's background ignores
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
