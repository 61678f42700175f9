"""What the demo shows while it runs.

Responsible for the live display on a terminal and for plain lines elsewhere. Never decides what
happens, and never writes colours where NO_COLOR or a dumb terminal asks for none.
"""

import os
import time
import unicodedata
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, TextIO

GREEN, YELLOW, RED, BOLD, DIM = "32", "33", "31", "1", "2"
COLOURS = {"ready": GREEN, "backing off": RED, "killed": RED}  # any other state is YELLOW
EVENTS = 9
"""How many events the live display keeps in sight."""

Span = tuple[str, str]  # text and its colour ("": none)


class Row(NamedTuple):
    """One worker's line."""

    name: str
    state: str
    pid: int | None
    generation: int | None
    restarts: int
    files: int | None
    remark: str


class View(NamedTuple):
    """All that is shown at one instant."""

    rows: list[Row]
    ready: int
    wanted: int
    done: int
    total: int
    tally: str


class Screen:
    """The display, live or plain.

    Args:
        out: where it goes.
        title: its first line.
    """

    def __init__(self, out: TextIO, title: str) -> None:
        self._out = out
        self._title = title
        self._started = time.monotonic()
        term = os.environ.get("TERM", "dumb")
        self.live = out.isatty() and term != "dumb"
        self._colours = self.live and not os.environ.get("NO_COLOR")
        self._events: deque[str] = deque(maxlen=EVENTS)
        self._size: os.terminal_size | None = None
        self._drawn = 0  # lines of the last frame
        self._said = self._started
        try:
            "█░".encode(out.encoding)
            self._full, self._empty = "█", "░"
        except (UnicodeEncodeError, LookupError):
            self._full, self._empty = "#", "."
        if not self.live:
            self._line(title)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def event(self, text: str) -> None:
        """Tell something that has happened."""
        line = f"{self.elapsed:6.1f} s  {text}"
        self._events.append(line)
        if not self.live:
            self._line(line)

    def show(self, view: View, *, last: bool = False) -> None:
        """Show how things are; without a terminal, once a second."""
        if self.live:
            self._draw(view)
        elif last or time.monotonic() - self._said >= 1:
            self._said = time.monotonic()
            share = 100 * view.done // max(1, view.total)
            self._line(
                f"{self.elapsed:6.1f} s  {view.done:,} of {view.total:,} files, {share} %;"
                f" {view.ready} of {view.wanted} workers ready"
            )

    def close(self) -> None:
        """Give the terminal back; what was shown stays."""
        if self._drawn:
            self._drawn = 0
            self._write("\x1b[?25h")

    # Drawing

    def _draw(self, view: View) -> None:
        columns, height = os.get_terminal_size(self._out.fileno())
        size = os.terminal_size((columns or 80, height or 24))  # 0: the terminal does not know
        lines = self._frame(view, size.lines - 1)
        frame = []
        if not self._drawn:
            frame.append("\x1b[?25l")
        elif size != self._size:
            frame.append("\x1b[H\x1b[2J")  # what was drawn has been broken into other lines
        else:
            frame.append(f"\x1b[{self._drawn}A\r")
        for line in lines:
            frame.append(self._paint(line, size.columns - 1) + "\x1b[K\n")
        frame.append("\x1b[J")
        self._size, self._drawn = size, len(lines)
        self._write("".join(frame))

    def _frame(self, view: View, height: int) -> list[list[Span]]:
        """Return the lines of a frame, not more than fit."""
        rows = [self._row(row) for row in view.rows]
        room = max(1, height - 6)  # besides the title, the heading, the bar and the tally
        if len(rows) > room:
            rows = [*rows[: room - 1], [(f"  and {len(rows) - room + 1} more", DIM)]]
        events = list(self._events)[-max(0, height - len(rows) - 7) :]
        if height - len(rows) - 7 <= 0:
            events = []
        heading = (
            f"  {'worker':<12}{'state':<13}{'pid':>8}{'reload':>8}{'restarts':>10}{'files':>8}"
        )
        return [
            [(self._title, BOLD)],
            [("", "")],
            [(heading, DIM)],
            *rows,
            [("", "")],
            self._bar(view),
            [(f"  {self.elapsed:5.1f} s   {view.tally}", "")],
            *([[("", "")]] if events else []),
            *([(line, DIM)] for line in events),
        ]

    def _row(self, row: Row) -> list[Span]:
        generation = "-" if row.generation is None else row.generation
        files = "" if row.files is None else f"{row.files:,}"
        return [
            (f"  {row.name:<12}", ""),
            (f"{row.state:<13}", COLOURS.get(row.state, YELLOW)),
            (f"{row.pid or '-':>8}{generation:>8}{row.restarts:>10}{files:>8}", ""),
            (f"  {row.remark}", DIM),
        ]

    def _bar(self, view: View) -> list[Span]:
        share = view.done / max(1, view.total)
        length = 40
        full = int(share * length)
        numbers = f" {100 * share:3.0f} %  {view.done:,} of {view.total:,} files"
        return [
            ("  ", ""),
            (self._full * full, GREEN),
            (self._empty * (length - full), DIM),
            (numbers, ""),
        ]

    def _paint(self, line: Iterable[Span], width: int) -> str:
        """Return a line, cut to a width, with its colours."""
        parts = []
        for text, colour in line:
            text = _cut(text, width)
            width -= sum(map(_columns, text))
            painted = self._colours and colour and text
            parts.append(f"\x1b[{colour}m{text}\x1b[0m" if painted else text)
        return "".join(parts)

    def _line(self, text: str) -> None:
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, width: int) -> str:
    for place, char in enumerate(text):
        width -= _columns(char)
        if width < 0:
            return text[:place]
    return text
