"""The table, and the log below it.

Responsible for columns that fit the width, for the cursor, and for drawing texts as they are:
nothing in them is markup. Never decides what a cell says.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from cotyledon.contrib.top import words
from cotyledon.contrib.top.rows import Cell, Row


class Column(NamedTuple):
    """A column: its bounds, and when it goes."""

    key: str
    title: str
    least: int
    most: int
    weight: int
    """Those with the least weight are dropped first."""
    right: bool = False


LONGEST = 30
"""Bars in a line, at most."""
COLUMNS = (
    Column("name", "SERVICE", 9, 28, 100),
    Column("state", "STATE", 9, 26, 99),
    Column("pid", "PID", 3, 8, 66, True),
    Column("uptime", "UP", 6, 7, 70, True),
    Column("memory", "MEMORY", 6, 6, 90, True),
    Column("memory_line", "", 8, LONGEST, 64),
    Column("cpu", "CPU", 5, 6, 89, True),
    Column("cpu_line", "", 8, LONGEST, 63),
    Column("beat", "BEAT", 4, 7, 40, True),
    Column("generation", "GEN", 3, 4, 20, True),
    Column("restarts", "RESTARTS", 8, 24, 80),
    Column("status", "STATUS", 16, 200, 65),
)
_GAP = 2
_ALWAYS = 70
"""Columns of this weight have their place also while they are empty."""
_LINES = frozenset({"memory_line", "cpu_line"})


def layout(rows: Iterable[Row], width: int) -> list[tuple[Column, int]]:
    """Return the columns that fit, with their widths."""
    found: dict[str, int] = {column.key: 0 for column in COLUMNS}
    for row in rows:
        for key, cell in row.cells.items():
            found[key] = max(found[key], cell_len(cell.text), len(cell.values))
    wide = {column: _width(column, found[column.key], width) for column in COLUMNS}
    # The most important ones first; a lesser one may be narrow enough where another is not.
    chosen: list[Column] = []
    left = width
    for column in sorted(COLUMNS, key=lambda one: -one.weight):
        if not found[column.key] and column.weight < _ALWAYS:
            continue
        needed = (column.least if column.key == "status" else wide[column]) + _GAP * bool(chosen)
        if needed <= left or not chosen:
            chosen.append(column)
            left -= needed
    fitting = [(column, wide[column]) for column in COLUMNS if column in chosen]
    last, _ = fitting[-1]
    if last.key == "status":
        fitting[-1] = (last, last.least + left)
    elif left < 0:
        fitting = [(fitting[0][0], max(1, width))]
    return fitting


def _width(column: Column, longest: int, width: int) -> int:
    if column.key in _LINES:
        return min(LONGEST, max(8, (width - 70) // 6))
    return min(column.most, max(column.least, longest, cell_len(column.title)))


def fit(text: str, width: int, right: bool = False) -> str:
    """Return a text in exactly so many cells; what does not fit ends with an ellipsis."""
    if cell_len(text) > width:
        return set_cell_size(text, max(0, width - 1)) + "…"
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


_TONES = "good warn bad dim service worker memory cpu title cursor who when"


class Lines(ScrollView):
    """Lines of cells with tones: what the table and the log have in common."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{tone}" for tone in _TONES.split()}
    lost: reactive[bool] = reactive(False)
    """Whether what is shown is of the past: all of it is grey then."""

    @property
    def wide(self) -> int:
        """Cells from the left to the scrollbar, which has its place also when it is not there."""
        return self.scrollable_content_region.width

    def watch_lost(self) -> None:
        """Draw again."""
        self.refresh()

    def tone(self, name: str) -> Style:
        """Return the style of a tone."""
        if self.lost:
            return self.get_component_rich_style("tone--dim")
        if not name:
            return self.rich_style
        return self.get_component_rich_style(f"tone--{name}")


