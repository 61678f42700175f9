"""The JSON form of what clients are told.

Responsible for the shape of the status, of the events and of the lines around them. Never decides,
never keeps anything.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from cotyledon._core.machine import Core
from cotyledon._version import VERSION
from cotyledon.notices import Notice
from cotyledon.status import Death, ManagerStatus, ServiceStatus, WorkerStatus

PROTOCOL = 1
MOST_STACKS = 256 << 10
"""Characters of stacks in one status, those of the newest deaths first."""
MOST_TRACE = 64 << 10
"""Characters of a trace: it costs the master the more the longer it is."""
LONGEST_TEXT = 500
"""Characters of one event or effect in a trace."""

_ENCODER = json.JSONEncoder(separators=(", ", ": "), default=str)
_KINDS: dict[type, str] = {}


def encode(value: Any) -> bytes:
    """Return the JSON of a value, all of it ASCII."""
    return _ENCODER.encode(value).encode()


def greeting(name: str | None, pid: int) -> bytes:
    """Return the first line of a connection."""
    fields = {"cotyledon": PROTOCOL, "version": VERSION, "name": name, "pid": pid}
    return encode(fields) + b"\n"


def answer(request: int | str | None, ok: bytes) -> bytes:
    """Return the line that answers a request."""
    return b'{"id": %b, "ok": %b}\n' % (encode(request), ok)


def refusal(request: int | str | None, kind: str, text: str) -> bytes:
    """Return the line that refuses a request."""
    return encode({"id": request, "error": {"kind": kind, "text": text}}) + b"\n"


def prefix(request: int | str | None) -> bytes:
    """Return what stands before each event of a client."""
    return b'{"id": %b, "event": ' % encode(request)


# Events


def kind_of(notice: Notice) -> str:
    """Return the kind of an event: the class's name with hyphens."""
    kind = _KINDS.get(type(notice))
    if kind is None:
        name = type(notice).__name__
        kind = "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
        _KINDS[type(notice)] = kind
    return kind


def event(notice: Notice) -> dict[str, Any]:
    """Return the fields of an event."""
    fields: dict[str, Any] = {"kind": kind_of(notice)}
    for name, value in notice._asdict().items():
        if name == "service_id":
            fields["service"] = str(value)
        elif name == "worker_id":
            fields["worker"] = value
        elif isinstance(value, Death):
            # Stacks are long, and the status has them.
            fields[name] = death(value._replace(stacks=None))
        else:
            fields[name] = value
    return fields


# The status


def death(one: Death) -> dict[str, Any]:
    """Return the fields of a death."""
    fields = one._asdict()
    if one.usage is not None:
        fields["usage"] = one.usage._asdict()
    return fields


class _Room:
    """What is left of the room for stacks."""

    def __init__(self) -> None:
        self.left = MOST_STACKS

    def deaths(self, them: tuple[Death, ...]) -> list[dict[str, Any]]:
        told = []
        for one in reversed(them):
            fields = death(one)
            if one.stacks is not None:
                self.left -= len(one.stacks)
                if self.left < 0:
                    fields["stacks"] = None
            told.append(fields)
        told.reverse()
        return told


def status(
    taken: ManagerStatus,
    name: str | None,
    uptime: float,
    grace: float,
    services: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the fields of a status.

    Args:
        taken: what holds.
        name: of the manager.
        uptime: seconds that it has run.
        grace: its graceful timeout in seconds.
        services: what else is known of each service, by id.
    """
    room = _Room()
    return {
        "manager": {
            "pid": taken.pid,
            "name": name,
            "version": VERSION,
            "state": taken.state,
            "uptime": uptime,
            "at": time.time(),
            "grace": grace,
        },
        "services": [_service(one, services.get(str(one.id), {}), room) for one in taken.services],
    }


def _service(one: ServiceStatus, more: Mapping[str, Any], room: _Room) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "name": one.name,
        "wanted": one.wanted,
        "ready": one.ready,
        "generation": one.generation,
        "reloading": one.reloading,
        "rollout_failed": one.rollout_failed,
        "gave_up": one.gave_up,
        "after": [str(other) for other in one.after],
        "removed": one.removed,
        **more,
        "workers": [_worker(worker, room) for worker in one.workers],
    }


def _worker(one: WorkerStatus, room: _Room) -> dict[str, Any]:
    fields = one._asdict()
    fields["id"] = fields.pop("worker_id")
    fields["figures"] = dict(one.figures)
    fields["deaths"] = room.deaths(one.deaths) if one.deaths else []
    return fields


# The trace


def trace(core: Core, now: int) -> list[dict[str, Any]]:
    """Return the last steps of the core as text, as many of them as have room."""
    left = MOST_TRACE
    wall = time.time()
    steps: list[dict[str, Any]] = []
    for at, events, effects in reversed(core.trace):
        step: dict[str, Any] = {
            "at": wall - (now - at) / 1e9,
            "events": [_cut(one) for one in events],
            "effects": [_cut(one) for one in effects],
        }
        left -= sum(map(len, step["events"])) + sum(map(len, step["effects"])) + 64
        if left < 0:
            break
        steps.append(step)
    steps.reverse()
    return steps


def _cut(one: Any) -> str:
    text = repr(one)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
