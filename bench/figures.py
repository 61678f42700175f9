"""The figures: what is measured, and what it must be.

Responsible for the list of figures with their targets, and for the samples taken of each. Never
measures.
"""

from statistics import median_low
from typing import NamedTuple

LARGE = 500


class Over(float):
    """A lower bound: the subject had not done it by then."""


class Figure(NamedTuple):
    """One row of the table."""

    name: str
    text: str
    workers: int
    unit: str  # "s", "B" or nothing
    floor: float | None = None  # at most this many times the floor
    reference: float | None = None  # at least this many times less than cotyledon 2.2.0
    most: float | None = None  # at most this, in the unit
    growth: float | None = None  # at most this many times the same figure of 10 workers


_KILL_ONE = "KILL of one worker until its replacement runs"
_CPU = "the master's CPU time per respawn"
_STOP = "TERM until nothing is left"

FIGURES = (
    Figure("start", "start until all run", 100, "s", 1.8, 4),
    Figure("start", "start until all run", LARGE, "s", 1.8, 8),
    Figure("kill-one", _KILL_ONE, 10, "s", 1.6, 5),
    Figure("kill-one", _KILL_ONE, LARGE, "s", 1.6, 10),
    Figure("cpu", _CPU, 10, "s"),
    Figure("cpu", _CPU, LARGE, "s", 1.5, 10, growth=1.3),
    Figure("kill-all", "KILL of all at once until all are back", LARGE, "s", 2, 15),
    Figure("stop", _STOP, 100, "s", 1.8, 5),
    Figure("stop", _STOP, LARGE, "s", 1.8, 6),
    Figure("stop-early", "TERM when half of them run, until nothing is left", 100, "s", 2, 8),
    Figure("memory", "private memory per worker", 10, "B", None, 12, most=2 << 20),
    Figure("import", "`import cotyledon`, over bare Python", 0, "s", None, 2, most=0.025),
    Figure("load", "the same, and both classes used", 0, "s", None, 2, most=0.025),
    Figure("heavy", "multiprocessing, asyncio, concurrent.futures imported", 0, "", most=0),
    Figure("idle-cpu", "CPU ticks per second, idle", 50, "", most=0),
    Figure("idle-switches", "voluntary context switches per second, idle", 50, "", most=0),
    Figure("threads", "threads per worker", 10, "", most=2),
    Figure("threads", "threads per worker", LARGE, "", most=2),
    Figure("descriptors", "descriptors per worker", 10, "", most=8),
    Figure("descriptors", "descriptors per worker", LARGE, "", most=8),
)
NAMES = tuple(dict.fromkeys(figure.name for figure in FIGURES))


class Book:
    """Every sample, by figure, number of workers and subject."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, int], dict[str, list[float]]] = {}

    def add(self, name: str, workers: int, subject: str, value: float) -> None:
        """Write one sample down."""
        self.samples.setdefault((name, workers), {}).setdefault(subject, []).append(value)

    def median(self, name: str, workers: int, subject: str) -> float | None:
        """Return the median of a subject's samples, which is one of them."""
        samples = self.samples.get((name, workers), {}).get(subject)
        return median_low(samples) if samples else None

    def patience(self, name: str, workers: int, subject: str) -> float:
        """Return how many seconds are enough to know whether a target is met."""
        if subject == "reference":
            for figure in FIGURES:
                ours = self.median(name, workers, "ours")
                if (figure.name, figure.workers) == (name, workers) and ours is not None:
                    return max(10, 1.25 * (figure.reference or 1) * ours)
        return 30