class Table(Lines, can_focus=True):
    """Services and workers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home,g", "move(-1000000)", "first", show=False),
        Binding("end,G", "move(1000000)", "last", show=False),
        Binding("space,enter", "fold", "fold", show=False),
    ]

    class Moved(Message):
        """The cursor is somewhere else, or its row has changed."""

    class Fold(Message):
        """A service shall be folded, or unfolded."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.rows: list[Row] = []
        self.cursor = 0
        self._columns: list[tuple[Column, int]] = []

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def show(self, rows: list[Row]) -> None:
        """Show other rows; the cursor stays where it was, on the same worker."""
        here = self.row
        self.rows = rows
        self.cursor = self._find(here)
        self._measure()
        self.post_message(self.Moved())

    def _find(self, here: Row | None) -> int:
        if here is not None:
            for index, row in enumerate(self.rows):
                if (row.service, row.worker) == (here.service, here.worker):
                    return index
        return max(0, min(self.cursor, len(self.rows) - 1))

    def _measure(self) -> None:
        self._columns = layout(self.rows, self.wide)
        self.virtual_size = Size(self.wide, len(self.rows) + 1)
        self._follow()
        self.refresh()

    def on_resize(self) -> None:
        """Choose the columns again."""
        self._measure()

    def _follow(self) -> None:
        top, height = round(self.scroll_y), max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        if self.rows:
            self.cursor = max(0, min(len(self.rows) - 1, self.cursor + by))
            self._follow()
            self.refresh()
            self.post_message(self.Moved())

    def action_page(self, by: int) -> None:
        """Move the cursor by what is seen."""
        self.action_move(by * max(1, self.size.height - 2))

    def action_fold(self) -> None:
        """Hide or show the workers of a service."""
        self.post_message(self.Fold())

    def on_click(self, event: Any) -> None:
        """Put the cursor where the mouse is."""
        if event.y > 0:
            self.action_move(event.y - 1 + round(self.scroll_y) - self.cursor)

    def render_line(self, y: int) -> Strip:
        """Draw one line: the titles, which do not scroll, or a row."""
        width = self.wide
        if y == 0:
            cells = [Cell(column.title, "title") for column, _ in self._columns]
            return self._line(cells, "title", width)
        index = y - 1 + round(self.scroll_y)
        if index >= len(self.rows):
            return Strip.blank(width, self.rich_style)
        row = self.rows[index]
        nothing = Cell("")
        cells = [row.cells.get(column.key, nothing) for column, _ in self._columns]
        if row.worker is not None and cells:
            cells[0] = Cell(f"  {cells[0].text}", "worker")
        return self._line(cells, "", width, cursor=index == self.cursor)

    def _line(self, cells: list[Cell], gap: str, width: int, cursor: bool = False) -> Strip:
        back = Style()
        if cursor:
            back = Style(bgcolor=self.get_component_rich_style("tone--cursor").bgcolor)
        segments: list[Segment] = []
        for (column, wide), cell in zip(self._columns, cells, strict=True):
            if segments:
                segments.append(Segment(" " * _GAP, self.tone(gap) + back))
            text = cell.text
            if cell.values:
                text = words.sparkline(cell.values, wide, cell.top)
            style = self.tone(cell.tone) + back
            segments.append(Segment(fit(text, wide, column.right), style))
        strip = Strip(segments)
        return strip.adjust_cell_length(width, self.tone(gap) + back)


class Log(Lines, can_focus=True):
    """What has happened, the newest at the bottom."""

    KEPT = 1000

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.lines: deque[tuple[str, str, str, str]] = deque(maxlen=self.KEPT)

    def add(self, event: dict[str, Any]) -> None:
        """Add an event."""
        self.note(words.event(event))

    def note(self, line: tuple[str, str, str, str]) -> None:
        """Add a line: when, who, what, and its tone."""
        follow = self.scroll_y >= self.max_scroll_y - 1
        self.lines.append(line)
        self.virtual_size = Size(self.wide, len(self.lines))
        if follow:
            self.call_after_refresh(self.scroll_end, animate=False)
        self.refresh()

    def on_resize(self) -> None:
        """Stay at the bottom."""
        self.virtual_size = Size(self.wide, len(self.lines))
        self.scroll_end(animate=False)

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        width, index = self.wide, y + round(self.scroll_y)
        if index >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        when, who, what, tone = self.lines[index]
        wide = min(24, max(cell_len(line[1]) for line in self.lines))
        segments = [
            Segment(f"{when:8}  ", self.tone("when")),
            Segment(fit(who, wide) + "  ", self.tone("who")),
            Segment(fit(what, max(1, width - 12 - wide)), self.tone(tone)),
        ]
        return Strip(segments).adjust_cell_length(width, self.rich_style)
