"""One client: its descriptor, what it has sent, and what waits to be sent to it.

Responsible for bytes and for the bounds on them. Never blocks, never raises for what a peer does,
and never knows what a line means.
"""

import _socket
import os
import select
import time

LONGEST_LINE = 1 << 16
MOST_EVENTS = 256 << 10
"""Bytes of events that wait for a client."""
BURST = 100
RATE = 100
"""Requests that a client may make in a row, and then in a second."""
SECOND = 1_000_000_000
_PIECE = 1 << 16
_QUIETLY = _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT


class TooLong(Exception):
    """A line is longer than may be."""


class Client:
    """A connection.

    Args:
        fd: of the socket, which does not block.
    """

    __slots__ = (
        "_events",
        "_in",
        "_out",
        "_tokens",
        "_tokens_at",
        "asked_at",
        "ended",
        "fd",
        "following",
        "gone",
        "leaving",
        "lost",
        "mask",
        "prefix",
        "waiting",
    )

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.asked_at = time.monotonic_ns()  # when it last was heard
        self.ended = False  # it sends nothing more
        self.leaving = False  # it is to be closed when it has taken what waits for it
        self.gone = False  # it is to be closed now
        self.waiting = False  # for the answer to its last request
        self.following = False
        self.prefix = b""  # of each event that it is sent
        self.lost = 0  # events that had no room
        self.mask = 0  # what it is polled for
        self._in = bytearray()
        self._out = bytearray()
        self._events = 0  # bytes of events in it, at most
        self._tokens = BURST * SECOND
        self._tokens_at = self.asked_at

    # In

    def receive(self) -> None:
        """Take in what it has sent, a piece of it; what waits in here already comes first."""
        if self.ended or len(self._in) > LONGEST_LINE:
            return
        try:
            piece = os.read(self.fd, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            self.gone = True
            return
        if piece:
            self._in += piece
        else:
            self.ended = True

    def next_line(self) -> bytes | None:
        """Take a line; ``None``: there is no whole one.

        Raises:
            TooLong: it is too long.
        """
        end = self._in.find(b"\n", 0, LONGEST_LINE)
        if end < 0:
            if len(self._in) >= LONGEST_LINE:
                self._in.clear()
                raise TooLong
            return None
        line = bytes(self._in[:end])
        del self._in[: end + 1]
        return line

    @property
    def has_line(self) -> bool:
        """Whether there is a line to be taken, or too much of one."""
        return len(self._in) >= LONGEST_LINE or self._in.find(b"\n") >= 0

    def spend(self, now: int) -> bool:
        """Count a request; return false if it has to wait."""
        self._tokens = min(BURST * SECOND, self._tokens + (now - self._tokens_at) * RATE)
        self._tokens_at = now
        if self._tokens < SECOND:
            return False
        self._tokens -= SECOND
        self.asked_at = now
        return True

    def allowed_at(self) -> int:
        """Return the instant from which it may ask again."""
        return self._tokens_at + max(0, SECOND - self._tokens) // RATE + 1

    # Out

    @property
    def unsent(self) -> bool:
        """Whether something waits for it."""
        return bool(self._out)

    def send(self, line: bytes) -> None:
        """Have a line sent."""
        self._out += line
        self.flush()

    def tell(self, event: bytes) -> None:
        """Have an event sent, if there is room for it; count it, if not."""
        line = self.prefix + event + b"}\n"
        if self.lost or len(line) + self._events > MOST_EVENTS:
            self.lost += 1
            return
        self._out += line
        self._events += len(line)

    def flush(self) -> None:
        """Send what the kernel takes now."""
        if not self._out or self.gone:
            return
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, self.fd)
        try:
            sent = end.send(self._out, _QUIETLY)
        except BlockingIOError:
            return
        except OSError:
            self.gone = True
            return
        finally:
            end.detach()
        del self._out[:sent]
        # What was sent may have been an answer: until all is, the bound is on the safe side.
        self._events = min(self._events, len(self._out))

    # What to wait for

    @property
    def done(self) -> bool:
        """Whether it is to be closed."""
        if self.gone:
            return True
        if self._out:
            return False
        ended = self.ended and not self.waiting and not self.following and not self.has_line
        return self.leaving or ended

    def wanted(self) -> int:
        """Return what it has to be polled for: nothing is read before all was written."""
        if self._out:
            return select.EPOLLOUT
        if self.ended or self.leaving or self.waiting or self.has_line:
            return 0
        return select.EPOLLIN
