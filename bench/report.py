"""The table, the verdicts and the JSON.

Responsible for turning samples into what people and programs read. Never measures.
"""

import json
import os
import platform
import time
from typing import Any, NamedTuple

from bench.figures import FIGURES, Book, Figure, Over

HEADINGS = (
    "figure", "workers", "floor", "cotyledon", "2.2.0", "times the floor", "times less than 2.2.0",
    "verdict",
)  # fmt: skip


class Row(NamedTuple):
    """One figure with its medians and its verdict."""

    figure: Figure
    floor: float | None
    ours: float | None
    reference: float | None
    growth: float | None  # times our own figure of 10 workers

    @property
    def of_floor(self) -> float | None:
        """How many times the floor we are."""
        return _ratio(self.ours, self.floor)

    @property
    def of_ours(self) -> float | None:
        """How many times ours 2.2.0 is: at least, if it ran out of time."""
        return _ratio(self.reference, self.ours)

    def missed(self) -> list[str]:
        """Return what is not as it should be; a subject that was not measured misses nothing."""
        figure = self.figure
        if self.ours is None:
            return []
        if isinstance(self.ours, Over):
            return ["timeout"]
        wrong = []
        if figure.most is not None and self.ours > figure.most:
            wrong.append(f"> {_value(figure.most, figure.unit)}")
        if figure.floor is not None and self.of_floor is not None and self.of_floor > figure.floor:
            wrong.append("floor")
        of_ours = self.of_ours
        if figure.reference is not None and of_ours is not None and of_ours < figure.reference:
            wrong.append("2.2.0")
        if figure.growth is not None and self.growth is not None and self.growth > figure.growth:
            wrong.append(f"{self.growth:.2f} times that of 10 workers")
        return wrong


def rows(book: Book) -> list[Row]:
    """Return a row for each figure that was measured."""
    found = []
    for figure in FIGURES:
        if (figure.name, figure.workers) in book.samples:
            floor, ours, reference = (
                book.median(figure.name, figure.workers, subject)
                for subject in ("floor", "ours", "reference")
            )
            own = book.median(figure.name, 10, "ours") if figure.growth is not None else None
            found.append(Row(figure, floor, ours, reference, _ratio(ours, own)))
    return found


def table(table_rows: list[Row]) -> str:
    """Return a Markdown table, aligned."""
    lines = [HEADINGS, *(_cells(row) for row in table_rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def circumstances() -> str:
    """Return when and on what kind of machine this runs, without naming it."""
    kernel = ".".join(platform.release().split(".")[:2])
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"{today}, {os.cpu_count()} CPUs ({platform.machine()}), "
        f"Linux {kernel}, {platform.python_implementation()} {platform.python_version()}"
    )


def to_json(book: Book, table_rows: list[Row]) -> str:
    """Return everything that was measured."""
    return json.dumps(
        {
            "circumstances": circumstances(),
            "figures": [
                {
                    "name": row.figure.name,
                    "workers": row.figure.workers,
                    "unit": row.figure.unit,
                    "medians": {
                        "floor": _plain(row.floor),
                        "ours": _plain(row.ours),
                        "reference": _plain(row.reference),
                    },
                    "missed": row.missed(),
                    "samples": {
                        subject: [_plain(sample) for sample in samples]
                        for subject, samples in book.samples[
                            row.figure.name, row.figure.workers
                        ].items()
                    },
                }
                for row in table_rows
            ],
        },
        indent=1,
    )


def _cells(row: Row) -> tuple[str, ...]:
    figure = row.figure
    missed = row.missed()
    targets = (figure.floor, figure.reference, figure.most, figure.growth)
    if missed:
        verdict = "MISSED: " + ", ".join(missed)
    else:
        verdict = "ok" if any(target is not None for target in targets) else ""
    most = "" if figure.most is None else f" (<= {_value(figure.most, figure.unit)})"
    if row.growth is not None:
        most += f" ({row.growth:.2f} times that of 10, <= {figure.growth})"
    return (
        figure.text,
        str(figure.workers or ""),
        _value(row.floor, figure.unit),
        _value(row.ours, figure.unit) + most,
        _value(row.reference, figure.unit),
        _compared(row.of_floor, figure.floor, "<="),
        _compared(row.of_ours, figure.reference, ">="),
        verdict,
    )


def _ratio(one: float | None, other: float | None) -> float | None:
    if one is None or not other:
        return None
    return Over(one / other) if isinstance(one, Over) else one / other


def _compared(ratio: float | None, target: float | None, sign: str) -> str:
    if target is None:
        return ""
    text = "n/a" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
    return f"{'> ' if isinstance(ratio, Over) else ''}{text} ({sign} {target:g})"


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "n/a"
    over = "> " if isinstance(value, Over) else ""
    if unit == "B":
        return f"{over}{value / (1 << 20):.2f} MB"
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "us")):
            if abs(value) * factor >= 1 or name == "us":
                scaled = value * factor
                return (
                    f"{over}{scaled:.0f} {name}" if scaled >= 100 else f"{over}{scaled:.3g} {name}"
                )
    return f"{over}{value:g}"


def _plain(value: float | None) -> Any:
    return {"over": float(value)} if isinstance(value, Over) else value
