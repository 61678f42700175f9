"""The judges: each checks the promises of one subject, against the books.

Responsible for what the promises are. A judge is told of every event and effect of its subject, in
the order in which they happened. None looks into the core, or uses the core's arithmetic.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from cotyledon._core import events as ev
from cotyledon.testing._books import Books

Handler: TypeAlias = Callable[[Any, int, Any], None]


class Judge:
    """What all judges have: the books, handlers by the type of event or effect, three moments.

    Args:
        books: read, and written where a judge is the one who learns something.
    """

    EVENTS: ClassVar[Mapping[type, Handler]] = {}
    EFFECTS: ClassVar[Mapping[type, Handler]] = {}

    def __init__(self, books: Books) -> None:
        self.books = books

    def inspect(self, now: int) -> None:
        """Look for what is overdue, a few times a second and before a step."""

    def decided(self, now: int) -> None:
        """Every event of the step is known, with what followed from each by itself."""

    def after(self, now: int, events: Sequence[ev.Event]) -> None:
        """The step is over."""
