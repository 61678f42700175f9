"""The application: what is heard goes to the table and the log, keys become requests.

Responsible for putting the parts together. Never blocks: each request has a thread and a
connection of its own.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Footer, Static

from cotyledon import control
from cotyledon.contrib.top import words
from cotyledon.contrib.top.feed import Attached, Feed, Heard, Lost, Picture
from cotyledon.contrib.top.header import Header
from cotyledon.contrib.top.rows import Asked, Row, rows
from cotyledon.contrib.top.screens import HELP, Ask, Confirm, Reading
from cotyledon.contrib.top.story import story
from cotyledon.contrib.top.style import CSS, DARK, LIGHT
from cotyledon.contrib.top.table import Log, Table

PATIENCE = 60.0
"""Seconds that the outcome of a command is waited for."""


class News(Message):
    """Something from the threads of the feed."""

    def __init__(self, what: Any) -> None:
        super().__init__()
        self.what = what


class Top(App[int]):
    """The screen of one manager.

    Args:
        path: the control socket.
        light: whether the terminal is.
    """

    CSS = CSS
    FEED: ClassVar[type[Feed]] = Feed
    """What follows the manager."""
    TITLE = "cotyledon top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "scale(1)", "more", key_display="+"),
        Binding("minus", "scale(-1)", "fewer", key_display="-"),
        Binding("r", "reload", "reload"),
        Binding("R", "restart", "restart", key_display="R"),
        Binding("s", "stacks", "stacks"),
        Binding("w", "why", "why"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
        Binding("a", "reload_all", "reload all", show=False),
        Binding("e", "events", "events", show=False),
        Binding("t", "shade", "dark or light", show=False),
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
        Binding("escape", "unfilter", "show all", show=False),
    ]

    def __init__(self, path: str, *, light: bool = False) -> None:
        super().__init__()
        # Before the style sheet is read: it uses their names of colours.
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = LIGHT.name if light else DARK.name
        self._path = path
        self._feed = self.FEED(path, self._tell)
        self._picture = Picture({}, {}, 0.0)
        self._asked = Asked()
        self._pid: int | None = None

    def compose(self) -> ComposeResult:
        """Build it."""
        yield Header(id="header")
        yield Table(id="table")
        yield Static("", id="detail", markup=False)
        yield Log(id="log")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begin."""
        self.table.focus()
        self._draw()
        self._feed.start()

    def on_unmount(self) -> None:
        """Let go of the manager."""
        self._feed.close()
        self._feed.join(0.1)

    @property
    def table(self) -> Table:
        """The table, also while something lies over it."""
        return self.screen_stack[0].query_one(Table)

    @property
    def log_pane(self) -> Log:
        """The log."""
        return self.screen_stack[0].query_one(Log)

    @property
    def header(self) -> Header:
        """The two lines at the top."""
        return self.screen_stack[0].query_one(Header)

    # What is heard

    def _tell(self, what: Any) -> None:
        self.post_message(News(what))

    def on_news(self, news: News) -> None:
        """Take in what the threads have heard."""
        if not self.screen_stack:
            return  # it is being quit
        match news.what:
            case Picture() as picture:
                self._picture = picture
                self.header.sample(picture.status, picture.usages)
                self._draw()
            case Heard(event):
                self._hear(event)
            case Attached(greeting):
                self._found(greeting)
            case Lost(text):
                self._lose(text)
            case partial() as outcome:
                outcome()

    def _hear(self, event: dict[str, Any]) -> None:
        if event.get("kind") == "worker-status":
            self._apply_status(event)
            return
        self.log_pane.add(event)
        if event.get("kind") == "scaled":
            # Whoever scales again at once starts from here.
            for service in self._picture.status.get("services", ()):
                if service.get("id") == event.get("service"):
                    service["wanted"] = event.get("workers", 0)

    def _apply_status(self, event: dict[str, Any]) -> None:
        """Put a worker's own line where the next status will have it."""
        for service in self._picture.status.get("services", ()):
            for worker in service.get("workers", ()) if service["id"] == event["service"] else ():
                if worker.get("id") == event.get("worker") and worker["pid"] == event.get("pid"):
                    worker["status"] = event.get("status")

    def _found(self, greeting: control.Greeting) -> None:
        if self._pid is not None and self._pid != greeting.pid:
            self.header.forget()
            self._note(f"another manager is there now: pid {greeting.pid}", words.GOOD)
        elif self.header.lost:
            self._note("the manager answers again", words.GOOD)
        self._pid = greeting.pid
        self._show_lost("")

    def _lose(self, text: str) -> None:
        if not self.header.lost:
            self._note("the manager has gone, or does not answer", words.BAD)
        self._show_lost(text)

    def _show_lost(self, text: str) -> None:
        self.header.lost = text
        self.table.lost = self.log_pane.lost = bool(text)
        self._draw()

    def _note(self, text: str, tone: str) -> None:
        when = time.strftime("%H:%M:%S")
        self.log_pane.note((when, "top", text, tone))

    # What is shown

    def _draw(self) -> None:
        status, usages, at = self._picture
        later = 0.0 if self.header.lost or not at else max(0.0, time.monotonic() - at)
        name = self._path.rpartition("/")[2].removesuffix(".sock")
        self.header.show(status, later, name)
        self.table.show(rows(status, usages, later, self._asked))

    def on_table_moved(self) -> None:
        """Tell of the row under the cursor what its columns have no room for."""
        if not self.screen_stack:
            return  # it is being quit
        row = self.table.row
        if row is not None:
            text = row.detail
        elif self._asked.filter:
            text = "nothing has this in its name, state or status: Esc shows all"
        else:
            text = "there are no services"
        if self._asked.filter:
            text = f"/{self._asked.filter}  {text}"
        self.screen_stack[0].query_one("#detail", Static).update(Text(text))

    def on_table_fold(self) -> None:
        """Hide or show the workers of a service."""
        row = self.table.row
        if row is not None:
            self._asked = self._asked._replace(folded=self._asked.folded ^ {row.service})
            self._draw()

    # Keys that look

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Reading("Keys and columns", Text(HELP)))

    def action_events(self) -> None:
        """Give the events more room, or less."""
        self.log_pane.toggle_class("tall")

    def action_shade(self) -> None:
        """Change from dark to light or back."""
        self.theme = DARK.name if self.theme == LIGHT.name else LIGHT.name
        self._draw()

    def action_filter(self) -> None:
        """Ask what shall be shown."""

        def take(text: str | None) -> None:
            if text is not None:
                self._asked = self._asked._replace(filter=text)
                self._draw()

        self.push_screen(Ask("Show only what contains", self._asked.filter), take)

    def action_unfilter(self) -> None:
        """Show everything."""
        self._asked = self._asked._replace(filter="")
        self._draw()

    def action_why(self) -> None:
        """Tell of the last ends."""
        row = self.table.row
        if row is not None:
            text = story(self._picture.status, row.service, row.worker)
            self.push_screen(Reading(f"Why {row.title}", text))

    def action_stacks(self) -> None:
        """Ask a worker for its stacks."""
        row = self.table.row
        if row is None or row.worker is None:
            self._say("Stacks are those of a worker: move the cursor to one.", "warning")
            return

        def ask() -> None:
            with control.Client(self._path, timeout=10.0) as client:
                found = client.request("stacks", service=row.service, worker=row.worker)
            text = "\n".join(words.clean(line) for line in str(found.get("stacks")).split("\n"))
            title = f"Stacks of {row.title}, pid {words.clean(found.get('pid'))}"
            self._tell(partial(self._read, title, text))

        self._work(ask)

    def _read(self, title: str, text: str) -> None:
        self.push_screen(Reading(title, Text(text)))

    # Keys that change

    def action_scale(self, by: int) -> None:
        """Ask how many workers a service shall have."""
        row = self.table.row
        if row is None or self._is_lost():
            return
        wanted = self._wanted(row)

        def take(text: str | None) -> None:
            if text is not None:
                self._command(
                    f"scale {row.name} from {wanted} to {text}",
                    lambda client: client.scale(row.service, int(text), wait=PATIENCE),
                )

        question = f"Workers of {row.name}, now {wanted}"
        self.push_screen(Ask(question, str(max(0, wanted + by)), number=True), take)

    def _wanted(self, row: Row) -> int:
        services = self._picture.status.get("services", ())
        return next((s.get("wanted", 0) for s in services if s.get("id") == row.service), 0)

    def action_reload(self) -> None:
        """Reload the service under the cursor."""
        row = self.table.row
        if row is not None:
            self._confirm(
                f"Reload {row.name}",
                f"reload {row.name}",
                lambda client: client.reload(row.service, wait=PATIENCE),
            )

    def action_reload_all(self) -> None:
        """Reload every service."""
        self._confirm(
            "Reload all services", "reload all", lambda client: client.reload(wait=PATIENCE)
        )

    def action_restart(self) -> None:
        """Restart the service or the worker under the cursor."""
        row = self.table.row
        if row is not None:
            what = "all its workers, a few at a time" if row.worker is None else "this worker"
            self._confirm(
                f"Restart {row.title}: {what}",
                f"restart {row.title}",
                lambda client: client.restart(row.service, row.worker, wait=PATIENCE),
            )

    def _confirm(
        self, question: str, what: str, do: Callable[[control.Client], control.Outcome]
    ) -> None:
        if self._is_lost():
            return

        def take(answer: bool | None) -> None:
            if answer:
                self._command(what, do)

        self.push_screen(Confirm(f"{question}?"), take)

    def _is_lost(self) -> bool:
        if self.header.lost:
            self._say("There is no manager at the moment that could do it.", "warning")
        return bool(self.header.lost)

    def _command(self, what: str, do: Callable[[control.Client], control.Outcome]) -> None:
        def run() -> None:
            with control.Client(self._path) as client:
                outcome = do(client)
            severity = "information" if outcome.ok else "error"
            self._feed.hurry()
            self._tell(partial(self._say, outcome.text, severity, what))

        self._say("asked for; the outcome follows", "information", what)
        self._work(run)

    def _work(self, run: Callable[[], None]) -> None:
        """Do something in a thread; what the manager refuses is told."""

        def guarded() -> None:
            try:
                run()
            except control.ControlError as error:
                self._tell(partial(self._say, error.text, "error"))

        # No worker of Textual: quitting would wait for the outcome.
        threading.Thread(target=guarded, daemon=True).start()

    def _say(self, text: str, severity: Any = "information", title: str = "") -> None:
        timeout = 4 if severity == "information" else 10
        self.notify(
            words.clean(text), title=title, severity=severity, timeout=timeout, markup=False
        )
