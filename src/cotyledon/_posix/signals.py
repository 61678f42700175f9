"""Signals: who has handlers, and who is woken.

Responsible for the four signals that cotyledon handles (TERM, INT, HUP, ALRM) in the master and in
its workers, and for the descriptor that wakes a poll loop. Never decides what a signal means.

A handler only records the number and wakes the loop. The wakeup happens twice: the C handler
of the interpreter writes to the wakeup descriptor (which works while a thread is in C code), and
the Python handler writes too (which works while a program such as an asyncio loop has replaced
the wakeup descriptor). Where the program has put a handler of its own in the place of ours, the
number that the C handler has written still tells of the signal: both get it.

``_signal`` and ``_socket`` are what the standard library's :mod:`signal` and :mod:`socket` wrap.
The wrappers turn every number into an enum; a worker, which has just been forked, would copy
more pages of memory for that than for everything else that it does.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

OURS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGALRM)

HANDLED = 0xFF
"""Written by our Python handler after the number that the C handler has written: it tells the
guard, which looks at the unread bytes, that the main thread is not stuck in C code."""


class Wakeup:
    """A descriptor to poll, and the ways to make it readable: a signal, a thread, a hook."""

    def __init__(self) -> None:
        ours, theirs = _socket.socketpair(
            _socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0
        )
        self.fd = ours.detach()
        self._writer = theirs.detach()

    @property
    def fds(self) -> tuple[int, int]:
        """Both descriptors."""
        return self.fd, self._writer

    def wake(self, mark: int = 0) -> None:
        """Make the descriptor readable; callable from any thread and any signal handler."""
        try:
            os.write(self._writer, bytes((mark,)))
        except OSError:  # full: it is readable then; closed: nobody waits any more
            pass

    def claim(self) -> None:
        """Have the interpreter write to it at each signal (again, if somebody took that over)."""
        _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def drain(self) -> bytes:
        """Make it unreadable again; return the numbers of the signals that were noted in it."""
        noted = b""
        try:
            while len(piece := os.read(self.fd, 4096)) == 4096:
                noted += piece
        except OSError:
            return noted
        return noted + piece

    def close(self) -> None:
        """Close both descriptors, and take the wakeup away from the interpreter if it is ours."""
        previous = _signal.set_wakeup_fd(-1)
        if previous not in (-1, self._writer):
            _signal.set_wakeup_fd(previous)
        os.close(self.fd)
        os.close(self._writer)


_catcher: "Catcher | None" = None  # of this process; a forked worker sets its own


def _dispatch(signum: int, frame: FrameType | None) -> None:
    # One function for the master and its workers: these inherit it, and need no system call.
    catcher = _catcher
    if catcher is None or not catcher.handle(signum, frame):
        # A child that was forked behind Python's back: behave as if we were not there.
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)


class Catcher:
    """Records our signals in one process and wakes its loop.

    Args:
        wakeup: what to wake.
        immediately: called in the handler itself, in the main thread, with the signal's number,
            after it was recorded; may raise, or end the process.
        also: handlers of the program to call, too.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        immediately: Callable[[int], None],
        also: Mapping[int, Callable[[int, FrameType | None], Any]] | None = None,
    ) -> None:
        self.caught: deque[int] = deque()
        self._wakeup = wakeup
        self._immediately = immediately
        self._also = also or {}
        self._pid = os.getpid()
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Handle our signals in this process, whatever mask or disposition it inherited.

        Raises:
            ValueError: not called in the main thread.
        """
        global _catcher  # noqa: PLW0603 - handlers belong to the process
        _catcher = self
        self._wakeup.claim()
        for signum in OURS:
            found = _signal.getsignal(signum)
            if found is not _dispatch:
                self._previous[signum] = found
                _signal.signal(signum, _dispatch)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, OURS)

    def drain(self) -> None:
        """Take in what has woken the loop."""
        for signum in self._wakeup.drain():
            # A program that handles SIGALRM itself has set an alarm of its own.
            if signum not in OURS or signum == signal.SIGALRM:
                continue
            if _signal.getsignal(signum) is not _dispatch:
                self.caught.append(signum)

    def claim(self) -> None:
        """Have signals wake our loop again, if somebody has taken that over."""
        self._wakeup.claim()

    def handle(self, signum: int, frame: FrameType | None) -> bool:
        """Record a signal; return false in a process that is not the one that is caught for."""
        if os.getpid() != self._pid:
            return False
        self.caught.append(signum)
        self._wakeup.wake(HANDLED)
        self._immediately(signum)
        if signum in self._also:
            self._also[signum](signum, frame)
        return True

    def retire(self) -> None:
        """Stop catching: give back the handlers of the program.

        Where the program had none, TERM, HUP and ALRM do nothing from now on: their default
        action would end a program that has finished its work, with a failure.
        """
        for signum, previous in self._previous.items():
            if signal.getsignal(signum) is not _dispatch:
                continue  # the program has installed its own meanwhile
            if previous is None or (previous == signal.SIG_DFL and signum != signal.SIGINT):
                previous = _ignore
            signal.signal(signum, previous)
        self._previous.clear()


def _ignore(signum: int, frame: FrameType | None) -> None:
    # Not SIG_IGN: that would be inherited by programs that this one starts.
    pass


def ignore_for_good() -> None:
    """Ignore our signals while the interpreter shuts down, where handlers no longer run."""
    for signum in OURS:
        try:
            if callable(signal.getsignal(signum)) or signum != signal.SIGINT:
                signal.signal(signum, signal.SIG_IGN)
        except (ValueError, TypeError):  # not the main thread; a handler not set by Python
            pass


class EarlyCatcher:
    """Keeps signals that come after the manager was made and before it runs.

    TERM, HUP and ALRM would end the program, though it is about to handle them. They are kept,
    where the program has not its own handler; a second TERM ends it after all, in case it
    never gets as far as ``run()``. INT is left alone: there is nothing yet that it must spare.
    """

    def __init__(self) -> None:
        self.caught: list[int] = []
        self._pid = os.getpid()
        self._found: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in OURS:
            self._found[signum] = signal.getsignal(signum)
            if self._found[signum] == signal.SIG_DFL and signum != signal.SIGINT:
                signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        again = signum == signal.SIGTERM and signum in self.caught
        self.caught.append(signum)
        if again or os.getpid() != self._pid:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    def finish(self) -> dict[int, Callable[[int, FrameType | None], Any]]:
        """Stop catching; return the handlers that the program has installed meanwhile.

        Our signals stay blocked until :meth:`Catcher.install`, so that none finds the default
        action in between.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
        installed = {}
        for signum, found in self._found.items():
            current = signal.getsignal(signum)
            if current == self._handle:
                signal.signal(signum, found)
            elif current is not found and callable(current):
                installed[signum] = current
        return installed


def forget_handlers() -> None:
    """Give our signals their defaults, in a child that user code has forked."""
    _signal.set_wakeup_fd(-1)
    for signum in OURS:
        handler = signal.getsignal(signum)
        if handler is _dispatch or isinstance(getattr(handler, "__self__", None), EarlyCatcher):
            default = signum == signal.SIGINT
            signal.signal(signum, signal.default_int_handler if default else signal.SIG_DFL)
