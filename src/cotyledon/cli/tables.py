"""What is printed for people: tables and lines, coloured on a terminal alone.

Responsible for the layout of ``status``, and for the memory that only the client reads. Never asks
a manager.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from cotyledon.cli import words
from cotyledon.cli.telling import BAD_REASONS, STYLES, state_of

HEAD = (
    "SERVICE",
    "STATE",
    "READY",
    "GEN",
    "UPTIME",
    "PRIVATE",
    "SHARED",
    "RESTARTS",
    "LAST DEATH",
)
RIGHT = {2, 3, 4, 5, 6, 7}
"""The columns with figures."""

REMEMBERED = 10
"""So many deaths in a slot are in the status."""

Cell = tuple[str, str]


def console() -> Console:
    """Return where to print: plain text, of any width, if it is not a terminal."""
    made = Console(highlight=False, markup=False, emoji=False)  # rich knows NO_COLOR
    if not made.is_terminal:
        made.width = 1 << 16
    return made


def writer() -> Callable[..., None]:
    """Return a function that prints a line in a style, at once."""
    out = console()

    def write(text: str, style: str = "") -> None:
        out.print(Text(text, style), soft_wrap=True)
        out.file.flush()

    return write


def memory_of(pid: int | None) -> tuple[int | None, int | None]:
    """Return the private and the shared bytes of a process, as far as we may know them."""
    if pid is None:
        return None, None
    private = shared = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("Private_Clean", "Private_Dirty", "Private_Hugetlb"):
                private += int(rest.split()[0]) * 1024
            elif name in ("Shared_Clean", "Shared_Dirty", "Shared_Hugetlb"):
                shared += int(rest.split()[0]) * 1024
    except (OSError, ValueError):
        return None, None
    return private, shared


def add_memory(status: dict[str, Any]) -> None:
    """Add ``private`` and ``shared`` to each worker of a status, in bytes."""
    for service in status["services"]:
        for worker in service["workers"]:
            worker["private"], worker["shared"] = memory_of(worker["pid"])


def show_status(status: dict[str, Any], workers: bool) -> None:
    """Print a status."""
    out = console()
    out.print(_title(status["manager"]), no_wrap=True, overflow="ellipsis", crop=True)
    rows: list[list[Cell]] = [[(text, "bold") for text in HEAD]]
    for service in status["services"]:
        rows.append(_service_row(service))
        if workers:
            rows += [_worker_row(worker) for worker in service["workers"]]
    if len(rows) == 1:
        out.print("no services")
        return
    for line in laid_out(rows):
        out.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def _title(manager: dict[str, Any]) -> Text:
    state = manager["state"]
    title = Text.assemble(("● ", "green" if state == "running" else "yellow"))
    title.append(manager["name"] or "(no name)", "bold")
    title.append(f"  {state}, pid {manager['pid']}, up {words.duration(manager['uptime'])}")
    title.append(f", cotyledon {manager['version']}", "dim")
    return title


def laid_out(rows: list[list[Cell]]) -> list[Text]:
    """Return rows of cells as lines with aligned columns."""
    widths = [max(len(row[i][0]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        line = Text()
        for i, (text, style) in enumerate(row):
            padded = text.rjust(widths[i]) if i in RIGHT else text.ljust(widths[i])
            if i == len(row) - 1:
                padded = text  # nothing is right of it
            line.append(padded, style)
            line.append("  " if i < len(row) - 1 else "")
        line.rstrip()
        lines.append(line)
    return lines


def _sum(figures: list[int | None]) -> int | None:
    known = [one for one in figures if one is not None]
    return sum(known) if known else None


def _service_row(service: dict[str, Any]) -> list[Cell]:
    workers = service["workers"]
    state = state_of(service)
    up = [one["uptime"] for one in workers if one["pid"] is not None and one["uptime"]]
    shared = [one["shared"] for one in workers if one["shared"] is not None]
    deaths = service["totals"]["deaths"]
    unasked = sum(count for reason, count in deaths.items() if reason in BAD_REASONS)
    last = min(
        (death for one in workers for death in one["deaths"]),
        key=lambda death: float(death["ago"]),
        default=None,
    )
    return [
        (service["name"], "bold"),
        (state, STYLES.get(state, "")),
        (f"{service['ready']}/{service['wanted']}", ""),
        (str(service["generation"]), ""),
        (words.duration(max(up, default=None)), ""),
        (words.size(_sum([one["private"] for one in workers])), ""),
        # The same pages for all of them: the sum would count them once for each.
        (words.size(max(shared, default=None)), ""),
        (str(unasked), "yellow" if unasked else ""),
        _death(last),
    ]


def _worker_row(worker: dict[str, Any]) -> list[Cell]:
    state = worker["state"]
    pid = "-" if worker["pid"] is None else str(worker["pid"])
    shown = state
    if worker["next_start_in"]:
        shown = f"{state} {words.duration(worker['next_start_in'])}"
    if worker.get("second_pid") is not None:
        shown = f"{state} + {worker['second_state']}"
    said = worker.get("status")
    text, style = _death(worker["deaths"][-1] if worker["deaths"] else None)
    if said:
        text = f"says: {said}" if text == "-" else f"{text}; says: {said}"
    generation = worker["generation"]
    return [
        (f"  {worker['id']}", ""),
        (shown, STYLES.get(state, "")),
        (pid, "dim"),
        ("-" if generation is None else str(generation), ""),
        (words.duration(worker["uptime"] if worker["pid"] is not None else None), ""),
        (words.size(worker["private"]), ""),
        (words.size(worker["shared"]), ""),
        (_unasked(worker["deaths"]), ""),
        (text, style),
    ]


def _unasked(deaths: list[dict[str, Any]]) -> str:
    """Return how many of the remembered deaths nobody had asked for."""
    count = sum(death["reason"] in BAD_REASONS for death in deaths)
    return f"{count}+" if count == REMEMBERED else str(count)


def _death(death: dict[str, Any] | None) -> Cell:
    if death is None:
        return "-", "dim"
    bad = death["reason"] in BAD_REASONS and death["exit_code"] != 0
    return f"{words.why(death)}, {words.duration(death['ago'])} ago", "yellow" if bad else "dim"
