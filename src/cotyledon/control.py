"""A client of the control socket of a manager, for programs and for the command ``cotyledon``.

Responsible for what can be asked, and for waiting until it has come to its end. Never needs more
than the standard library; blocks, with a timeout.

Example:
    ::

        with control.Client("web") as web:
            outcome = web.scale("Mailer", 3, wait=30)
            print(outcome.text)
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

from cotyledon._outcomes import Found, restarted, rolled_out, scaled, service_of, standing
from cotyledon._speaking import PROTOCOL, Connection, ControlError, Greeting
from cotyledon._where import check_name, folders

__all__ = [
    "PROTOCOL",
    "Client",
    "ControlError",
    "Events",
    "Greeting",
    "Outcome",
    "find",
    "managers",
]

_LOOK = 1.0
"""Seconds after which the status is looked at again while nothing is heard of."""


class Outcome(NamedTuple):
    """What has come of a command."""

    ok: bool
    """Whether it was taken up, and, if it was waited for, whether it has come to its end."""
    text: str
    """A line for people."""
    answer: dict[str, Any]
    """The manager's own answer."""
    why: str = ""
    """Why it is not ``ok``: ``failed``, ``conflict`` (somebody wants something else by now),
    ``gone`` (so is the manager), ``timeout`` (it is not known yet, and goes on)."""
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


class Client(Connection):
    """A connection to a manager, for one thread.

    Args:
        where: the path of the socket, with a slash in it, or the name of the manager.
        timeout: seconds that the manager may take for an answer.

    Raises:
        ControlError: ``no-manager``, ``forbidden``, ``busy``, ``timeout`` or ``protocol``.
    """

    def __init__(self, where: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        text = os.fspath(where)
        path = text if "/" in text or isinstance(where, os.PathLike) else find(text)
        super().__init__(path, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Requests

    def request(self, do: str, **fields: Any) -> dict[str, Any]:
        """Ask for something, and return the ``ok`` of the answer.

        Args:
            do: what.
            **fields: the fields of the request.

        Raises:
            ControlError: it was refused, or the manager does not answer.
        """
        return self.ask(do, fields, time.monotonic() + self._timeout)

    def status(self) -> dict[str, Any]:
        """Return the status of the manager."""
        return self.request("status")

    def events(self, last: int = 0) -> "Events":
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
        return Events(other)

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

        def look(status: dict[str, Any], answer: dict[str, Any]) -> Found:
            return scaled(service_of(status, answer["service"]), workers)

        return self._command("scale", {"service": service, "workers": workers}, look, wait)

    def reload(self, service: str | None = None, *, wait: float | None = None) -> Outcome:
        """Reload a service, or all of them.

        Args:
            service: its name or id (default: all).
            wait: seconds to wait until every worker has taken it up (``None``: not at all).

        Raises:
            ControlError: it was refused.
        """
        return self._command("reload", {"service": service}, rolled_out, wait)

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
        look = rolled_out if worker is None else restarted
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
                # Hooks come first, and may take their time.
                answer = self.ask("stop", {}, max(until, time.monotonic() + self._timeout))
            except ControlError as error:
                if error.kind != "gone":
                    raise
            for event in events.until(until):
                if event is not None and event["kind"] == "exit":
                    status = event["status"]
                    text = f"the manager has ended with exit status {status}"
                    why = "failed" if status else ""
                    return Outcome(not status, text, answer, why, status)
            if events.ended:
                return Outcome(False, "the manager has gone without a word", answer, "gone")
        text = f"the manager has not ended within {wait:g} s"
        return Outcome(False, text, answer, "timeout")

    def _command(
        self,
        do: str,
        fields: dict[str, Any],
        look: Callable[[dict[str, Any], dict[str, Any]], Found],
        wait: float | None,
    ) -> Outcome:
        if wait is None:
            return Outcome(True, f"the manager has taken up the {do}", self.request(do, **fields))
        until = time.monotonic() + wait
        # First: what happens between the command and its answer would be missed.
        with _Follower(self) as events:
            answer = self.ask(do, fields, max(until, time.monotonic() + self._timeout))
            try:
                found = self._await(events, until, lambda status: look(status, answer))
            except ControlError as error:
                text = f"it is not known what has come of it: {error}"
                return Outcome(False, text, answer, "gone")
        if found is None:
            text = f"the {do} has not come to its end within {wait:g} s{self._standing(answer)}"
            return Outcome(False, text, answer, "timeout")
        why, text = found
        return Outcome(not why, text, answer, why)

    def _await(
        self,
        events: "_Follower",
        until: float,
        look: Callable[[dict[str, Any]], Found],
    ) -> Found:
        found = self._look(until, look)
        if found is not None:
            return found
        for event in events.until(until):
            if event is not None and event["kind"] in _IRRELEVANT:
                continue
            if event is not None and event["kind"] == "stopping":
                return "conflict", f"the manager is stopping because of {event.get('why')}"
            found = self._look(until, look)
            if found is not None:
                return found
        if events.ended:
            raise ControlError("gone", "the manager has ended")
        return None

    def _look(self, until: float, look: Callable[[dict[str, Any]], Found]) -> Found:
        try:
            return look(self.ask("status", {}, until))
        except ControlError as error:
            if error.kind != "timeout":
                raise
            return None  # the manager is in a hook that takes long

    def _standing(self, answer: dict[str, Any]) -> str:
        try:
            return standing(self.status(), answer)
        except ControlError as error:
            return f": {error}"


class Events:
    """What happens at a manager, over a connection of its own: an iterator that can wait.

    :meth:`Client.events` makes one.
    """

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
        """Return the next one.

        Args:
            until: how long to wait for it, as an instant of ``time.monotonic()``.

        Returns:
            The event; ``None``: the manager has ended.

        Raises:
            ControlError: ``timeout``: none came in time.
        """
        try:
            while True:
                said = self._client.line(min(until, time.monotonic() + 1e6))
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
        self._events.close()

    def until(self, until: float) -> Iterator[dict[str, Any] | None]:
        """Yield events until an instant; now and then ``None``, to look again without one."""
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
