"""What the init system is told, and when.

Responsible for turning the core's state into datagrams: ready, reloading, stopping, the line of
``systemctl status``, the watchdog, and how much longer a start, a reload or a stop may take. Never
fails, never has the loop woken up while nothing happens and no watchdog is wanted, and never
decides anything about workers.

The core's step comes first, then :meth:`Reporter.turn`: what holds up the loop (a hook that hangs,
a log that blocks) holds up the watchdog, and the init system ends what is stuck.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable

from cotyledon._core.board import UNKILLABLE, earlier
from cotyledon._core.effects import AllReady, Effect, MeasureMemory, ReadBeat
from cotyledon._core.events import Event, Heartbeat, Measured, ReloadRequested
from cotyledon._core.machine import Core
from cotyledon._core.state import Phase, ServiceState
from cotyledon.systemd import Notifier

SECOND = 1_000_000_000
PAUSE = SECOND
"""Between two lines of status that nothing else is told with."""
SLACK = UNKILLABLE + 2 * SECOND
"""What is left to the init system's own patience beyond our deadlines: killing takes a moment."""
RENEW = 30 * SECOND
"""After which time at most more time is asked for again. For a reload by a command (ExecReload=)
systemd starts its clock anew when the command has ended, whatever was asked for before."""
RETRY = SECOND // 10, 10 * SECOND
"""How long to leave a full socket alone: at first, and at most."""
KEPT = 8
"""Datagrams that wait for a full socket; of more, the oldest are given up."""
BARRIER = 1.0
"""Seconds that the end waits at most until the init system has heard everything."""
SERVICES = 12
"""Services that a line of status names."""
NAME = 60
"""Characters of a service's name."""
QUIET = (Heartbeat, Measured, ReadBeat, MeasureMemory)


