"""The questions that are asked before something is changed, and texts to be read.

Responsible for what lies over the table. Never changes anything itself.
"""

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

HELP = """\
+ -       more or fewer workers of a service: asks how many
r         reload the service under the cursor; a for all of them
R         restart the service or the worker under the cursor
s         the stacks of the worker
w         why: the last ends in the slot, or in those of the service

↑ ↓ j k   move; PgUp PgDn Home End too
space     hide or show the workers of a service
/         show only what has this in its name, state or status
Esc       show everything again
e         the events take half of the screen, or a few lines
tab       go to the events and back, to scroll in them
t         dark or light
q         leave; the manager does not notice

MEMORY    what the worker shares with no other process
CPU       of one CPU; a full bar is its most lately, 10% at least
BEAT      how old the last heartbeat was when the manager was asked
GEN       the reload that the worker has taken up
RESTARTS  how many the slot has had; then why and when the last ended
"""


class Confirm(ModalScreen[bool]):
    """Asks whether something shall be done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Build it."""
        with Vertical(classes="box"):
            yield Static(Text(self._question))
            yield Static(Text("y  yes    n  no", style="bold"), classes="keys")

    def action_answer(self, answer: bool) -> None:
        """Give the answer."""
        self.dismiss(answer)


class Ask(ModalScreen[str | None]):
    """Asks for a text.

    Args:
        question: what is asked.
        value: what is there already.
        number: whether only a number will do.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave it")]

    def __init__(self, question: str, value: str, *, number: bool = False) -> None:
        super().__init__()
        self._question = question
        self._value = value
        self._number = number

    def compose(self) -> ComposeResult:
        """Build it."""
        with Vertical(classes="box"):
            yield Static(Text(self._question))
            yield Input(
                self._value,
                type="integer" if self._number else "text",
                max_length=5 if self._number else 80,
            )
            yield Static(Text("Enter  do it    Esc  leave it", style="bold"), classes="keys")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the answer, if it is one."""
        event.stop()
        value = event.value.strip()
        if self._number and not value.isdecimal():
            self.app.bell()
            return
        self.dismiss(value)

    def key_up(self, event: events.Key) -> None:
        """One more."""
        self._step(event, 1)

    def key_down(self, event: events.Key) -> None:
        """One less."""
        self._step(event, -1)

    def _step(self, event: events.Key, by: int) -> None:
        box = self.query_one(Input)
        if self._number and box.value.isdecimal():
            event.stop()
            box.value = str(max(0, int(box.value) + by))
            box.cursor_position = len(box.value)

    def action_leave(self) -> None:
        """Give no answer."""
        self.dismiss(None)


class Reading(ModalScreen[None]):
    """Shows a text that may be long."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "leave", "back"),
        Binding("j", "scroll(1)", "down", show=False),
        Binding("k", "scroll(-1)", "up", show=False),
    ]

    def __init__(self, title: str, text: Text) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Build it."""
        with Vertical(classes="page"):
            yield Static(Text(self._title, style="bold"), classes="title")
            with VerticalScroll():
                yield Static(self._text)
            yield Static(Text("↑ ↓  scroll    Esc  back", style="bold"), classes="keys")

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, by: int) -> None:
        """Scroll by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)
