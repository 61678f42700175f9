"""What the manager says, for everybody who looks at this server.

Responsible for the two connections to the control socket, one for the status and one for the
events, however many browsers there are, and for making them again. Never asks unless it is asked.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import Any

from cotyledon import control
from cotyledon.control import ControlError

LARGEST = 1 << 26
"""Bytes of a line that are more than a manager sends."""
TIMEOUT = 5.0
SHORTEST, LONGEST = 0.2, 5.0
"""Seconds between two attempts to connect, at first and at last."""
PAST = 256
"""Events that the manager keeps."""


class Connection:
    """One connection, for one request at a time.

    Args:
        reader: what the manager sends.
        writer: what it is sent.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.pid = 0

    @classmethod
    async def open(cls, where: str) -> "Connection":
        """Connect, and be greeted.

        Raises:
            ControlError: nobody is there, or not for us.
        """
        path = where if "/" in where else control.find(where)
        try:
            found = cls(*await asyncio.open_unix_connection(path, limit=LARGEST))
        except OSError as error:
            raise ControlError("no-manager", f"{path}: {error.strerror or error}") from None
        try:
            async with asyncio.timeout(TIMEOUT):
                greeting = await found.line()
            if greeting.get("cotyledon") != control.PROTOCOL:
                raise ControlError("protocol", f"{path}: not a protocol that is known here")
            found.pid = int(greeting.get("pid") or 0)
        except BaseException as error:
            found.close()
            if isinstance(error, TimeoutError):
                raise ControlError("timeout", f"{path}: no answer within {TIMEOUT:g} s") from None
            raise
        return found

    async def line(self) -> dict[str, Any]:
        """Return the next line.

        Raises:
            ControlError: the manager has gone, or has refused.
        """
        try:
            raw = await self._reader.readline()
        except (OSError, ValueError) as error:
            raise ControlError("gone", f"the connection to the manager is lost: {error}") from None
        if not raw.endswith(b"\n"):
            raise ControlError("gone", "the manager has closed the connection")
        try:
            said = json.loads(raw)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ControlError("protocol", "the manager has sent what is no JSON object")
        if isinstance(said.get("error"), dict):
            refusal = said["error"]
            raise ControlError(str(refusal.get("kind")), str(refusal.get("text")))
        # A lone half of a surrogate pair is a string in JSON, and none in UTF-8.
        clean: dict[str, Any] = _clean(said) if b"\\ud" in raw.lower() else said
        return clean

    async def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Return what the manager answers.

        Raises:
            ControlError: it does not, or it refuses.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                self._writer.write(json.dumps({"id": 1, "do": do, **fields}).encode() + b"\n")
                await self._writer.drain()
                said = await self.line()
        except TimeoutError:
            raise ControlError("timeout", f"no answer within {TIMEOUT:g} s") from None
        except OSError as error:
            raise ControlError("gone", f"the connection to the manager is lost: {error}") from None
        if not isinstance(said.get("ok"), dict):
            raise ControlError("protocol", "the manager's answer has no 'ok'")
        answer: dict[str, Any] = said["ok"]
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class Upstream:
    """The manager, as far as it can be reached.

    Args:
        where: the path of the control socket, or the manager's name.
        on_event: told of each event, once.
        on_change: told when the manager was lost (why) or is there again (``None``).
        on_arrival: told the pid of a manager that is not the one of before, and the number that
            its next event will have.
    """

    def __init__(
        self,
        where: str | os.PathLike[str],
        on_event: Callable[[dict[str, Any]], None],
        on_change: Callable[[str | None], None],
        on_arrival: Callable[[int, int], None],
    ) -> None:
        # A path needs no slash if it says that it is one.
        is_path = isinstance(where, os.PathLike)
        self._where = os.path.abspath(where) if is_path else os.fspath(where)
        self._on_event = on_event
        self._on_change = on_change
        self._on_arrival = on_arrival
        self._asking = asyncio.Lock()
        self._connection: Connection | None = None
        self._pid = 0
        self._seq = 0
        self._status: dict[str, Any] = {}
        self._asked_at = -1e9
        self.trouble: str | None = "not connected yet"
        """Why the manager cannot be reached; ``None``: it can."""

    async def status(self, max_age: float) -> dict[str, Any]:
        """Return the manager's status; askers at the same time share one answer.

        Args:
            max_age: seconds that the answer may be old.

        Raises:
            ControlError: the manager cannot be reached.
        """
        async with self._asking:
            if time.monotonic() - self._asked_at <= max_age:
                return self._status
            try:
                self._status = await self._ask_status()
            except ControlError as error:
                self._change(error.text)
                raise
            self._asked_at = time.monotonic()
            self._change(None)
            return self._status

    async def _ask_status(self) -> dict[str, Any]:
        # The manager closes what has been silent when it needs the room: once more, then.
        if self._connection is not None:
            try:
                return await self._connection.ask("status")
            except ControlError:
                self._drop()
        self._connection = await Connection.open(self._where)
        try:
            return await self._connection.ask("status")
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._asked_at = -1e9

    def _change(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_change(trouble)

    async def follow(self) -> None:
        """Follow the events for ever, through every end of the manager."""
        pause = SHORTEST
        while True:
            try:
                connection = await Connection.open(self._where)
                try:
                    answer = await connection.ask("events", last=PAST)
                    self._arrive(connection.pid, int(answer.get("next") or 0))
                    pause = SHORTEST
                    while True:
                        self._take((await connection.line()).get("event"))
                finally:
                    connection.close()
            except ControlError as error:
                self._drop()  # what is known of the manager may be of the last one
                self._change(error.text)
            await asyncio.sleep(pause)
            pause = min(LONGEST, pause * 2)

    def _arrive(self, pid: int, upcoming: int) -> None:
        # Another one may have the pid of the last: in a container each is number 1.
        if pid != self._pid or upcoming <= self._seq:
            self._pid, self._seq = pid, 0
            self._on_arrival(pid, upcoming)
        self._change(None)

    def _take(self, event: Any) -> None:
        if not isinstance(event, dict):
            return
        seq = event.get("seq")
        if not isinstance(seq, int) or seq <= self._seq:
            return
        self._seq = seq
        self._on_event(event)

    def close(self) -> None:
        """Close the connection for the status."""
        self._drop()


def _clean(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return [_clean(one) for one in value]
        case dict():
            return {_clean(key): _clean(one) for key, one in value.items()}
        case _:
            return value
