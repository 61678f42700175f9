"""The one place that forks, and what holds around every fork.

Responsible for what is true between ``fork(2)`` and the first line of a worker: signals are
blocked, the child has no wakeup descriptor and none of the master's descriptors, and leads a
process group of its own. Responsible also for clean children of the program: what user code
forks from the master or from a worker starts with default handlers and none of our descriptors.
Never returns in a child of ours.
"""

import _signal  # type: ignore[import-not-found]
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from cotyledon._posix.signals import forget_handlers

# Blocked around a fork, so that no handler of the parent runs in a child that still has the
# parent's wakeup descriptor.
_ALL = _signal.valid_signals()


class Birth(NamedTuple):
    """A child to fork."""

    main: Callable[[], NoReturn]
    """Run with signals blocked; it calls :meth:`Forks.unblock` when it has its handlers."""
    keep: tuple[int, ...] = ()
    """The descriptors of ours that the child has (none: it looks after them itself)."""


class Forks:
    """What happens around every fork of this process, ours or the program's own."""

    def __init__(self) -> None:
        # Held while a descriptor of ours exists that is not in the map, and during a fork.
        self.lock = threading.RLock()
        self._owned = bytearray()  # by descriptor: whether it is ours
        self._registered = False
        self.forget: Callable[[], None] | None = None
        """What else a child that user code forks must not have from this process."""
        self._thread = threading.local()  # of the fork under way: the mask, and whose it is

    def own(self, *fds: int) -> None:
        """Note descriptors that children must not have."""
        for fd in fds:
            if fd >= len(self._owned):
                self._owned.extend(bytes(fd + 64 - len(self._owned)))
            self._owned[fd] = 1

    def disown(self, *fds: int) -> None:
        """Forget descriptors that are closed, or somebody else's now."""
        for fd in fds:
            self._owned[fd] = 0

    def watch(self) -> None:
        """Begin to look after forks; does nothing the second time."""
        if not self._registered:
            self._registered = True
            os.register_at_fork(
                before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
            )

    def fork(self, births: Sequence[Birth], *, session: bool = False) -> list[int | OSError]:
        """Fork children in a row; return the pid of each, or why there is none.

        Args:
            births: the children.
            session: each leads a session of its own, not only a process group.
        """
        self.watch()
        # What a child would print a second time if it flushed what the parent has buffered.
        _flush()
        made: list[int | OSError] = []
        # In one go: between two forks the parent copies each page of memory that it writes to.
        self.lock.acquire()
        self._thread.mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL)
        self._thread.ours = True
        try:
            for birth in births:
                try:
                    pid = os.fork()
                except OSError as error:
                    made.extend([error] * (len(births) - len(made)))
                    break
                if not pid:
                    self._be_born(birth, session)
                made.append(pid)
        finally:
            self._thread.ours = False
            self.unblock()
            self.lock.release()
        if not session:
            for child in made:
                _lead_group(child)
        return made

    @property
    def forking(self) -> bool:
        """Whether the fork that this thread is in the middle of is one of :meth:`fork`."""
        return getattr(self._thread, "ours", False)

    def unblock(self) -> None:
        """Leave the signal mask of the fork."""
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._thread.mask)

    def _be_born(self, birth: Birth, session: bool) -> NoReturn:
        try:
            self.lock = threading.RLock()
            self._thread.ours = False
            _signal.set_wakeup_fd(-1)
            if session:
                os.setsid()
            else:
                os.setpgid(0, 0)
            if birth.keep:
                self.disown(*birth.keep)
                self._close_owned()
            birth.main()
        except BaseException:
            # Nothing may unwind into the frames of the master.
            _print_traceback()
        finally:
            os._exit(1)

    def _close_owned(self) -> None:
        owned = self._owned
        low = owned.find(1)
        while low >= 0:
            high = owned.find(0, low)
            os.closerange(low, high if high >= 0 else len(owned))
            low = owned.find(1, high) if high >= 0 else -1
        self._owned = bytearray()

    def _before(self) -> None:
        if getattr(self._thread, "ours", False):
            return
        self.lock.acquire()
        self._thread.mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL)

    def _in_parent(self) -> None:
        if getattr(self._thread, "ours", False):
            return
        self.unblock()
        self.lock.release()

    def _in_child(self) -> None:
        if getattr(self._thread, "ours", False):
            return
        self.lock = threading.RLock()  # the thread that holds the other one may not be here
        forget_handlers()
        if self.forget is not None:
            self.forget()
            self.forget = None
        self._close_owned()
        self.unblock()


FORKS = Forks()


def _lead_group(pid: int | OSError) -> None:
    if isinstance(pid, int):
        try:
            # Both sides do it, so that neither has to wait for the other.
            os.setpgid(pid, pid)
        except OSError:
            pass  # the child is gone


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass


def _print_traceback() -> None:
    import traceback

    try:
        traceback.print_exc()
    finally:
        _flush()
