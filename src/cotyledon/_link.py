"""What leads from a service to the runtime of the worker process that it lives in.

Responsible for the few things that a service can say, wherever in the process it says them.
They do nothing until the runtime has connected itself, in a unit test for example, and nothing
any more in a child that was forked from a worker. Never knows the runtime: it lies above.
"""

from collections.abc import Callable, Mapping


def _nothing() -> None:
    pass


def _nothing_with(value: int) -> None:
    pass


def _nothing_with_text(text: str, figures: Mapping[str, float]) -> None:
    pass


class Link:
    """The way to the runtime."""

    __slots__ = ("beat", "extend", "ready", "say")
    ready: Callable[[], None]
    """The service is ready."""
    extend: Callable[[int], None]
    """It needs so many more nanoseconds until then."""
    beat: Callable[[], None]
    """It is alive."""
    say: Callable[[str, Mapping[str, float]], None]
    """What it is doing, for people, and figures of it."""

    def __init__(self) -> None:
        self.cut()

    def cut(self) -> None:
        """Lead nowhere."""
        self.ready = self.beat = _nothing
        self.extend = _nothing_with
        self.say = _nothing_with_text


LINK = Link()