class Reporter:
    """Tells the init system how things are.

    Args:
        notifier: the init system.
        core: knows.
        name: tells the name of a service's number.
    """

    def __init__(self, notifier: Notifier, core: Core, name: Callable[[int], str]) -> None:
        self._notifier = notifier
        self._core = core
        self._name = name
        self._owed: deque[tuple[str, ...]] = deque()  # the socket was full
        self._retry_at: int | None = None
        self._retry_pause = RETRY[0]
        self._said = ""  # the last line of status
        self._stale = False  # it may not be true any more
        self._status_at = 0  # when it may be sent at the soonest
        self._ready = False  # READY=1 was sent
        self._reloading = False  # RELOADING=1 was sent, and no READY=1 since
        self._expected = 0  # reloads whose hooks come first
        self._begun: set[int] = set()  # the services that are reloaded
        # As PID 1 of a container our number means another process outside.
        self._first = [f"MAINPID={os.getpid()}"] if os.getpid() != 1 else []
        self._why = ""  # it stops
        self._until = 0  # up to here more time was asked for
        self._renew_at: int | None = None  # when to ask again
        self._renew_pause = PAUSE
        beat = notifier.watchdog
        self._beat = None if beat is None else max(1, beat // 2)
        self._beat_at: int | None = None if beat is None else 0

    @property
    def due(self) -> int | None:
        """The instant at which there is something to say, if nothing happens before."""
        if not self._notifier.listens:
            return None
        status_at = self._status_at if self._stale and not self._owed else None
        return earlier(earlier(self._beat_at, self._retry_at), earlier(status_at, self._renew_at))

    def reloading(self, *, again: bool) -> None:
        """A reload is wanted, and begins with its hooks.

        Args:
            again: the same reload is waiting already, and will be made once.
        """
        if not self._ready or self._why:
            return  # it is a part of the start
        if not self._reloading:
            self._until = 0
        self._reloading = True
        self._expected += not again
        now = time.monotonic_ns()
        self._renew_at, self._renew_pause = now + PAUSE, PAUSE
        self._say("RELOADING=1", f"MONOTONIC_USEC={now // 1000}")

    def refused(self) -> None:
        """A reload that was wanted is none: one of its hooks has refused it."""
        self._expected = max(0, self._expected - 1)
        if self._reloading:
            self._renew_at = time.monotonic_ns()  # have a turn at once, which finds it over

    def stopping(self, why: str, left: int) -> None:
        """A stop begins.

        Args:
            why: somebody wants it.
            left: nanoseconds that it may take (0: no limit).
        """
        self._why = why
        self._reloading = False
        self._renew_at = None
        now = time.monotonic_ns()
        self._until = 0
        self._say("STOPPING=1", *self._extension(now, now + left if left else None))

    def turn(self, events: Iterable[Event], effects: Iterable[Effect]) -> None:
        """The core has taken in these events, and wants these effects."""
        if not self._notifier.listens:
            return
        now = time.monotonic_ns()
        self._pay(now)
        lines: list[str] = []
        for happened in (*events, *effects):
            if isinstance(happened, ReloadRequested):
                self._note_reload(happened)
            elif isinstance(happened, AllReady):
                self._ready = True
                lines.append("READY=1")
            if not isinstance(happened, QUIET):
                self._stale = True
        if self._reloading and self._reload_is_over():
            self._reloading = False
            self._renew_at = None
            self._begun.clear()
            lines.append("READY=1")
        if self._renew_at is not None and now >= self._renew_at:
            self._until = 0
            self._stale = True
            self._renew_pause = min(2 * self._renew_pause, RENEW)
            self._renew_at = now + self._renew_pause
        if lines or self._first:
            self._say(*lines)
        elif self._stale and now >= self._status_at and not self._owed:
            self._say_status(now)
        if self._beat_at is not None and now >= self._beat_at:
            assert self._beat is not None
            told = self._notifier.tell("WATCHDOG=1")
            self._beat_at = now + (self._beat if told else min(self._beat, RETRY[0]))

    def finish(self, status: int) -> None:
        """Tell how it ends, and see that this is heard: who is gone is not listened to."""
        if not self._notifier.listens:
            return
        self._pay(time.monotonic_ns(), again=True)
        how = "" if not status else f", with status {status}: not everything ended gracefully"
        self._notifier.tell(f"STATUS=stopped{how}")
        self._notifier.barrier(BARRIER)

    def fail(self) -> None:
        """Supervision itself has failed."""
        self._notifier.tell("STOPPING=1", "STATUS=supervision has failed, everything is stopped")

    # Reloads

    def _note_reload(self, request: ReloadRequested) -> None:
        if self._expected:
            self._expected -= 1
            one = request.service
            self._begun |= set(self._core.services) if one is None else {one}

    def _reload_is_over(self) -> bool:
        if self._expected:
            return False
        services = (self._core.services.get(one) for one in self._begun)
        # One that waits for others to be ready has nothing to reload.
        return not any(one is not None and one.rolling and one.open for one in services)

    # How much longer

    def _wanted_until(self) -> int | None:
        core = self._core
        if self._why:
            return core.stop_at
        if self._reloading:
            ends = [one.progress_by for one in core.services.values() if one.rolling]
            return max((end for end in ends if end is not None), default=None)
        if self._ready:
            return None
        until = [
            worker.deadline
            for worker in core.workers.values()
            if worker.phase is Phase.STARTING and worker.deadline is not None
            # One that has failed to start once is nothing to wait for any longer.
            if not worker.slot.failures
        ]
        if core.startable:  # one after the other, with pauses
            until.append(core.next_deadline() or 0)
        return max(until, default=None)

    def _extension(self, now: int, until: int | None) -> list[str]:
        """Ask for more time, if that reaches further than what was asked for."""
        if until is None or until <= max(now, self._until + PAUSE):
            return []
        self._until = until
        return [f"EXTEND_TIMEOUT_USEC={(until + SLACK - now) // 1000}"]

    # Sending

    def _say(self, *lines: str) -> None:
        """Send what must arrive, with the line of status that belongs to it."""
        if not self._notifier.listens:
            return
        now = time.monotonic_ns()
        core = self._core
        self._said = describe(core, now, self._name, self._why, reloading=self._reloading)
        extension = [] if self._why else self._extension(now, self._wanted_until())
        self._owed.append((*self._first, *lines, f"STATUS={self._said}", *extension))
        self._first = []
        self._stale = False
        self._status_at = now + PAUSE
        while len(self._owed) > KEPT:
            self._owed.popleft()
        if self._retry_at is None:
            self._pay(now, again=True)

    def _say_status(self, now: int) -> None:
        self._stale = False
        core = self._core
        text = describe(core, now, self._name, self._why, reloading=self._reloading)
        lines = self._extension(now, self._wanted_until())
        if text != self._said:
            lines.append(f"STATUS={text}")
        if lines:
            self._status_at = now + PAUSE
            if self._notifier.tell(*lines):
                self._said = text
            else:
                self._stale = True
                self._until = 0

    def _pay(self, now: int, *, again: bool = False) -> None:
        """Send what is owed; what is refused is tried again later, and later still."""
        if not again and (self._retry_at is None or now < self._retry_at):
            return
        while self._owed and self._notifier.tell(*self._owed[0]):
            self._owed.popleft()
        if self._owed:
            self._retry_at = now + self._retry_pause
            self._retry_pause = min(2 * self._retry_pause, RETRY[1])
        else:
            self._retry_at = None
            self._retry_pause = RETRY[0]


# The line of status


def describe(
    core: Core, now: int, name: Callable[[int], str], why: str = "", *, reloading: bool = False
) -> str:
    """Return a line such as ``web 4/4 ready, mailer 0/1 backing off 12 s``.

    Args:
        core: knows.
        now: the instant.
        name: tells the name of a service's number.
        why: it stops; an empty string: it does not.
        reloading: a reload goes on.
    """
    services = list(core.services.values())
    if why:
        left = [f"{_short(name(one.key))} {one.alive}" for one in services if one.alive]
        return f"stopping because of {_short(why)}, {_row(left) or 'no worker'} left"
    lines: dict[bool, list[str]] = {False: [], True: []}
    every = []
    for one in services:
        how = _how(one, now)
        every.append(f"{_short(name(one.key))} {one.ready}/{one.wanted} {how}")
        lines[how == "ready"].append(every[-1])
    if len(services) > SERVICES:
        every = lines[False] + lines[True]  # what is not as it should be comes first
    text = _row(every) or "no services"
    return f"reloading: {text}" if reloading else text


def _row(parts: list[str]) -> str:
    more = len(parts) - SERVICES
    return ", ".join(parts[:SERVICES]) + (f", and {more} more" if more > 0 else "")


def _short(name: str) -> str:
    """Keep a name from being more than a name, or longer than one."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return text if len(text) <= NAME else text[: NAME - 3] + "..."


def _how(service: ServiceState, now: int) -> str:
    """Return what is to be said of a service in few words."""
    if not service.wanted:
        return "paused"
    if service.gave_up:
        return "given up"
    if not service.open:
        return "waiting for others"
    words = []
    if failed := service.ended - service.done:
        words.append(f"with {failed} failed")
    if wait := _wait(service, now):
        words.append(f"backing off {wait / SECOND:.3g} s")
    if service.done:
        words.append(f"with {service.done} done")
    if service.rolling:
        workers = [slot.worker for slot in service.slots if slot.worker is not None]
        behind = sum(worker.generation < service.generation for worker in workers)
        words.append(f"rollout {service.generation}: {behind} to go")
    elif service.rollout_failed:
        words.append(f"rollout {service.generation} failed")
    return " and ".join(words) or ("ready" if service.complete else "starting")


def _wait(service: ServiceState, now: int) -> int:
    """Return the longest of the waits of a service, as it was when it began."""
    return max(
        (
            slot.deaths[-1].wait or 0
            for slot in service.slots
            if slot.not_before > now and slot.worker is None and slot.startable and slot.deaths
        ),
        default=0,
    )
