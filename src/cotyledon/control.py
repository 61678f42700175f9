"""A client of the control socket of a manager, for programs and for the command ``cotyledon``.

Responsible for speaking the protocol of ``docs/control-protocol.md``, and for telling what has
come of a command. Never needs more than the standard library; blocks, with a timeout.

Example:
    ::

        with control.Client("web") as web:
            outcome = web.scale("Mailer", 3, wait=30)
            print(outcome.text)
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

from cotyledon._where import LONGEST_PATH, check_name, folders

PROTOCOL = 1
"""The version of the protocol that this client speaks."""

_LARGEST = 1 << 28
"""Bytes of a line that are more than a manager sends."""
_LOOK = 1.0
"""Seconds after which the status is looked at again while nothing is heard of."""


class ControlError(Exception):
    """Something that was asked of a manager was not done.

    Args:
        kind: one of the protocol's kinds, or ``no-manager`` (nobody listens there), ``gone`` (the
            manager has ended meanwhile), ``timeout`` (it does not answer) or ``protocol`` (what
            answers is no manager that this client understands).
        text: a line for people.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class Greeting(NamedTuple):
    """What a manager says of itself."""

    version: str
    name: str | None
    pid: int


class Outcome(NamedTuple):
    """What has come of a command."""

    ok: bool
    """Whether it was taken up, and, if it was waited for, whether it has come to its end."""
    text: str
    """A line for people."""
    answer: dict[str, Any]
    """The manager's own answer."""
    timed_out: bool = False
    """Whether it was not known in time."""
    status: int | None = None
    """Of :meth:`Client.stop`: the exit status of the manager."""


def find(name: str) -> str:
    """Return the path of the socket of a manager.

    Args:
        name: of the manager.

    Raises:
        ControlError: ``no-manager``: there is none of this name.
    """
    try:
        check_name(name)
    except (TypeError, ValueError) as error:
        raise ControlError("no-manager", str(error)) from None
    places = [os.path.join(folder, f"{name}.sock") for folder in folders()]
    for path in places:
        if os.path.lexists(path):
            return path
    where = f"there is no {' or '.join(places)}" if places else "$XDG_RUNTIME_DIR is not set"
    raise ControlError("no-manager", f"no manager with the name {name!r} is running: {where}")


def managers() -> list[str]:
    """Return the names of the managers whose sockets are there, sorted."""
    names: set[str] = set()
    for folder in folders():
        try:
            found = os.listdir(folder)
        except OSError:
            continue
        names.update(one.removesuffix(".sock") for one in found if one.endswith(".sock"))
    return sorted(names)


