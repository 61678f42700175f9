"""Descriptors that are not the workers', in the master's one poll loop.

Responsible for what others want to be woken for. Never reads from a descriptor.
"""

import select
from collections.abc import Callable


class Watches:
    """What the reactor looks at for others.

    Args:
        epoll: the reactor's.
    """

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._ready: dict[int, Callable[[], None]] = {}
        self.alarm: int | None = None
        """An instant at which to wake up, set by those who watch."""

    def add(self, fd: int, ready: Callable[[], None]) -> None:
        """Have something called, again and again, while a descriptor is readable."""
        self._ready[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def pause(self, fd: int, *, paused: bool) -> None:
        """Leave a descriptor alone for a while, or look at it again."""
        self._epoll.modify(fd, 0 if paused else select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """Look at a descriptor no longer."""
        del self._ready[fd]
        self._epoll.unregister(fd)

    def tell(self, fd: int) -> None:
        """Call whoever waits for a descriptor."""
        ready = self._ready.get(fd)
        if ready is not None:
            ready()
