"""Who is asked for the stacks of its threads, and what it answers.

Responsible for two reasons to ask. A worker that is silent, and about to be killed, is asked by
signal, late. A worker that people want to look at is asked over its channel, which hurts nobody:
its main thread writes the stacks itself. Only if it does not, because the main thread is stuck in
some C code, it is asked by signal: a dump from a signal handler, while other threads run, may end
a process. Never waits.
"""

import time
from collections.abc import Callable, Mapping

from cotyledon._posix import channel, stacks
from cotyledon._posix.children import Child
from cotyledon._posix.table import Table

SECOND = 1_000_000_000
LATE = SECOND * 3 // 4
"""How long a worker that is silent may still be heard before it is asked for its stacks."""
PATIENCE = SECOND
"""How long each of the two ways may take when people ask."""
GLANCE = SECOND // 20
"""The time between two looks at a dump: it is complete when it has not grown."""

Told = Callable[[str | None], None]
"""Takes the stacks; ``None``: the worker has not answered."""


class _Question:
    """One worker that people want to look at."""

    __slots__ = ("by_signal", "child", "due", "size", "tell", "until")

    def __init__(self, child: Child, due: int) -> None:
        self.child = child
        self.tell: list[Told] = []
        self.due = due  # when to look again
        self.by_signal = False
        self.until = 0  # when that has failed, too
        self.size = 0  # of the dump at the last look


class Asking:
    """The questions that are open.

    Args:
        table: has the heartbeats.
        children: by number.
    """

    def __init__(self, table: Table, children: Mapping[int, Child]) -> None:
        self._table = table
        self._children = children
        self._silent: list[tuple[int, Child, int]] = []  # when to ask, whom, its last beat then
        self._questions: dict[int, _Question] = {}

    @property
    def due(self) -> int | None:
        """The instant of the next :meth:`work`."""
        due = self._silent[0][0] if self._silent else None
        for question in self._questions.values():
            if due is None or question.due < due:
                due = question.due
        return due

    def work(self) -> None:
        """Do what is due."""
        if not self._silent and not self._questions:
            return
        now = time.monotonic_ns()
        while self._silent and self._silent[0][0] <= now:
            self._ask_silent(*self._silent.pop(0)[1:])
        for question in list(self._questions.values()):
            if question.due <= now:
                self._look(question, now)

    # Those who are silent

    def later(self, child: Child) -> None:
        """Ask a worker that is silent, if it still is in a moment."""
        self._silent.append((time.monotonic_ns() + LATE, child, self._table.beat(child.place)))

    def _ask_silent(self, child: Child, beat: int) -> None:
        silent = child.name is None or self._table.beat(child.place) == beat
        if silent and self._children.get(child.key) is child:
            child.asked = True
            stacks.clear(child.stacks)
            stacks.ask(child.process)

    # Those whom people want to look at

    def ask(self, child: Child, tell: Told) -> bool:
        """Ask for people; return whether the channel has to be listened to for the answer.

        Args:
            child: the worker.
            tell: is called later, once.
        """
        now = time.monotonic_ns()
        question = self._questions.get(child.key)
        if question is not None:
            question.tell.append(tell)
            return not question.by_signal
        question = self._questions[child.key] = _Question(child, now + PATIENCE)
        question.tell.append(tell)
        stacks.clear(child.stacks)
        # After an order that waits for room it would overtake that.
        heard = child.channel >= 0 and child.name is not None and child.unsent is None
        if heard and channel.send(child.channel, channel.StacksMessage()):
            child.asked_by_people = True
            return True
        question.due = now  # it is being built, or its main thread does not listen
        return False

    def answered(self, child: Child) -> None:
        """Take note that a worker has written its stacks."""
        child.asked_by_people = False
        question = self._questions.get(child.key)
        if question is not None:
            self._close(question, stacks.read(child.stacks) or None)

    def lost(self, child: Child) -> None:
        """Take note that a worker is dead."""
        if self._questions:
            question = self._questions.get(child.key)
            if question is not None:
                self._close(question, None)

    def _look(self, question: _Question, now: int) -> None:
        child = question.child
        if not question.by_signal:
            question.by_signal = True
            question.until = now + PATIENCE
            if child.stacks < 0:  # it would not survive the signal
                self._close(question, None)
                return
            stacks.clear(child.stacks)
            stacks.ask(child.process)
        else:
            size = stacks.size(child.stacks)
            if now >= question.until or (size and size == question.size):
                self._close(question, stacks.read(child.stacks) or None)
                return
            question.size = size
        question.due = now + GLANCE

    def _close(self, question: _Question, text: str | None) -> None:
        del self._questions[question.child.key]
        for tell in question.tell:
            tell(text)
