"""The figures of the tasks.

Responsible for which there are, and for their names. Never counts.
"""

from collections.abc import Mapping, Sequence

from cotyledon.contrib.futurist._task import Task

MOST = 32
"""How many figures a service may tell."""
LONGEST = 40
"""Characters of a figure's name."""
TASKS = 8
"""Tasks that have figures of their own: with all of the rest in three, 27 figures."""
PARTS = ("runs", "failures", "seconds")


def figures_of(tasks: Sequence[Task], others: Mapping[str, float] | None) -> dict[str, float]:
    """Return the figures of tasks, and others beside them.

    Args:
        tasks: what is told of. Only sums over all of them are told if they are more than eight, if
            there is no room for all, or if their names are too long to tell them apart.
        others: figures that have precedence.
    """
    others = {} if others is None else others
    found: dict[str, float] = {
        "runs": sum(task.runs for task in tasks),
        "failures": sum(task.failures for task in tasks),
        "failing": sum(task.in_a_row > 0 for task in tasks),
    }
    if len(tasks) <= TASKS:
        each = {
            _name(task.name, part): value
            for task in tasks
            for part, value in zip(
                PARTS, (task.runs, task.failures, round(task.seconds, 6)), strict=True
            )
        }
        distinct = len(each) == len(PARTS) * len(tasks)
        if distinct and len(found) + len(each) + len(others) <= MOST:
            found.update(each)
    return {**found, **others}


def _name(task: str, part: str) -> str:
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in task)
    return f"{plain[: LONGEST - len(part) - 1]}.{part}"
