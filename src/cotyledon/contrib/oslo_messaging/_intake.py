"""What a worker has taken from the broker, and what became of it.

Responsible for counting, and for the gate between a server that takes messages and a service that
was told to stop. Never speaks to the broker.
"""

import threading


class Intake:
    """The messages in the hands of one worker.

    Args:
        threads: how many are handled at a time.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.closed = threading.Event()
        """It was told to take no more."""
        self.handled = 0
        self.failed = 0
        self.requeued = 0
        self._running = 0
        self._answering: set[int] = set()  # threads that are through with the program's own code
        self._opened = False
        self._changed = threading.Condition()

    def open(self) -> bool:
        """Begin to take messages; return whether that is still wanted."""
        with self._changed:
            self._opened = not self.closed.is_set()
            return self._opened

    def close(self) -> bool:
        """Take no more from now on; return whether any can have been taken."""
        with self._changed:
            self.closed.set()
            self._changed.notify_all()
            return self._opened

    def enter(self, seconds: float) -> None:
        """Count one more message, after waiting at most this long until a thread is free for it.

        The wait is bounded because the thread that waits is the one that keeps the connection
        alive; not to wait would be to take all there is from the broker and from other workers.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._running < self.threads or self.closed.is_set(), seconds
            )
            self._running += 1

    def leave(self) -> None:
        """Count one message less."""
        with self._changed:
            self._running -= 1
            self._answering.discard(threading.get_ident())
            self._changed.notify_all()

    def count(self, outcome: str) -> None:
        """Count what became of a message: ``handled``, ``failed`` or ``requeued``.

        Called in the thread that handled it, which goes on to answer or acknowledge it.
        """
        with self._changed:
            self._answering.add(threading.get_ident())
            setattr(self, outcome, getattr(self, outcome) + 1)

    @property
    def at_work(self) -> bool:
        """Whether the program's own code has yet to end with a message."""
        with self._changed:
            return self._running > len(self._answering)

    def finished(self, seconds: float) -> bool:
        """Wait at most this long until nothing is in hand; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, seconds)

    def figures(self) -> dict[str, float]:
        """Return the numbers that are shown of a worker."""
        with self._changed:
            return {
                "running": self._running,
                "handled": self.handled,
                "failed": self.failed,
                "requeued": self.requeued,
            }
