"""The one place that forks.

Responsible for what holds between ``fork(2)`` and the first line of a worker: signals are
blocked, the child has no wakeup descriptor and none of the master's descriptors, and leads a
process group of its own. Never returns in the child.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from cotyledon._posix.signals import FORKS, close_all


def fork(child: Callable[[], NoReturn], close: Iterable[int], *, session: bool = False) -> int:
    """Fork, run ``child`` in the new process, and return its pid in this one.

    Args:
        child: run with the signals of :mod:`cotyledon._posix.signals` still blocked; it
            calls :meth:`FORKS.unblock_in_child` when it has its handlers. It must not return.
        close: the descriptors that the child must not have.
        session: lead a session of its own, not only a process group.

    Raises:
        OSError: the kernel would not fork.
    """
    # What the child would print a second time if it flushed what the parent has buffered.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    pid = FORKS.fork()
    if not pid:
        _run(child, close, session)
    if not session:
        try:
            # Both sides do it, so that neither has to wait for the other.
            os.setpgid(pid, pid)
        except OSError:
            pass  # the child is gone
    return pid


def _run(child: Callable[[], NoReturn], close: Iterable[int], session: bool) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        if session:
            os.setsid()
        else:
            os.setpgid(0, 0)
        close_all(close)
        FORKS.fds = tuple
        child()
    except BaseException:
        # Nothing may unwind into the frames of the master.
        try:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    os._exit(70)
