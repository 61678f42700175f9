"""Draws the life of a worker from the code, into the page on it: `python -m docs._life`.

Responsible for playing the simulator's scenarios with the real core, for writing down each step of
each worker's life, and for the text between the two marks in the page. Never says what should be:
it draws what it finds.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from cotyledon._core.effects import Effect, Reason, Spawn, Unkillable, WorkerDied
from cotyledon._core.events import Event
from cotyledon._core.machine import Core
from cotyledon._core.state import Phase, Slot, Worker
from cotyledon.testing import play

PAGE = Path(__file__).resolve().parent / "life-of-a-worker.md"
BEGIN = "<!-- drawn by docs/_life.py: do not edit -->"
END = "<!-- until here -->"
SEEDS = 400
BORN, GONE = "born", "gone"
STATES = (BORN, *(phase.name for phase in Phase), GONE)
WIDTH = 100

Found = dict[tuple[str, str], set[str]]
"""The reasons of each step, by where it leads from and to."""

ORDER = [reason.value for reason in Reason]


class Watched(Core):
    """The real core, whose workers' steps are written down."""

    found: ClassVar[Found]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._ends: dict[int, str] = {}  # the phase in which a worker has left, by its number
        self._leaving = False

    def _note(self, before: str, after: str, reason: str) -> None:
        self.found.setdefault((before, after), set()).add(reason)

    def enter(self, worker: Worker, phase: Phase, deadline: int | None, now: int) -> None:
        """Write down a step from one phase to the next."""
        if not self._leaving:
            reason = worker.cause.value if worker.cause else phase.name.lower()
            self._note(worker.phase.name, phase.name, reason)
        super().enter(worker, phase, deadline, now)

    def leave(self, worker: Worker) -> None:
        """Remember where a worker was when it left."""
        self._ends[worker.key] = worker.phase.name
        self._leaving = True
        super().leave(worker)
        self._leaving = False

    def spawn(self, slot: Slot, now: int) -> None:
        """Write down a birth."""
        before = len(self.effects)
        super().spawn(slot, now)
        for effect in self.effects[before:]:
            if isinstance(effect, Spawn):
                self._note(BORN, Phase.STARTING.name, effect.reason.value)

    def step(self, now: int, events: Iterable[Event] = ()) -> list[Effect]:
        """Write down the ends of this step, with what people are told of them."""
        effects = super().step(now, events)
        for effect in effects:
            if isinstance(effect, WorkerDied):
                self._note(self._ends.pop(effect.worker), GONE, effect.reason.value)
            elif isinstance(effect, Unkillable) and effect.left_behind:
                self._note(self._ends.pop(effect.worker), GONE, "left behind")
        return effects


def find(seeds: int = SEEDS) -> Found:
    """Play the scenarios, and return every step that was taken in them."""

    class Noted(Watched):
        found: ClassVar[Found] = {}

    for seed in range(seeds):
        play(seed, Noted)
    return Noted.found


def draw(found: Found) -> str:
    """Return the picture and the table, as they stand in the page."""
    steps = sorted(found, key=lambda step: [STATES.index(state) for state in step])
    return "\n".join(["```text", *_picture(steps), "```", "", *_table(found, steps)])


def _picture(steps: list[tuple[str, str]]) -> Iterable[str]:
    at = {}
    column = 6
    for state in STATES:
        at[state] = column
        column += 15
    yield _place({at[state]: state for state in STATES})
    for number, (before, after) in enumerate(steps, 1):
        line = list(_place(dict.fromkeys(at.values(), "│")).ljust(column))
        left, right = sorted((at[before], at[after]))
        line[left:right] = "─" * (right - left)
        for state in STATES:
            if left < at[state] < right:
                line[at[state]] = "┼"
        forth = at[before] < at[after]
        line[at[before]] = "├" if forth else "┤"
        line[at[after] + (-1 if forth else 1)] = "▶" if forth else "◀"
        line[at[after]] = "│"
        label = f"{number:2}"
        line[: len(label)] = label
        yield "".join(line).rstrip()


def _place(words: dict[int, str]) -> str:
    line = ""
    for column, word in words.items():
        line = line.ljust(column - len(word) // 2) + word
    return line


def _table(found: Found, steps: list[tuple[str, str]]) -> Iterable[str]:
    yield "| no. | from | to | because of |"
    yield "|---|---|---|---|"
    for number, (before, after) in enumerate(steps, 1):
        known = sorted(found[before, after], key=lambda r: (r not in ORDER, *_rank(r)))
        yield f"| {number} | {before} | {after} | {', '.join(known)} |"


def _rank(reason: str) -> tuple[int, str]:
    return (ORDER.index(reason) if reason in ORDER else 0, reason)


def fill(page: str, drawing: str) -> str:
    """Return the page with the drawing between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{drawing}\n\n{END}{tail}"


def main() -> int:
    """Draw it into the page; return 1 if that has changed it."""
    old = PAGE.read_text(encoding="utf-8")
    new = fill(old, draw(find()))
    PAGE.write_text(new, encoding="utf-8")
    print(f"{PAGE.name}: {'drawn anew' if new != old else 'as it was'}")
    return int(new != old)


if __name__ == "__main__":
    sys.exit(main())
