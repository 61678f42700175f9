"""One child process, known by its pidfd.

Responsible for signalling, reaping and clearing away exactly that process and its group. Never
waits for a death: the pidfd in the poll loop tells it. Needs Linux 5.4 (``pidfd_open(2)``,
``waitid(2)`` with ``P_PIDFD``).
"""

import errno
import os
import signal
from typing import Any

from cotyledon.status import Usage

_GROUP = 1 << 2
"""``PIDFD_SIGNAL_PROCESS_GROUP`` of ``pidfd_send_signal(2)``, Linux 6.9: the group that the
process led, found through the pidfd, even when the process itself has been reaped."""


LONGEST_WAIT = 86_400_000
"""Milliseconds, a day: epoll and poll take no more than some 24 of them."""


def milliseconds(left: int) -> int:
    """Return how long to poll for something that is so many nanoseconds away.

    Rounded up, or it would be too early; not longer than a day, after which to ask again.
    """
    return min(max(0, left + 999_999) // 1_000_000, LONGEST_WAIT)


class Process:
    """A direct child that leads a process group.

    Args:
        pid: of an unreaped child of this process.

    Raises:
        OSError: no descriptor is left for the pidfd.
    """

    __slots__ = ("dumped", "pid", "pidfd", "returncode", "usage")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.returncode: int | None = None
        self.dumped = False
        self.usage: Usage | None = None

    def send_signal(self, signum: int) -> bool:
        """Signal the process alone; return false if the kernel forbids it.

        It does that to a master without ``CAP_KILL`` whose worker has changed its user. A
        process that is gone is no error.
        """
        try:
            signal.pidfd_send_signal(self.pidfd, signum)
        except ProcessLookupError:
            pass
        except PermissionError:
            return False
        return True

    def kill(self) -> bool:
        """Kill the process and everything in its group; return false if that is forbidden."""
        self.kill_group()
        return self.send_signal(signal.SIGKILL)  # it may have left its group, or not lead it yet

    def kill_group(self) -> None:
        """Kill everything in the group of the process, which may be dead."""
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL, None, _GROUP)
        except (ProcessLookupError, PermissionError):
            pass  # it is empty, or its members have changed their user
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Linux before 6.9. The number is still that of our group: the leader is not
            # reaped before this, and a group that has members keeps its number.
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    def reap(self) -> bool:
        """Collect the account of a process that is dead, if it can be had yet.

        It cannot while a tracer has not looked at it.

        Returns:
            Whether the process is done with. Then ``returncode`` is its exit status, or minus
            the signal's number, or ``None`` if a foreign ``waitpid(-1)`` took it; ``dumped``
            whether it has left a core dump; ``usage`` what it has used, or ``None`` if that
            went to somebody else.
        """
        try:
            # A look only: Python's waitid() does not ask for the usage.
            result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        if result is None:
            return False
        try:
            # By number, which is safe: a zombie of ours has it. If a foreign wait takes it this
            # very moment there is no such child; for the number to be another's, the kernel would
            # have to deal out all others between these two calls.
            pid, _, used = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            pass  # what we have seen is true all the same
        else:
            if not pid:
                return False
            self.usage = _usage(used)
        exited = result.si_code == os.CLD_EXITED
        self.returncode = result.si_status if exited else -result.si_status
        self.dumped = result.si_code == os.CLD_DUMPED
        return True

    def close(self) -> None:
        """Close the pidfd; the process lives on if it still does."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _usage(used: Any) -> Usage:
    return Usage(used.ru_utime, used.ru_stime, used.ru_maxrss * 1024, used.ru_majflt)
