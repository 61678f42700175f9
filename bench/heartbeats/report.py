"""The table, the plot, and their place in the docs: ``python -m bench.heartbeats.report``.

Responsible for turning what was written down into what people read. Never measures: the page is
drawn anew from the file beside it.
"""

from pathlib import Path

from bench.heartbeats import figures
from bench.heartbeats.figures import Book, Cell
from bench.heartbeats.plan import APART, JOBS, MAIN, SERVERS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "heartbeats.md"
RESULTS = DOCS / "heartbeats.json"
PLOT = DOCS / "images" / "heartbeats.svg"
BEGIN = "<!-- drawn by bench/heartbeats/report.py from heartbeats.json: do not edit -->"
END = "<!-- until here -->"

SUBJECTS = {
    "floor": "(a process that only beats)",
    "plain": "plain process, a thread",
    "ours": "**cotyledon 3**",
    "reference": "cotyledon 2.2.0",
    "threading": "oslo.service, threading",
    "eventlet": "oslo.service, eventlet",
}
OWN_RPC = "… its RPC a service of its own"
LATE = "\u00a0/\u00a0"
DOES = {
    "compute": "computes in pure Python",
    "release": "blocks in C, the GIL released",
    "hold": "blocks in C, the GIL held",
    "sleep": "sleeps",
}


def tables(book: Book) -> str:
    """Return a Markdown table for each job, with a row for each subject."""
    servers = figures.present(book.cells, SERVERS, 2)
    found = []
    for job in figures.present(book.cells, JOBS, 1):
        head = ["", *(f"{name}, ms" for name in servers), "member", "RPC pings failed", "closed"]
        lines = [head]
        for subject in SUBJECTS:
            cells = [book.find(subject, job, server) for server in servers]
            lines.extend(_rows(subject, [cell for cell in cells if cell is not None]))
        found.append(f"### The main job {DOES[job]}\n\n{_aligned(lines)}")
    return "\n\n".join(found)


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def _rows(subject: str, cells: list[Cell]) -> list[list[str]]:
    if not cells:
        return []
    late = [LATE.join(map(_milliseconds, cell.lateness())) for cell in cells]
    lost = [cell.server for cell in cells if cell.lost]
    if not lost:
        member = "kept"
    else:
        member = "lost" if len(lost) == len(cells) else f"lost ({lost[0]})"
    rows = [[SUBJECTS[subject], *late, member, *_rpc(MAIN, cells)]]
    if subject == "ours":
        rows.append([OWN_RPC, *("" for _ in late), "", *_rpc(APART, cells)])
    return rows


def _rpc(where: str, cells: list[Cell]) -> list[str]:
    found = [cell.rpc[where] for cell in cells if where in cell.rpc]
    if not found:
        return ["", ""]
    sent, failed, closed = (sum(column) for column in zip(*found, strict=True))
    return [f"{failed} of {sent}", str(closed)]


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f}" if milliseconds >= 9.95 else f"{milliseconds:.1f}"


def fill(page: str, drawn: str) -> str:
    """Return a page with something else between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{drawn}\n\n{END}{after}"


def text(book: Book) -> str:
    """Return what stands between the marks."""
    return f"{book.circumstances}.\n\n{tables(book)}"


def plot(book: Book, path: Path) -> None:
    """Draw how late beats were: the median, and as far as the maximum."""
    import matplotlib as mpl

    mpl.use("svg")
    # One grey and three colours that can be read on white and on black; no background.
    grey, others, own, wrong = "#808080", "#3b7dd8", "#2f8f5b", "#d9483b"
    colors = {"floor": grey, "ours": own}
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "heartbeats",
            "font.family": "sans-serif",
            "font.size": 9,
            **dict.fromkeys(
                ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
                grey,
            ),
        }
    )
    from matplotlib import pyplot

    jobs = figures.present(book.cells, JOBS, 1)
    names = figures.present(book.cells, SUBJECTS, 0)
    height = 0.5 + len(jobs) * (0.35 + 0.24 * len(names))
    figure, axes = pyplot.subplots(len(jobs), 1, sharex=True, figsize=(8, height), squeeze=False)
    for axis, job in zip(axes[:, 0], jobs, strict=True):
        axis.set_title(DOES[job], loc="left", fontsize=9, color=grey)
        for row, name in enumerate(names):
            found = [cell for server in SERVERS if (cell := book.find(name, job, server))]
            lost = any(cell.lost for cell in found)
            color = wrong if lost else colors.get(name, others)
            for cell in found:
                offset = 0.28 * SERVERS.index(cell.server) - 0.14
                median, _, most = (max(seconds, 1e-4) for seconds in cell.lateness())
                axis.plot([median, most], [row + offset] * 2, color=color, linewidth=2)
                axis.plot([median], [row + offset], "o", color=color, markersize=4)
            if lost:
                axis.annotate(
                    "member lost", (8.0, row), color=color, va="center", annotation_clip=False
                )
        labels = [SUBJECTS[name].strip("*") for name in names]
        axis.set_yticks(range(len(names)), labels)
        axis.invert_yaxis()
        axis.set_xscale("log")
        axis.set_xlim(1e-4, 7)
        axis.grid(axis="x", color=grey, alpha=0.3, linewidth=0.5)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    figure.subplots_adjust(hspace=0.35)
    ticks = {1e-4: "0.1 ms", 1e-3: "1 ms", 1e-2: "10 ms", 0.1: "0.1 s", 1.0: "1 s", 5.0: "5 s"}
    axes[-1, 0].set_xticks(list(ticks), list(ticks.values()))
    axes[-1, 0].minorticks_off()
    axes[-1, 0].set_xlabel(
        "late by: a dot is the median, a line leads to the maximum; above redis, below etcd"
    )
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Draw the page's table and its plot."""
    book = figures.load(RESULTS)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(fill(page, text(book)), encoding="utf-8")
    plot(book, PLOT)


if __name__ == "__main__":
    main()
