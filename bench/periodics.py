"""How late periodic tasks are beside a slow one: ``python -m bench.periodics [ROUNDS]``.

Responsible for rounds of ``bench/programs/periodics.py``, each of which takes every subject in
turn, and for a table of the medians over the rounds, with ratios to the worker that futurist has
by default. Needs the extra ``futurist``.
"""

import json
import select
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.programs.periodics import LONG, PERIOD, SUBJECTS, TASKS

PROGRAM = Path(__file__).parent / "programs" / "periodics.py"
LOADS = ("nothing", "sleeps", "computes")
PLAIN = "futurist"


SECONDS = 2 * LONG
"""How long one run is observed: half of that with the slow task at work."""
DUE = round(TASKS * SECONDS / PERIOD)


class Figures(NamedTuple):
    """How late one run's tasks were, in milliseconds."""

    runs: float
    median: float
    most: float
    """The 99th percentile."""
    maximum: float


def measure(subject: str, load: str) -> Figures:
    """Return the figures of one run."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), subject, load, str(SECONDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            if not select.select([process.stdout], [], [], SECONDS + 60)[0]:
                raise TimeoutError(f"{subject} tells nothing")
            late = sorted(1000 * one for one in json.loads(process.stdout.readline()))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(2 * LONG)
            except subprocess.TimeoutExpired:
                process.kill()
    return Figures(len(late), median(late), late[len(late) * 99 // 100], late[-1])


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found: dict[tuple[str, str], list[Figures]] = {}
    for _ in range(rounds):
        for load in LOADS:
            for subject in SUBJECTS:
                found.setdefault((load, subject), []).append(measure(subject, load))
    print(f"| the slow task | subject | runs of {DUE} | median, ms | 99 %, ms | max, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    for (load, subject), each in found.items():
        runs, *late = (median(column) for column in zip(*each, strict=True))
        plain = median(one.maximum for one in found[load, PLAIN])
        words = [load, subject, f"{runs:.0f}", *(f"{one:.1f}" for one in late)]
        print(f"| {' | '.join([*words, f'{late[2] / plain:.3f}'])} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
