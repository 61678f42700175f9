"""What is done about a request.

Responsible for finding whom a request means, for what the core is asked, and for the answer, which
follows when the core has taken the request in. Never reads or writes a descriptor.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from cotyledon import _snapshot
from cotyledon._checks import Spec
from cotyledon._control import wire
from cotyledon._control.history import History, Totals
from cotyledon._control.requests import Refused, Request
from cotyledon._core.effects import Effect
from cotyledon._core.events import (
    Event,
    ReloadRequested,
    RestartRequested,
    ScaleRequested,
    StopRequested,
)
from cotyledon._core.machine import Core
from cotyledon._core.state import Phase, ServiceState, Slot, Worker
from cotyledon._loop import Inbox
from cotyledon._posix.children import Child
from cotyledon._posix.reactor import Reactor
from cotyledon.status import ManagerStatus
from cotyledon.types import MOST_WORKERS

FRESH = 100_000_000
"""Nanoseconds for which a status holds if nothing has happened: a turn saved for each client."""
SHORTEST_ID = 4

Answer = Callable[[bytes | Refused], None]
"""Takes the JSON of what is answered, or why nothing is."""


class Pending(NamedTuple):
    """A request that the core has not taken in yet."""

    event: Event
    answer: Answer
    extra: dict[str, Any]


class Desk:
    """Does what clients ask.

    Args:
        core: decides.
        inbox: takes requests to the core.
        reactor: has the processes.
        specs: what was added.
        state: tells whether the manager stops.
        in_transit: tells whether an event is on its way to the core.
        beat: tells the last heartbeat of a place in the guard's table.
        name: of the manager.
        pid: of the master.
    """

    def __init__(
        self,
        core: Core,
        inbox: Inbox,
        reactor: Reactor,
        specs: Mapping[int, Spec],
        state: Callable[[], str],
        in_transit: Callable[[Event], bool],
        beat: Callable[[int], int],
        name: str | None,
        pid: int,
    ) -> None:
        self._core = core
        self._inbox = inbox
        self._reactor = reactor
        self._specs = specs
        self._state = state
        self._in_transit = in_transit
        self._beat = beat
        self._name = name
        self._pid = pid
        self._began = time.monotonic_ns()
        self._pending: list[Pending] = []
        self._status: tuple[int, bytes] | None = None
        self.history = History()
        self.totals = Totals()
        self._do: dict[str, Callable[[dict[str, Any], Answer], None]] = {
            "status": self._on_status,
            "scale": self._on_scale,
            "reload": self._on_reload,
            "restart": self._on_restart,
            "signal": self._on_signal,
            "stop": self._on_stop,
            "trace": self._on_trace,
            "stacks": self._on_stacks,
        }

    def do(self, request: Request, answer: Answer) -> None:
        """Do what is asked; the answer comes now or later.

        Raises:
            Refused: it cannot be done.
        """
        self._do[request.do](request.fields, answer)

    # Around a step of the core

    def before(self, events: Iterable[Event]) -> list[dict[str, Any]]:
        """Look at what the core is about to take in; return the events that follow."""
        told = []
        wanted: dict[int, int] = {}
        for event in events:
            if isinstance(event, ScaleRequested):
                key = event.service
                service = self._core.services.get(key)
                if service is None:
                    continue
                before = wanted.get(key, service.wanted)
                wanted[key] = event.wanted
                self._note(event, before=before)
                if before != event.wanted:
                    told.append(
                        {
                            "kind": "scaled",
                            **self._who(key),
                            "workers": event.wanted,
                            "before": before,
                        }
                    )
            elif isinstance(event, RestartRequested) and event.worker_id is not None:
                service = self._core.services.get(event.service)
                if service is not None:
                    self._note(event, starts=service.slots[event.worker_id].starts)
        return told

    def _note(self, event: Event, **extra: Any) -> None:
        for pending in self._pending:
            if pending.event is event:
                pending.extra.update(extra)

    def after(self, events: Iterable[Event], effects: Iterable[Effect]) -> None:
        """Answer those whose requests the core has taken in."""
        if events or effects:
            self._status = None
        if not self._pending:
            return
        left = []
        for pending in self._pending:
            if self._was_taken(pending.event, events):
                pending.answer(self._taken(pending))
            elif self._core.stopping and not self._in_transit(pending.event):
                pending.answer(Refused("stopping", "the manager is stopping"))
            else:
                left.append(pending)
        self._pending = left

    def refuse(self, event: Event, why: str) -> None:
        """Answer those whose requests a hook has refused."""
        refused = [one for one in self._pending if one.event == event]
        self._pending = [one for one in self._pending if one.event != event]
        for pending in refused:
            pending.answer(Refused("refused", why))

    def _was_taken(self, asked: Event, events: Iterable[Event]) -> bool:
        if isinstance(asked, StopRequested):
            return self._core.stopping
        if any(event is asked for event in events):
            return True
        # Of several reloads that wait for the same hooks there is one.
        return (
            isinstance(asked, ReloadRequested) and asked in events and not self._in_transit(asked)
        )

    def _taken(self, pending: Pending) -> bytes | Refused:
        services = self._core.services
        match pending.event:
            case StopRequested():
                found: dict[str, Any] = {}
            case ReloadRequested(None):
                kept = {key: one for key, one in services.items() if not one.removed}
                found = {"generations": {self._id(k): one.generation for k, one in kept.items()}}
            case ReloadRequested(int(key)) | ScaleRequested(key, _) | RestartRequested(key, _) if (
                key not in services
            ):
                return Refused("unknown-service", "the service was removed meanwhile")
            case ReloadRequested(int(key)) | RestartRequested(key, None):
                found = {"generations": {self._id(key): services[key].generation}}
            case _:
                found = pending.extra
        return wire.encode(found)

    def forget_status(self) -> None:
        """Have the next status made anew."""
        self._status = None

    # Who is meant

    def _id(self, key: int) -> str:
        return str(self._specs[key].id)

    def _name_of(self, key: int) -> str:
        return self._reactor.names.get(key) or self._specs[key].name

    def _who(self, key: int) -> dict[str, Any]:
        return {"service": self._id(key), "name": self._name_of(key)}

    def _find(self, given: str) -> ServiceState:
        services = self._core.services
        found = [key for key in services if self._name_of(key) == given]
        # Its successor of the same name is meant, not a service that is on its way out.
        found = [key for key in found if not services[key].removed] or found
        if not found and len(given) >= SHORTEST_ID:
            found = [key for key in services if self._id(key).startswith(given.lower())]
        if not found:
            names = ", ".join(dict.fromkeys(self._name_of(key) for key in services))
            there = f"there are {names[:500]}" if names else "there is none"
            raise Refused("unknown-service", f"there is no service {given[:60]!r}: {there}")
        if len(found) > 1:
            ids = ", ".join(self._id(key) for key in found[:10])
            text = f"{len(found)} services are called {given[:60]!r}: use an id: {ids}"
            raise Refused("ambiguous", text)
        return services[found[0]]

    def _kept(self, given: str) -> ServiceState:
        service = self._find(given)
        if service.removed:
            name = self._name_of(service.key)
            raise Refused("unknown-service", f"{name} is being removed, and has its last workers")
        return service

    def _slot(self, service: ServiceState, worker: int) -> Slot:
        if worker < len(service.slots):
            slot = service.slots[worker]
            if slot.wanted or slot.worker is not None or slot.second is not None:
                return slot
        name = self._name_of(service.key)
        raise Refused("unknown-worker", f"{name} has no worker {worker}")

    def _children(self, slot: Slot) -> list[Child]:
        found = []
        for worker in (slot.worker, slot.second):
            child = self._child(worker)
            if child is not None:
                found.append(child)
        return found

    def _child(self, worker: Worker | None) -> Child | None:
        return None if worker is None else self._reactor.children.get(worker.key)

    def _no_worker(self, slot: Slot) -> Refused:
        name = self._name_of(slot.service.key)
        return Refused("no-worker", f"{name}/{slot.worker_id} has no process at the moment")

    # The requests

    def _ask_core(self, event: Event, answer: Answer, **extra: Any) -> None:
        if self._state() != "running":
            raise Refused("stopping", "the manager is stopping")
        self._pending.append(Pending(event, answer, extra))
        self._inbox.events.append(event)

    def _on_status(self, fields: dict[str, Any], answer: Answer) -> None:
        now = time.monotonic_ns()
        if self._status is None or now - self._status[0] > FRESH:
            self._status = now, wire.encode(self.status(now))
        answer(self._status[1])

    def status(self, now: int) -> dict[str, Any]:
        """Return the fields of the status."""
        services = self._core.services
        more = {
            self._id(key): {
                "restart": service.policy.restart,
                "watchdog": service.policy.watchdog,
                "totals": self.totals.shown(key),
            }
            for key, service in services.items()
        }
        grace, uptime = self._core.grace / 1e9, (now - self._began) / 1e9
        return wire.status(self.take(now), self._name, uptime, grace, more)

    def take(self, now: int) -> ManagerStatus:
        """Return what holds now."""
        return _snapshot.take(
            self._core,
            now,
            self._pid,
            self._state(),
            {key: (spec.id, spec.name) for key, spec in list(self._specs.items())},
            self._reactor.children,
            self._reactor.names,
            self._beat,
        )

    def _on_scale(self, fields: dict[str, Any], answer: Answer) -> None:
        service, workers = self._kept(fields["service"]), fields["workers"]
        if workers > MOST_WORKERS:
            raise Refused("bad-request", f"scale: 'workers' must be at most {MOST_WORKERS}")
        event = ScaleRequested(service.key, workers)
        self._ask_core(event, answer, service=self._id(service.key), workers=workers)

    def _on_reload(self, fields: dict[str, Any], answer: Answer) -> None:
        given = fields["service"]
        self._ask_core(ReloadRequested(None if given is None else self._kept(given).key), answer)

    def _on_restart(self, fields: dict[str, Any], answer: Answer) -> None:
        service, worker = self._kept(fields["service"]), fields["worker"]
        if worker is not None:
            self._slot(service, worker)
        event = RestartRequested(service.key, worker)
        self._ask_core(event, answer, service=self._id(service.key), worker=worker)

    def _on_stop(self, fields: dict[str, Any], answer: Answer) -> None:
        if self._core.stopping:
            answer(b"{}")
            return
        self._pending.append(Pending(StopRequested(), answer, {}))
        self._inbox.why = "a request through the control socket"
        self._inbox.stop = True

    def _on_signal(self, fields: dict[str, Any], answer: Answer) -> None:
        service, worker = self._find(fields["service"]), fields["worker"]
        slots = service.slots if worker is None else [self._slot(service, worker)]
        children = [child for slot in slots for child in self._children(slot)]
        if worker is not None and not children:
            raise self._no_worker(slots[0])
        pids = [
            child.process.pid for child in children if child.process.send_signal(fields["signal"])
        ]
        answer(wire.encode({"pids": pids}))

    def _on_trace(self, fields: dict[str, Any], answer: Answer) -> None:
        answer(wire.encode({"steps": wire.trace(self._core, time.monotonic_ns())}))

    def _on_stacks(self, fields: dict[str, Any], answer: Answer) -> None:
        slot = self._slot(self._find(fields["service"]), fields["worker"])
        child = self._child(slot.worker)
        if child is None or slot.worker is None or slot.worker.phase is Phase.KILLED:
            raise self._no_worker(slot)
        where = f"{self._name_of(slot.service.key)}/{slot.worker_id}"
        pid, found = child.process.pid, child

        def tell(text: str | None) -> None:
            if text is not None:
                answer(wire.encode({"pid": pid, "stacks": text}))
            elif self._reactor.children.get(found.key) is found:
                answer(Refused("no-answer", f"{where} has not told its stacks in time"))
            else:
                answer(Refused("no-worker", f"{where} has ended meanwhile"))

        self._reactor.ask_for_stacks(child, tell)
