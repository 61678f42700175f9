"""The master's loop: signals and wishes in, one step of the core, effects out, then hooks.

Responsible for the order of a turn, and for what a signal to the master means. Never decides what
happens to a worker, never touches the kernel itself.

A turn::

    wait for facts -> take signals and requests -> core.step -> perform effects -> tell people
    -> call hooks, for a moment

Hooks come last, with the core at rest, so what they ask for is a request for the next turn. Those
of a stop come first: nothing may be started once it was asked for.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from logging import ERROR, INFO, WARNING
from typing import Any, NamedTuple, Protocol

from cotyledon._core.board import earlier
from cotyledon._core.effects import Effect, Exit, Reason, ServiceGone, StopManager, WorkerDied
from cotyledon._core.events import (
    AbortRequested,
    Event,
    GraceChanged,
    HurryRequested,
    ReloadRequested,
    StopRequested,
)
from cotyledon._core.machine import HURRY, Core
from cotyledon._foreign import Foreign
from cotyledon._posix.guard import UNHEARD, Guard
from cotyledon._posix.reactor import Reactor
from cotyledon._posix.signals import Catcher
from cotyledon._reporting import Reporter
from cotyledon._telling import STOLEN, Telling
from cotyledon.notices import Notice, Stopping
from cotyledon.systemd import Notifier

SECOND = 1_000_000_000
MOMENT = SECOND // 200
"""How long a turn may go on with hooks that are waiting before it looks at the workers again."""
LAST_WORDS = SECOND
"""How long hooks may be told of the end, when nothing is left to be supervised."""


class Job(NamedTuple):
    """Hooks to call, and the event that follows them."""

    kind: str
    hooks: list[Callable[..., object]]
    args: tuple[Any, ...] = ()
    then: Event | None = None


class Hooks:
    """What the program has registered, by kind, in order."""

    def __init__(self) -> None:
        self.on_terminate: list[Callable[..., object]] = []
        self.on_reload: list[Callable[..., object]] = []
        self.on_new_worker: list[Callable[..., object]] = []
        self.on_dead_worker: list[Callable[..., object]] = []
        self.on_event: list[Callable[..., object]] = []


class Inbox:
    """Requests of threads, hooks and signal handlers to the loop; appending is atomic."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.stop = False
        self.why = "shutdown()"  # of the stop


class Control(Protocol):
    """The control socket, as far as a turn knows it. None of it raises or waits."""

    def before(self, events: Iterable[Event]) -> None:
        """Take note of what the core is about to take in."""
        ...

    def after(self, events: Iterable[Event], effects: Iterable[Effect]) -> None:
        """Take note of what the core has taken in, and of what follows."""
        ...

    def refuse(self, event: Event, why: str) -> None:
        """Take note that the core will not be told of a request."""
        ...

    def count(self, effect: Effect) -> None:
        """Count what an effect tells."""
        ...

    def tell(self, event: Notice) -> None:
        """Pass an event on."""
        ...

    def serve(self) -> None:
        """Look after the clients, for a moment."""
        ...

    def finish(self, status: int) -> None:
        """Tell how the manager ends."""
        ...


