"""Who is asked for the stacks of its threads, and what it answers.

Responsible for two ways to ask, and two reasons. A worker is asked over its channel first, which
hurts nobody: its main thread writes the stacks itself. Only if it does not, because that thread
is stuck in some C code, it is asked by signal: a dump from a signal handler, while other threads
run, may end a process. The reasons are that it is silent, and about to be killed, and that people
want to look at it. Never waits.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping

from cotyledon._posix import channel, stacks
from cotyledon._posix.children import Child
from cotyledon._posix.table import Table

SECOND = 1_000_000_000
LATE = SECOND // 2
"""How long a worker that is silent may still be heard before it is asked for its stacks."""
MOMENT = SECOND // 4
"""How long it has to answer over its channel before it is asked by signal."""
PATIENCE = SECOND
"""How long each of the two ways may take when people ask."""
GLANCE = SECOND // 20
"""The time between two looks at a dump: it is complete when it has not grown."""

_Silence = tuple[int, Child, int]
"""When to ask, whom, and its last heartbeat when it was found silent."""

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
        listen: has the channel of a child listened to, for its answer.
    """

    def __init__(
        self, table: Table, children: Mapping[int, Child], listen: Callable[[Child], None]
    ) -> None:
        self._table = table
        self._children = children
        self._listen = listen
        self._silent: deque[_Silence] = deque()  # to be asked over their channels
        self._unheard: deque[_Silence] = deque()  # to be asked by signal unless they answer
        self._questions: dict[int, _Question] = {}

    @property
    def due(self) -> int | None:
        """The instant of the next :meth:`work`."""
        due: int | None = None
        for waiting in (self._silent, self._unheard):
            if waiting and (due is None or waiting[0][0] < due):
                due = waiting[0][0]
        for question in self._questions.values():
            if due is None or question.due < due:
                due = question.due
        return due

    def work(self) -> None:
        """Do what is due."""
        if not (self._silent or self._unheard or self._questions):
            return
        now = time.monotonic_ns()
        while self._silent and self._silent[0][0] <= now:
            _, child, beat = self._silent.popleft()
            if self._is_silent(child, beat):
                # Both ends of the question are its death's, whichever way it is answered.
                child.asked = True
                stacks.clear(child.stacks)
                self._ask(child, aloud=True)
                self._unheard.append((now + MOMENT, child, beat))
        while self._unheard and self._unheard[0][0] <= now:
            _, child, beat = self._unheard.popleft()
            if self._is_silent(child, beat) and not stacks.size(child.stacks):
                stacks.ask(child.process)
        for question in list(self._questions.values()):
            if question.due <= now:
                self._look(question, now)

    # Those who are silent

    def later(self, child: Child) -> None:
        """Ask a worker that is silent, if it still is in a moment."""
        self._silent.append((time.monotonic_ns() + LATE, child, self._table.beat(child.place)))

    def _is_silent(self, child: Child, beat: int) -> bool:
        """Tell whether a child is there, and has not been heard since."""
        silent = child.name is None or self._table.beat(child.place) == beat
        return silent and self._children.get(child.key) is child

    def _ask(self, child: Child, *, aloud: bool) -> bool:
        """Ask over the channel; return false if its main thread does not listen there."""
        # After an order that waits for room it would overtake that.
        hears = child.channel >= 0 and child.name is not None and child.unsent is None
        if not hears or not channel.send(child.channel, channel.StacksMessage(aloud)):
            return False
        child.owes_stacks = True
        self._listen(child)
        return True

    # Those whom people want to look at

    def ask(self, child: Child, tell: Told) -> None:
        """Ask for people.

        Args:
            child: the worker.
            tell: is called later, once.
        """
        now = time.monotonic_ns()
        question = self._questions.get(child.key)
        if question is not None:
            question.tell.append(tell)
            return
        question = self._questions[child.key] = _Question(child, now + PATIENCE)
        question.tell.append(tell)
        stacks.clear(child.stacks)
        if not self._ask(child, aloud=False):
            question.due = now  # it is being built

    def answered(self, child: Child) -> None:
        """Take note that a worker has written its stacks."""
        child.owes_stacks = False
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
