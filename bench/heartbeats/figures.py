"""The figures: what was seen in each cell, and what must hold.

Responsible for the arithmetic and the verdicts. Never measures.
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TIMES = 2.0
"""How many times that of the plain process the lateness of this package may be, or how many times
that of the floor beside it, which tells how busy the machine was."""
TELLABLE = 0.010
"""Seconds of lateness below which the machine is not told from the program."""


class Rpc(NamedTuple):
    """What has become of an RPC server."""

    sent: int  # pings
    failed: int
    closed: int  # connections, by the broker


class Cell(NamedTuple):
    """What was seen of one subject with one job and one server."""

    subject: str
    job: str
    server: str
    late: list[float]  # seconds
    missing: float  # the share of the time for which a member was not there
    rpc: dict[str, Rpc]  # by where the server was
    beside: str = ""  # of the floor: which subject was measured at the same time

    @property
    def lost(self) -> bool:
        """Whether the membership was lost."""
        return self.missing > 0

    def lateness(self) -> tuple[float, float, float]:
        """Return the median, 99 % and the maximum, in seconds."""
        median = statistics.median(self.late)
        hundredths = statistics.quantiles(self.late, n=100, method="inclusive")
        return median, hundredths[98], max(self.late)


class Book(NamedTuple):
    """All cells of a run."""

    circumstances: str
    cells: list[Cell]

    def find(self, subject: str, job: str, server: str, beside: str | None = None) -> Cell | None:
        """Return a cell, if it was measured; several of the floor are taken together.

        Args:
            subject: by its name.
            job: by its name.
            server: by its name.
            beside: of the floor, that beside this subject alone.
        """
        found = [
            cell
            for cell in self.cells
            if cell[:3] == (subject, job, server) and beside in {None, cell.beside}
        ]
        if len(found) < 2:
            return found[0] if found else None
        late = [seconds for cell in found for seconds in cell.late]
        return found[0]._replace(late=late, missing=max(cell.missing for cell in found))

    def missed(self) -> list[str]:
        """Return what does not hold for this package, a line each."""
        return [
            line for cell in self.cells if cell.subject == "ours" for line in self._wrong(cell)
        ]

    def _wrong(self, cell: Cell) -> Iterable[str]:
        where = f"{cell.job}, {cell.server}"
        if cell.lost:
            yield f"{where}: the membership was lost for {cell.missing:.0%} of the time"
        plain = self.find("plain", cell.job, cell.server)
        floor = self.find("floor", cell.job, cell.server, beside="ours")
        if plain is None or floor is None:
            return
        # The maximum is that of a single beat, and tells more of the machine than of a program.
        every = zip(
            ("median", "99 %"), cell.lateness(), plain.lateness(), floor.lateness(), strict=False
        )
        for name, ours, others, least in every:
            if ours > max(TIMES * others, TIMES * least, TELLABLE):
                yield (
                    f"{where}: {name} of {ours * 1000:.1f} ms; a plain process "
                    f"{others * 1000:.1f}, the floor {least * 1000:.1f}"
                )

    def save(self, path: Path) -> None:
        """Write it down."""
        cells = [
            cell._replace(
                late=[round(seconds, 6) for seconds in cell.late],
                missing=round(cell.missing, 4),
            )._asdict()
            | {"rpc": {where: rpc._asdict() for where, rpc in cell.rpc.items()}}
            for cell in self.cells
        ]
        lines = ",\n".join(json.dumps(cell) for cell in cells)
        head = json.dumps(self.circumstances, ensure_ascii=False)
        path.write_text(f'{{"circumstances": {head},\n"cells": [\n{lines}\n]}}\n')


def load(path: Path) -> Book:
    """Return what was written down."""
    found = json.loads(path.read_text())
    return Book(found["circumstances"], [_cell(fields) for fields in found["cells"]])


def _cell(fields: dict[str, Any]) -> Cell:
    rpc = {where: Rpc(**counts) for where, counts in fields.pop("rpc").items()}
    return Cell(**fields, rpc=rpc)


def present(cells: Sequence[Cell], names: Iterable[str], field: int) -> list[str]:
    """Return those of some names that occur, in their order."""
    there = {cell[field] for cell in cells}
    return [name for name in names if name in there]