class Client:
    """A connection to a manager, for one thread.

    Args:
        where: the path of the socket, with a slash in it, or the name of the manager.
        timeout: seconds that the manager may take for an answer.

    Raises:
        ControlError: ``no-manager``, ``forbidden``, ``busy``, ``timeout`` or ``protocol``.
    """

    def __init__(self, where: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        text = os.fspath(where)
        self.path = text if "/" in text or isinstance(where, os.PathLike) else find(text)
        """Of the socket."""
        self._timeout = timeout
        self._number = 0
        self._buffer = bytearray()
        self._socket = _connect(self.path, timeout)
        try:
            self.greeting = self._greet()
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._socket.fileno()

    # Requests

    def request(self, do: str, **fields: Any) -> dict[str, Any]:
        """Ask for something, and return the ``ok`` of the answer.

        Args:
            do: what.
            **fields: the fields of the request.

        Raises:
            ControlError: it was refused, or the manager does not answer.
        """
        return self._ask(do, fields, time.monotonic() + self._timeout)

    def status(self) -> dict[str, Any]:
        """Return the status of the manager."""
        return self.request("status")

    def events(self, last: int = 0) -> Iterator[dict[str, Any]]:
        """Return an iterator over what happens from now on, over a connection of its own.

        It ends when the manager does, and closes the connection when it is closed. The connection
        is made, and what follows is heard, before this returns.

        Args:
            last: how many past events come first.

        Raises:
            ControlError: as for :meth:`request`.
        """
        other = Client(self.path, timeout=self._timeout)
        try:
            other.request("events", last=last)
        except BaseException:
            other.close()
            raise
        return _Events(other)

    # Commands

    def scale(self, service: str, workers: int, *, wait: float | None = None) -> Outcome:
        """Change how many workers a service has.

        Args:
            service: its name or id.
            workers: how many.
            wait: seconds to wait until so many are ready (``None``: not at all).

        Raises:
            ControlError: it was refused.
        """

        def look(status: dict[str, Any], answer: dict[str, Any]) -> tuple[bool, str] | None:
            return _scaled(_service(status, answer["service"]), workers)

        return self._command("scale", {"service": service, "workers": workers}, look, wait)

    def reload(self, service: str | None = None, *, wait: float | None = None) -> Outcome:
        """Reload a service, or all of them.

        Args:
            service: its name or id (default: all).
            wait: seconds to wait until every worker has taken it up (``None``: not at all).

        Raises:
            ControlError: it was refused.
        """
        return self._command("reload", {"service": service}, _rolled_out, wait)

    def restart(
        self, service: str, worker: int | None = None, *, wait: float | None = None
    ) -> Outcome:
        """Replace the workers of a service, or one of them.

        Args:
            service: its name or id.
            worker: its worker id (default: all of them, in a rollout).
            wait: seconds to wait until the new ones are ready (``None``: not at all).

        Raises:
            ControlError: it was refused.
        """
        look = _rolled_out if worker is None else _restarted
        return self._command("restart", {"service": service, "worker": worker}, look, wait)

    def stop(self, *, wait: float | None = None) -> Outcome:
        """Stop the manager.

        Args:
            wait: seconds to wait for its end (``None``: not at all).

        Raises:
            ControlError: it was refused.
        """
        if wait is None:
            return Outcome(True, "the manager is stopping", self.request("stop"))
        with _Follower(self) as events:
            until = time.monotonic() + wait
            answer: dict[str, Any] = {}
            try:
                answer = self.request("stop")
            except ControlError as error:
                if error.kind != "gone":
                    raise
            for event in events.until(until):
                if event is not None and event["kind"] == "exit":
                    status = event["status"]
                    text = f"the manager has ended with exit status {status}"
                    return Outcome(status == 0, text, answer, status=status)
            if events.ended:
                return Outcome(False, "the manager has gone without a word", answer)
        text = f"the manager has not ended within {wait:g} s"
        return Outcome(False, text, answer, timed_out=True)

    def _command(
        self,
        do: str,
        fields: dict[str, Any],
        look: "Callable[[dict[str, Any], dict[str, Any]], tuple[bool, str] | None]",
        wait: float | None,
    ) -> Outcome:
        if wait is None:
            return Outcome(True, f"the manager has taken up the {do}", self.request(do, **fields))
        until = time.monotonic() + wait
        # First: what happens between the command and its answer would be missed.
        with _Follower(self) as events:
            answer = self._ask(do, fields, max(until, time.monotonic() + self._timeout))
            try:
                found = self._await(events, until, lambda status: look(status, answer))
            except ControlError as error:
                return Outcome(False, f"it is not known what has come of it: {error}", answer)
        if found is None:
            text = f"the {do} has not come to its end within {wait:g} s"
            return Outcome(False, text, answer, timed_out=True)
        return Outcome(*found, answer)

    def _await(
        self,
        events: "_Follower",
        until: float,
        look: "Callable[[dict[str, Any]], tuple[bool, str] | None]",
    ) -> tuple[bool, str] | None:
        found = look(self.status())
        if found is not None:
            return found
        for event in events.until(until):
            if event is not None and event["kind"] in _IRRELEVANT:
                continue
            if event is not None and event["kind"] == "stopping":
                return False, f"the manager is stopping because of {event.get('why')}"
            found = look(self.status())
            if found is not None:
                return found
        if events.ended:
            raise ControlError("gone", "the manager has ended")
        return None

    # Lines

    def _greet(self) -> Greeting:
        said = self._line(time.monotonic() + self._timeout)
        error = said.get("error")
        if isinstance(error, dict):
            raise ControlError(str(error.get("kind")), f"{self.path}: {error.get('text')}")
        if said.get("cotyledon") != PROTOCOL:
            raise self._strange(f"speaks version {said.get('cotyledon')!r} of the protocol")
        return Greeting(str(said.get("version")), said.get("name"), said["pid"])

    def _ask(self, do: str, fields: dict[str, Any], until: float) -> dict[str, Any]:
        self._number += 1
        line = json.dumps({"id": self._number, "do": do, **fields}).encode() + b"\n"
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(line)
        except TimeoutError:
            raise self._late() from None
        except OSError:
            pass  # it has gone, or has said why it listens no longer
        while True:
            said = self._line(until)
            if "event" in said or said.get("id") not in (self._number, None):
                continue  # of an earlier request, whose answer came too late
            if "ok" in said:
                found: dict[str, Any] = said["ok"]
                return found
            error = said.get("error", {})
            raise ControlError(str(error.get("kind")), str(error.get("text")))

    def _line(self, until: float) -> dict[str, Any]:
        """Return the next line.

        Raises:
            ControlError: ``timeout``, ``gone`` or ``protocol``.
        """
        looked = 0
        while (end := self._buffer.find(b"\n", looked)) < 0:
            looked = len(self._buffer)
            if looked > _LARGEST:
                raise self._strange("sends a line that has no end")
            left = until - time.monotonic()
            if left <= 0:
                raise self._late()
            try:
                self._socket.settimeout(left)
                piece = self._socket.recv(1 << 18)
            except TimeoutError:
                continue
            except OSError:
                piece = b""
            if not piece:
                raise ControlError("gone", f"{self.path}: the manager has ended")
            self._buffer += piece
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._strange("sends something else than JSON objects")
        return found

    def _late(self) -> ControlError:
        return ControlError("timeout", f"{self.path}: the manager does not answer in time")

    def _strange(self, what: str) -> ControlError:
        return ControlError("protocol", f"{self.path}: what listens there {what}")


class _Events:
    """What happens at a manager, over a connection of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        event = self.next(float("inf"))
        if event is None:
            raise StopIteration
        return event

    def next(self, until: float) -> dict[str, Any] | None:
        """Return the next one; ``None``: the manager has ended."""
        try:
            while True:
                said = self._client._line(min(until, time.monotonic() + 1e6))
                if "event" in said:
                    event: dict[str, Any] = said["event"]
                    return event
        except ControlError as error:
            if error.kind != "gone":
                raise
            self.close()
            return None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class _Follower:
    """The events around a command."""

    def __init__(self, client: Client) -> None:
        self._events = client.events()
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert isinstance(self._events, _Events)
        self._events.close()

    def until(self, until: float) -> Iterator[dict[str, Any] | None]:
        """Yield events until an instant; now and then ``None``, to look again without one."""
        assert isinstance(self._events, _Events)
        while (now := time.monotonic()) < until:
            try:
                event = self._events.next(min(until, now + _LOOK))
            except ControlError as error:
                if error.kind != "timeout":
                    raise
                yield None
                continue
            if event is None:
                self.ended = True
                return
            yield event


_IRRELEVANT = {"worker-started", "worker-status", "worker-silent", "worker-recovered"}


def _connect(path: str, timeout: float) -> socket.socket:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ControlError("no-manager", f"the path of a socket cannot be as long as {path!r}")
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.settimeout(timeout)
        end.connect(path)
    except OSError as error:
        end.close()
        raise _no_connection(path, error) from None
    return end


def _no_connection(path: str, error: OSError) -> ControlError:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return ControlError("no-manager", f"no manager is running at {path}: it is not there")
        case ConnectionRefusedError():
            text = f"no manager is running at {path}: a socket has been left there"
            return ControlError("no-manager", text)
        case PermissionError():
            text = f"only the manager's own user and root may connect to {path}"
            return ControlError("forbidden", text)
        case TimeoutError() | BlockingIOError():
            return ControlError("timeout", f"{path}: the manager does not let anybody in")
        case _:
            return ControlError("no-manager", f"cannot connect to {path}: {error.strerror}")


# What has come of a command


def _service(status: dict[str, Any], known: str) -> dict[str, Any] | None:
    for one in status["services"]:
        if one["id"] == known:
            found: dict[str, Any] = one
            return found
    return None


def _given_up(service: dict[str, Any]) -> tuple[bool, str] | None:
    name = service["name"]
    if service["gave_up"]:
        return False, f"{name} has failed too often, nothing is started any more"
    for worker in service["workers"]:
        if worker["state"] == "failed":
            return False, f"{name}/{worker['id']} has failed for good{_why(worker)}"
    return None


def _why(worker: dict[str, Any]) -> str:
    if not worker["deaths"]:
        return ""
    death = worker["deaths"][-1]
    code = death["exit_code"]
    return f": {death['reason']}" + ("" if code is None else f", status {code}")


def _scaled(service: dict[str, Any] | None, workers: int) -> tuple[bool, str] | None:
    if service is None:
        return False, "the service was removed meanwhile"
    name = service["name"]
    if service["wanted"] != workers:
        return False, f"{name} was scaled to {service['wanted']} workers meanwhile"
    states = [worker["state"] for worker in service["workers"]]
    if len(states) == workers and all(state in {"ready", "done"} for state in states):
        return True, f"{name}: {service['ready']} of {workers} workers are ready"
    return _given_up(service)


def _rolled_out(status: dict[str, Any], answer: dict[str, Any]) -> tuple[bool, str] | None:
    done = []
    for known, generation in answer["generations"].items():
        service = _service(status, known)
        if service is None:
            continue  # it was removed: nothing is left to be brought up to date
        name = service["name"]
        if service["generation"] < generation:
            return False, f"{name} is another one than it was"
        if service["rollout_failed"]:
            return False, f"{name}: the rollout has failed; what runs old is kept"
        if service["reloading"]:
            return _given_up(service)
        done.append(f"{name} ({service['ready']} of {service['wanted']} workers are ready)")
    return True, f"every worker is up to date: {', '.join(done) or 'there is none'}"


def _restarted(status: dict[str, Any], answer: dict[str, Any]) -> tuple[bool, str] | None:
    service = _service(status, answer["service"])
    if service is None:
        return False, "the service was removed meanwhile"
    number = answer["worker"]
    where = f"{service['name']}/{number}"
    for worker in service["workers"]:
        if worker["id"] != number:
            continue
        if worker["starts"] > answer["starts"] and worker["state"] in {"ready", "done"}:
            return True, f"{where} is {worker['state']}: pid {worker['pid']}"
        return _given_up(service)
    return False, f"{where} is not wanted any more: the service was scaled down meanwhile"