class Loop:
    """Runs the core against the kernel until the core says that it is over.

    Args:
        core: decides.
        lock: held while the core changes, so that ``status()`` sees whole turns.
        inbox: requests.
        hooks: the program's.
        name: tells the name of a service's number.
        public_id: tells its public id.
        forget: called with a service's number when nothing of it is left.
        notifier: the init system.
    """

    def __init__(
        self,
        core: Core,
        lock: Any,
        inbox: Inbox,
        hooks: Hooks,
        name: Callable[[int], str],
        public_id: Callable[[int], Any],
        forget: Callable[[int], None],
        notifier: Notifier,
    ) -> None:
        self._core = core
        self._lock = lock
        self._inbox = inbox
        self._hooks = hooks
        self._given_name = name
        self._public_id = public_id
        self._forget = forget
        self.reporter = Reporter(notifier, core, self._name)
        self._foreign = Foreign()
        self.note = self._foreign.note
        self._telling = Telling(self.note, self._name, public_id, self._pid)
        self._jobs: deque[Job] = deque()
        self._soon: list[Event] = []  # for the next step
        self._stop_asked_at: int | None = None
        self._stopping = False  # the core is told in the same turn
        self._stop_due: str | None = None  # why the core wants the manager to stop
        self.catcher: Catcher
        self.reactor: Reactor
        self.guard: Guard
        self.control: Control | None = None

    def run(self) -> int:
        """Supervise until the end; return the exit status."""
        reactor, control = self.reactor, self.control
        busy: Any = True  # the first turn waits for nothing
        while True:
            due = 0 if busy else earlier(self._core.next_deadline(), self.reporter.due)
            facts = reactor.wait(due)
            events = self._soon + facts
            self._soon = []
            self._take_signals(events)
            self._take_requests(events)
            if reactor.news.told:
                self._pass_on_news()
            if control is not None:
                control.before(events)
            with self._lock:
                effects = self._core.step(time.monotonic_ns(), events)
            self._soon.extend(reactor.perform(effects))
            for effect in effects:
                self._tell(effect)
            self._foreign.tell()
            self.reporter.turn(events, effects)
            if control is not None:
                control.after(events, effects)
            if effects and isinstance(effects[-1], Exit):
                return self._finish(effects[-1].status)
            self._work()
            if control is not None:
                control.serve()
            busy = (
                self._soon
                or (self._jobs and not self._foreign.late)
                or self._inbox.events
                or (self._inbox.stop and not self._stopping)
                or self.catcher.caught
                or (self._stop_due and not self._stopping)
            )

    def _finish(self, status: int) -> int:
        """Tell everybody that it is over."""
        self._foreign.be_brief(time.monotonic_ns() + LAST_WORDS)
        self._tell_the_rest()
        if self._jobs:
            self.note(ERROR, "no time is left for the hooks of %d more events", len(self._jobs))
            self._foreign.tell()
        if self.control is not None:
            self.control.finish(status)
        self.reporter.finish(status)
        return status

    def _name(self, service: int) -> str:
        return self.reactor.names.get(service) or self._given_name(service)

    def _pid(self, worker: int) -> int | None:
        child = self.reactor.children.get(worker)
        return None if child is None else child.process.pid

    @property
    def state(self) -> str:
        """Whether it is ``running`` or ``stopping``."""
        return "stopping" if self._stopping or self._core.stopping else "running"

    def in_transit(self, event: Event) -> bool:
        """Whether this very event is on its way to the core."""
        return (
            any(one is event for one in self._inbox.events)
            or any(one is event for one in self._soon)
            or any(job.then is event for job in self._jobs)
        )

    # What signals and requests mean

    def react(self, signum: int) -> None:
        """In the handler itself: see that a hook that is running ends in time."""
        if signum == signal.SIGALRM and self._foreign.on_alarm():
            return
        if signum == signal.SIGTERM:
            if self._stop_asked_at is None:
                self._ask_stop()
            else:
                self._foreign.interrupt()
        elif signum in (signal.SIGINT, signal.SIGALRM):
            self.guard.promise(time.monotonic_ns(), UNHEARD)
            self._foreign.interrupt()

    def _ask_stop(self) -> None:
        now = self._stop_asked_at = time.monotonic_ns()
        if self._core.grace:
            self.guard.promise(now + self._core.grace, UNHEARD)
            self._foreign.limit(now + self._core.grace // 2)

    def _take_signals(self, events: list[Event]) -> None:
        caught = self.catcher.caught
        while caught:
            signum = caught.popleft()
            if signum == signal.SIGHUP:
                self._reload(ReloadRequested())
            elif signum == signal.SIGTERM:
                if self._stopping:
                    self.note(WARNING, "told to stop a second time: what is left has one second")
                    hurried = time.monotonic_ns() + HURRY
                    self.guard.promise(hurried)
                    self._foreign.limit(hurried)
                    events.append(HurryRequested())
                else:
                    self._stop("SIGTERM", events)
            elif signum == signal.SIGALRM and self._foreign.alarms:
                self._foreign.alarms -= 1
            else:
                self.note(WARNING, "%s: ending at once", signal.Signals(signum).name)
                self._stopping = True
                self._jobs.clear()
                self._foreign.limit(time.monotonic_ns())  # the others are told at the end
                self.guard.promise(time.monotonic_ns())
                self.reporter.stopping(signal.Signals(signum).name, 0)
                events.append(AbortRequested())

    def _take_requests(self, events: list[Event]) -> None:
        requests = self._inbox.events
        while requests:
            event = requests.popleft()
            if isinstance(event, GraceChanged):
                self.guard.table.grace = event.grace
            if isinstance(event, ReloadRequested):
                self._reload(event)
            else:
                events.append(event)
        if self._stopping:
            return
        if self._inbox.stop:
            self._stop(self._inbox.why, events)
        elif self._stop_due:
            self._stop(self._stop_due, events)

    def _reload(self, request: ReloadRequested) -> None:
        """Call the hooks, then reload; not again while the same is waiting to be done."""
        if self._stopping:
            return
        again = any(job.then == request for job in self._jobs)
        self.reporter.reloading(again=again)
        if not again:
            self._jobs.append(Job("on_reload", self._hooks.on_reload, (), request))

    def _stop(self, why: str, events: list[Event]) -> None:
        """Begin a graceful stop: before this turn's step, so that nothing more is started."""
        self._stopping = True
        self.note(INFO, "stopping because of %s", why)
        if self._stop_asked_at is None:
            self._ask_stop()
        self.reporter.stopping(why, self._time_left())
        self._publish(Stopping(why))
        if self._hooks.on_event:
            self._tell_the_rest()
        self._call(Job("on_terminate", self._hooks.on_terminate))
        left = self._time_left()
        if left:
            self.guard.promise(time.monotonic_ns() + left)
            self._foreign.be_brief(time.monotonic_ns() + left)
        events.append(StopRequested(left))

    def _work(self) -> None:
        """Call the hooks of the next events, for a moment, and pass on what follows from them."""
        until = time.monotonic_ns() + MOMENT
        while self._jobs and not self._foreign.late:
            job = self._jobs.popleft()
            refused = self._call(job)
            if job.then is not None and refused is None:
                self._soon.append(job.then)
            elif job.then is not None:
                self.reporter.refused()
                if self.control is not None:
                    self.control.refuse(job.then, str(refused))
            if self._soon or self.catcher.caught or time.monotonic_ns() >= until:
                break
        self._foreign.tell()

    def _call(self, job: Job) -> str | None:
        return self._foreign.call(job.kind, tuple(job.hooks), job.args) if job.hooks else None

    def _time_left(self) -> int:
        if not self._core.grace or self._stop_asked_at is None:
            return 0
        return max(1, self._stop_asked_at + self._core.grace - time.monotonic_ns())

    # Telling people

    def _tell(self, effect: Effect) -> None:
        telling = self._telling
        telling.log(effect)
        if isinstance(effect, StopManager):
            self._stop_due = f"{effect.reason.value} ({self._name(effect.service)})"
        elif isinstance(effect, WorkerDied):
            self._mourn(effect)
        if self.control is not None:
            self.control.count(effect)
        if self._hooks.on_event or self.control is not None:
            for notice in telling.public(effect):
                self._publish(notice)
        if isinstance(effect, ServiceGone):
            self._forget(effect.service)

    def _pass_on_news(self) -> None:
        for child in self.reactor.news.take():
            worker = self._core.workers.get(child.key)
            if worker is not None and (self._hooks.on_event or self.control is not None):
                self._publish(
                    self._telling.status(
                        child.service, worker.slot.worker_id, child.process.pid, child.status
                    )
                )

    def _publish(self, notice: Notice) -> None:
        if self.control is not None:
            self.control.tell(notice)
        if self._hooks.on_event:
            self._jobs.append(Job("on_event", self._hooks.on_event, (notice,)))

    def _mourn(self, death: WorkerDied) -> None:
        hooks = self._hooks.on_dead_worker
        if hooks and not death.stopping and death.reason is not Reason.SPAWN_FAILED:
            code = STOLEN if death.status is None else death.status
            args = (self._public_id(death.service), death.worker_id, code)
            self._jobs.append(Job("on_dead_worker", hooks, args))

    def _tell_the_rest(self) -> None:
        """Call the ``on_event`` hooks that are due, before something final."""
        jobs, self._jobs = self._jobs, deque()
        for job in jobs:
            if job.kind == "on_event" and not self._foreign.late:
                self._call(job)
            else:
                self._jobs.append(job)
        self._foreign.tell()
