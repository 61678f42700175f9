"""The one poll loop: kernel facts become the core's events, its effects become kernel calls.

Responsible for the table of children, and for telling apart whose descriptor has become
readable. Never decides, never sleeps outside :meth:`Reactor.wait`, and never raises for what a
kernel can refuse: a failed start is an event.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from logging import CRITICAL, ERROR
from typing import Any

from cotyledon._core.effects import (
    DumpStacks,
    Effect,
    Kill,
    MeasureMemory,
    ReadBeat,
    Reload,
    Spawn,
    Terminate,
)
from cotyledon._core.events import (
    Event,
    Exited,
    Extended,
    Heartbeat,
    Measured,
    Ready,
    Reloaded,
    SpawnFailed,
)
from cotyledon._core.grace import bounded
from cotyledon._posix import channel, memory
from cotyledon._posix.asking import Asking, Told
from cotyledon._posix.children import Child
from cotyledon._posix.fork import FORKS
from cotyledon._posix.guard import Guard
from cotyledon._posix.launch import Launcher, Order
from cotyledon._posix.news import News
from cotyledon._posix.processes import Process, milliseconds
from cotyledon._posix.seldom import Seldom
from cotyledon._posix.signals import Catcher, Wakeup
from cotyledon._posix.strangers import Strangers
from cotyledon._posix.watches import Watches

SECOND = 1_000_000_000
GUARD_PAUSE = SECOND
REAP_PAUSE = SECOND // 200
"""How long to leave a dead process alone whose status cannot be had yet."""
LAST = 2 * SECOND
"""How long killed processes may take to vanish when supervision has failed."""


class Reactor:
    """Waits for what happens to the workers, and does to them what the core wants.

    Args:
        wakeup: makes :meth:`wait` return.
        catcher: takes in the signals that have done so.
        guard: started here, and started again when it dies.
        assign: makes a worker's assignment from the core's effect.
        say: logs a line.
        strangers: reaps what is neither ours nor the program's.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        catcher: Catcher,
        guard: Guard,
        assign: Callable[[Spawn], Any],
        say: Callable[..., None],
        strangers: Strangers,
    ) -> None:
        self.children: dict[int, Child] = {}
        self.names: dict[int, str] = {}  # of services, as their workers have told them
        self.launcher: Launcher | None = None
        self._strangers = strangers
        self._cgroups = guard.cgroups
        self._wakeup = wakeup
        self._catcher = catcher
        self._guard = guard
        self._say = say
        self._seldom = Seldom(say)
        self._guard_fd = -1
        self._guard_due: int | None = None  # when to start it again
        self.news = News()
        self._asking = Asking(guard.table, self.children, self._expect)
        self._unreaped: list[Child] = []  # dead, and their status cannot be had yet
        self._reap_due: int | None = None
        self._assign = assign
        self._by_fd: dict[int, Child] = {}
        self._memory = memory.OutOfMemory()
        self._epoll = select.epoll()
        self.watches = Watches(self._epoll)
        self._epoll.register(wakeup.fd, select.EPOLLIN)
        self._epoll.register(self.news.ours, select.EPOLLIN)
        FORKS.own(self._epoll.fileno(), *wakeup.fds)
        self._start_guard()

    # Facts

    def wait(self, until: int | None) -> list[Event]:
        """Wait for something to happen, at most until an instant; return what happened."""
        self._asking.work()
        for due in (self._guard_due, self._reap_due, self.watches.alarm, self._asking.due):
            if due is not None and (until is None or due < until):
                until = due
        timeout = None if until is None else milliseconds(until - time.monotonic_ns()) / 1000
        events: list[Event] = []
        exited = self._unreaped
        self._unreaped = []
        self._catcher.claim()  # a hook, or a handler, may have run something that took it over
        for fd, _ in self._epoll.poll(timeout):
            child = self._by_fd.get(fd)
            if child is not None:
                if fd == child.process.pidfd:
                    self._epoll.unregister(fd)
                    exited.append(child)
                else:
                    self._listen(child, events)
                    if child.channel >= 0:
                        self._send_unsent(child)
            elif fd == self._wakeup.fd:
                self._catcher.drain()
            elif fd == self.news.ours:
                self.news.hear()
            elif fd == self._guard_fd:
                self._guard_lost()
            else:
                self.watches.tell(fd)
        self._reap_due = None
        if self._cgroups is not None and self._cgroups.busy and self._cgroups.tidy():
            self._reap_due = time.monotonic_ns() + REAP_PAUSE
        for child in exited:
            self._listen(child, events)
            self._bury(child, events)
        self._strangers.reap()
        if self._guard_due is not None and time.monotonic_ns() >= self._guard_due:
            self._start_guard()
        return events

    def ask_for_stacks(self, child: Child, tell: Told) -> None:
        """Ask a worker for the stacks of its threads, for people; ``tell`` is called later."""
        self._asking.ask(child, tell)

    def _listen(self, child: Child, events: list[Event]) -> None:
        if child.channel < 0:
            return
        messages = channel.receive(child.channel)
        if messages is None:
            # It has closed its end, or is dead; only the pidfd tells which.
            self._hang_up(child)
            return
        for message in messages:
            match message:
                case channel.ReadyMessage(name, reloads, grace):
                    child.name = self.names[child.service] = name
                    self._guard_grace(child, grace)
                    events.append(Ready(child.key, reloads, grace))
                case channel.ExtendMessage(by):
                    events.append(Extended(child.key, by))
                case channel.ReloadedMessage(generation, grace):
                    if generation >= child.owes:
                        child.owes = 0
                    self._guard_grace(child, grace)
                    events.append(Reloaded(child.key, generation, grace))
                case channel.StacksMessage():
                    self._asking.answered(child)
                case _:
                    pass  # not something that a worker says

    def _guard_grace(self, child: Child, own: int | None) -> None:
        self._guard.table.set_grace(child.place, bounded(own, child.grace))

    def _hang_up(self, child: Child) -> None:
        if child.channel >= 0:
            with FORKS.lock:  # no thread forks between the map and the descriptor
                self._forget(child.channel)
                os.close(child.channel)
            child.channel = -1

    def _forget(self, fd: int) -> None:
        # Taken out of the epoll set by hand: closing it would not do, while a child that is
        # being forked still holds the same open file.
        del self._by_fd[fd]
        FORKS.disown(fd)
        self._epoll.unregister(fd)

    def _bury(self, child: Child, events: list[Event]) -> None:
        process = child.process
        process.kill_group()
        if not process.reap():
            self._unreaped.append(child)
            self._reap_due = time.monotonic_ns() + REAP_PAUSE
            return
        self._hang_up(child)
        if self._cgroups is not None and child.cgroup is not None:
            self._cgroups.retire(child.cgroup)
            if self._cgroups.busy:
                self._reap_due = time.monotonic_ns() + REAP_PAUSE
        del self._by_fd[process.pidfd]
        self._guard.table.release(child.place)
        del self.children[child.key]
        self.news.forget(child)
        self._asking.lost(child)
        code, account = process.returncode, child.close()
        starved = code == -signal.SIGKILL and not child.killed and self._memory.killed()
        events.append(Exited(child.key, code, process.dumped, starved, account))

    # Effects

    def perform(self, effects: Iterable[Effect]) -> list[Event]:
        """Carry out effects, and return the answers; notices are not our business."""
        spawns: list[Spawn] = []
        answers: list[Event] = []
        for effect in effects:
            match effect:
                case Spawn():
                    spawns.append(effect)  # the core emits them last, and names no newer worker
                case Terminate(worker):
                    self._send(worker, channel.StopMessage())
                case Reload(worker, generation):
                    self._send(worker, channel.ReloadMessage(generation))
                case Kill() | DumpStacks() | ReadBeat() | MeasureMemory():
                    child = self.children.get(effect.worker)
                    if child is not None:
                        self._look_after(child, effect, answers)
                case _:
                    pass
        if spawns:
            answers.extend(self._spawn(spawns))
        return answers

    def _look_after(
        self, child: Child, effect: Kill | DumpStacks | ReadBeat | MeasureMemory, answers: Any
    ) -> None:
        process = child.process
        match effect:
            case Kill():
                child.killed = True
                by_group = child.cgroup is not None and child.cgroup.kill()
                if not process.kill() and not by_group:
                    self._say(CRITICAL, "process %d: not allowed to kill", process.pid)
            case DumpStacks():
                self._asking.later(child)
            case ReadBeat():
                answers.append(Heartbeat(child.key, self._guard.table.beat(child.place)))
            case MeasureMemory(_, limit):
                private = memory.private_or_say(child.name, process.pid, limit, self._seldom)
                if private is not None:
                    answers.append(Measured(child.key, private))

    def _spawn(self, spawns: list[Spawn]) -> list[Event]:
        assert self.launcher is not None
        failed: list[Event] = []
        # No other thread forks before the map tells of the new descriptors.
        with FORKS.lock:
            orders: list[tuple[Spawn, Order]] = []
            for spawn in spawns:
                try:
                    orders.append((spawn, self._order(spawn)))
                except Exception as error:
                    failed.append(self._failed(spawn, error))
            self.launcher.launch([order for _, order in orders])
            born: list[Child] = []
            for spawn, order in orders:
                if order.process is not None:
                    born.append(self._adopt(spawn, order, order.process))
                else:
                    for fd in (order.channel, order.stacks_fd):
                        if fd >= 0:
                            FORKS.disown(fd)
                            os.close(fd)
                    if self._cgroups is not None and order.cgroup is not None:
                        self._cgroups.retire(order.cgroup)
                    self._guard.table.release(order.place)
                    failed.append(self._failed(spawn, order.error))
            for child in born:  # when all are known: should this fail, each of them is ended
                self._epoll.register(child.process.pidfd, select.EPOLLIN)
                self._epoll.register(child.channel, select.EPOLLIN | select.EPOLLONESHOT)
        return failed

    def _order(self, spawn: Spawn) -> Order:
        assignment = self._assign(spawn)
        place = self._guard.table.reserve()
        cgroups, cgroup = self._cgroups, None
        try:
            if cgroups is not None:
                cgroup = cgroups.make_or_say(str(spawn.worker), self._say)
            return Order(assignment, place, spawn.grace, cgroup, self.news.theirs)
        except BaseException:
            self._guard.table.release(place)
            raise

    def _adopt(self, spawn: Spawn, order: Order, process: Process) -> Child:
        self._guard.table.enter(order.place, process.pid, spawn.grace)
        child = Child(spawn.worker, spawn.service, spawn.grace, process, order)
        self.children[spawn.worker] = child
        self.news.expect(child)
        FORKS.own(process.pidfd)
        self._by_fd[process.pidfd] = self._by_fd[child.channel] = child
        return child

    def _failed(self, spawn: Spawn, error: BaseException | None) -> SpawnFailed:
        trace = None if isinstance(error, OSError) else error
        self._seldom.say(SECOND, ERROR, "cannot start a worker: %s", error, exc_info=trace)
        return SpawnFailed(spawn.worker)

    def _send(self, worker: int, message: channel.Message) -> None:
        child = self.children.get(worker)
        if child is not None and child.channel >= 0 and not channel.is_cut(child.channel):
            # If it reads nothing at the moment: of what it has missed, only the last counts.
            child.unsent = message
            self._send_unsent(child)
        elif child is not None and isinstance(message, channel.StopMessage):
            # Dead, or another program in the place of ours, which may still end gracefully.
            child.process.send_signal(signal.SIGTERM)

    def _send_unsent(self, child: Child) -> None:
        message = child.unsent
        if message is not None and channel.send(child.channel, message):
            child.unsent = None
            if isinstance(message, channel.ReloadMessage):
                child.owes = message.generation
        self._expect(child)

    def _expect(self, child: Child) -> None:
        """Wait for what the worker still has to say or to take, once.

        Otherwise its channel is not polled: its hanging up, which every death begins with, would
        wake us a moment before the pidfd does.
        """
        owes = child.name is None or child.owes or child.owes_stacks
        what = select.EPOLLIN if owes else 0
        if child.unsent is not None:
            what |= select.EPOLLOUT
        if what:
            self._epoll.modify(child.channel, what | select.EPOLLONESHOT)

    # The guard

    def _start_guard(self) -> None:
        self._guard_due = None
        try:
            with FORKS.lock:
                self._guard_fd = self._guard.start()
            self._epoll.register(self._guard_fd, select.EPOLLIN)
        except OSError as error:
            self._say(ERROR, "cannot start the guard process, trying again: %s", error)
            self._guard_due = time.monotonic_ns() + GUARD_PAUSE

    def _guard_lost(self) -> None:
        self._say(ERROR, "the guard process has died and is started again")
        self._epoll.unregister(self._guard_fd)
        self._guard_fd = -1
        self._guard.lost()
        self._guard_due = max(time.monotonic_ns(), self._guard.started_at + GUARD_PAUSE)

    # The end

    def abandon(self, grace: int) -> None:
        """End what is left without asking the core: supervision itself has failed.

        Args:
            grace: nanoseconds that the workers have to end gracefully.
        """
        self._catcher.caught.clear()
        for child in self.children.values():
            if child.channel >= 0:
                channel.send(child.channel, channel.StopMessage())  # whatever else does not work
        for patience in (grace, LAST):
            deadline = time.monotonic_ns() + patience
            while self.children and time.monotonic_ns() < deadline and not self._catcher.caught:
                self.wait(deadline)
            for child in list(self.children.values()):
                child.process.kill()

    def close(self) -> None:
        """Let go of everything. Processes that would not die are left to the kernel."""
        for child in list(self.children.values()):
            self._say(
                CRITICAL, "process %d cannot be killed and is left behind", child.process.pid
            )
            self._hang_up(child)
            child.close()
        self.children.clear()
        self._by_fd.clear()
        FORKS.disown(self._epoll.fileno(), *self._wakeup.fds)
        self._epoll.close()
        self.news.close()
        self._guard.dismiss()
        if self._cgroups is not None:
            self._cgroups.finish()
            self._cgroups.close()
