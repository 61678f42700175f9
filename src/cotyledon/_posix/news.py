"""What workers say of themselves, over one pair of sockets that all of them write to.

Responsible for the pair, and for reading a little of it at a time. Never looks after the channel
of a worker: that is polled only while the worker owes something, because its hanging up would be
one more turn of the master at each death. This pair never hangs up: the master has both ends.
"""

import os
from collections.abc import Mapping

from cotyledon._posix import channel
from cotyledon._posix.children import Child
from cotyledon._posix.fork import FORKS

MOST = 64
"""Messages that are read in one turn: the rest is there in the next one."""


class News:
    """The two ends of the pair; the workers have ``theirs``.

    Raises:
        OSError: no descriptor is left.
    """

    def __init__(self) -> None:
        with FORKS.lock:
            self.ours, self.theirs = channel.pair()
            FORKS.own(self.ours, self.theirs)
        self._by_pid: dict[int, Child] = {}
        self.told: dict[Child, None] = {}
        """Those whose text is new; whoever tells people of it takes them out."""

    def expect(self, child: Child) -> None:
        """Hear what a child says from now on."""
        self._by_pid[child.process.pid] = child

    def forget(self, child: Child) -> None:
        """Hear a child no longer: it is dead, and its number may soon be another's."""
        self._by_pid.pop(child.process.pid, None)

    def hear(self) -> None:
        """Take in what has been said, or a part of it."""
        for _ in range(MOST):
            try:
                datagram = os.read(self.ours, channel.LARGEST)
            except OSError:
                return
            message = channel.decode(datagram)
            if not isinstance(message, channel.StatusMessage):
                continue
            child = self._by_pid.get(message.pid)
            if child is not None:
                text = message.text or None
                child.figures = message.figures
                if text != child.status:
                    child.status = text
                    self.told[child] = None

    def take(self) -> Mapping[Child, None]:
        """Take those whose status is new, in order."""
        told, self.told = self.told, {}
        return told

    def close(self) -> None:
        """Close both ends."""
        with FORKS.lock:
            for fd in (self.ours, self.theirs):
                FORKS.disown(fd)
                os.close(fd)
