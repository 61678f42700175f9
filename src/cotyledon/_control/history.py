"""What has happened: the last events, and totals since the manager began.

Responsible for counting and remembering what the core has told, at the cost of a few dict
operations for each effect. Never says anything to anybody.
"""

import time
from bisect import bisect_left
from collections import deque
from typing import Any

from cotyledon._control import wire
from cotyledon._core.effects import Effect, Reason, Spawn, Terminate, WorkerDied, WorkerReady
from cotyledon.notices import Notice, WorkerStatus

KEPT = 256
SECOND = 1e9
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Past:
    """One event; its JSON is made when somebody wants it.

    Args:
        seq: its number.
        event: a notice, or the fields.
    """

    __slots__ = ("_at", "_event", "_json", "seq")

    def __init__(self, seq: int, event: Notice | dict[str, Any]) -> None:
        self.seq = seq
        self._at = time.time()
        self._event: Notice | dict[str, Any] | None = event
        self._json = b""

    @property
    def json(self) -> bytes:
        """Its JSON."""
        if self._event is not None:
            event = self._event if isinstance(self._event, dict) else wire.event(self._event)
            self._json = wire.encode({"seq": self.seq, "at": round(self._at, 6), **event})
            self._event = None
        return self._json


class History:
    """The last events, in order."""

    def __init__(self) -> None:
        self._events: deque[Past] = deque(maxlen=KEPT)
        self.next = 1

    def add(self, event: Notice | dict[str, Any]) -> Past:
        """Remember an event, and give it its number."""
        past = Past(self.next, event)
        self.next += 1
        if not isinstance(event, WorkerStatus):  # many, and the status has the last ones
            self._events.append(past)
        return past

    def last(self, count: int) -> list[Past]:
        """Return the last events, the newest last."""
        events = list(self._events)
        return events[max(0, len(events) - count) :]


class Histogram:
    """Durations, counted in fixed buckets."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, nanoseconds: int) -> None:
        """Count a duration."""
        seconds = nanoseconds / SECOND
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def shown(self) -> dict[str, Any]:
        """Return its JSON form, with cumulative counts."""
        total = 0
        buckets: list[list[Any]] = []
        for bound, count in zip((*BOUNDS, None), self._counts, strict=True):
            total += count
            buckets.append([bound, total])
        return {"buckets": buckets, "sum": round(self._sum, 6)}


class _OfService:
    """The totals of one service."""

    __slots__ = ("deaths", "respawns", "starts", "startups", "stops")

    def __init__(self) -> None:
        self.starts: dict[Reason, int] = {}
        self.deaths: dict[Reason, int] = {}
        self.startups = Histogram()
        self.stops = Histogram()
        self.respawns = Histogram()


class Totals:
    """What has happened to each service so far."""

    def __init__(self) -> None:
        self._services: dict[int, _OfService] = {}
        self._told: dict[int, int] = {}  # worker -> when it was told to end
        self._empty: dict[tuple[int, int], int] = {}  # slot -> since when
        self._respawned: dict[int, int] = {}  # worker -> since when its slot has been empty

    def _of(self, service: int) -> _OfService:
        found = self._services.get(service)
        if found is None:
            found = self._services[service] = _OfService()
        return found

    def count(self, effect: Effect, now: int) -> None:
        """Count what an effect tells."""
        match effect:
            case Spawn(worker, service, worker_id, _, reason):
                starts = self._of(service).starts
                starts[reason] = starts.get(reason, 0) + 1
                since = self._empty.pop((service, worker_id), None)
                if since is not None:
                    self._respawned[worker] = since
            case WorkerReady(worker, service, _, took):
                totals = self._of(service)
                totals.startups.add(took)
                since = self._respawned.pop(worker, None)
                if since is not None:
                    totals.respawns.add(now - since)
            case Terminate(worker):
                self._told[worker] = now
            case WorkerDied(worker, service, worker_id, reason):
                totals = self._of(service)
                totals.deaths[reason] = totals.deaths.get(reason, 0) + 1
                told = self._told.pop(worker, None)
                if told is not None:
                    totals.stops.add(now - told)
                # One that has never been ready: the slot has been without one since before it.
                since = self._respawned.pop(worker, now)
                if effect.respawn_in is not None:
                    self._empty[service, worker_id] = since

    def shown(self, service: int) -> dict[str, Any]:
        """Return the JSON form of a service's totals."""
        totals = self._of(service)
        return {
            "starts": {reason.value: count for reason, count in totals.starts.items()},
            "deaths": {reason.value: count for reason, count in totals.deaths.items()},
            "start_seconds": totals.startups.shown(),
            "stop_seconds": totals.stops.shown(),
            "respawn_seconds": totals.respawns.shown(),
        }

    def forget(self, service: int) -> None:
        """Forget a service that is no more."""
        self._services.pop(service, None)
        for slot in [slot for slot in self._empty if slot[0] == service]:
            del self._empty[slot]
