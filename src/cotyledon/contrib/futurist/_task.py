"""One periodic task: what it is, and what has come of it.

Responsible for its counts. Never runs it, and never decides when it runs or what follows from a
failure.
"""

import time
from collections.abc import Callable

ON_ONE_WORKER = "_cotyledon_on_one_worker"
"""The attribute that the decorator leaves on a function."""


class Task:
    """A task of one worker.

    Args:
        name: by which people know it.
        function: what is called.
        spacing: its period in seconds.
        immediately: whether it runs as soon as the worker is there.
        on_one_worker: whether it runs only where its key is owned.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[], object],
        *,
        spacing: float,
        immediately: bool = False,
        on_one_worker: bool = False,
    ) -> None:
        self.name = name
        self.function = function
        self.spacing = spacing
        self.immediately = immediately
        self.on_one_worker = on_one_worker
        self.began: float | None = None
        """When the run began that goes on, on the monotonic clock."""
        self.seconds = 0.0
        """How long the last run took."""
        self.runs = 0
        self.failures = 0
        self.in_a_row = 0
        """Failures since the last success."""
        self.error = ""
        """What the last failure was, in one line."""

    def begin(self) -> None:
        """Count a run that begins."""
        self.began = time.monotonic()

    def leave(self) -> bool:
        """Take back a run that is another worker's; return whether the task was failing here."""
        self.began = None
        failing, self.in_a_row = self.in_a_row > 0, 0
        return failing

    def end(self, failure: str | None) -> bool:
        """Count a run that has ended.

        Args:
            failure: what it has raised, in one line; ``None``: it has not failed.

        Returns:
            Whether it failed as it had failed the last time.
        """
        assert self.began is not None
        self.seconds = time.monotonic() - self.began
        self.began = None
        self.runs += 1
        if failure is None:
            self.in_a_row = 0
            return False
        self.failures += 1
        self.in_a_row += 1
        before, self.error = self.error, failure
        return self.in_a_row > 1 and before == failure


def line_of(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    try:
        text = str(error)
    except BaseException:  # what it is made of is the program's
        text = "?"
    first = text.partition("\n")[0]
    kind = type(error).__name__
    return f"{kind}: {first}" if first else kind
