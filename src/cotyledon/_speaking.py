"""One connection to a manager's control socket: lines out, lines in.

Responsible for connecting, and for errors that say what is wrong with what is there. Blocks, until
an instant. Never knows what is asked.
"""

import json
import os
import socket
import stat
import time
from typing import Any, NamedTuple

from cotyledon._where import LONGEST_PATH

PROTOCOL = 1
"""The version of the protocol that is spoken here."""

_LARGEST = 1 << 28
"""Bytes of a line that are more than a manager sends."""


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


class Connection:
    """A connection to a manager, for one thread.

    Args:
        path: of the socket.
        timeout: seconds that the manager may take for an answer.

    Raises:
        ControlError: ``no-manager``, ``forbidden``, ``busy``, ``timeout`` or ``protocol``.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        """Of the socket."""
        self._timeout = timeout
        self._number = 0
        self._buffer = bytearray()
        self._socket = _connect(self.path, timeout)
        try:
            self.greeting = self._greet()
            """What the manager has said of itself."""
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._socket.fileno()

    def _greet(self) -> Greeting:
        said = self.line(time.monotonic() + self._timeout)
        error = said.get("error")
        if isinstance(error, dict):
            raise ControlError(str(error.get("kind")), f"{self.path}: {error.get('text')}")
        if said.get("cotyledon") != PROTOCOL:
            raise self._strange(f"speaks version {said.get('cotyledon')!r} of the protocol")
        return Greeting(str(said.get("version")), said.get("name"), said["pid"])

    def ask(self, do: str, fields: dict[str, Any], until: float) -> dict[str, Any]:
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
            said = self.line(until)
            if "event" in said or said.get("id") not in (self._number, None):
                continue  # of an earlier request, whose answer came too late
            if "ok" in said:
                found: dict[str, Any] = said["ok"]
                return found
            error = said.get("error", {})
            raise ControlError(str(error.get("kind")), str(error.get("text")))

    def line(self, until: float) -> dict[str, Any]:
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


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True  # it was, a moment ago


def _no_connection(path: str, error: OSError) -> ControlError:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return ControlError("no-manager", f"no manager is running at {path}: it is not there")
        case ConnectionRefusedError():
            what = "a socket has been left there" if _is_socket(path) else "it is no socket"
            return ControlError("no-manager", f"no manager is running at {path}: {what}")
        case PermissionError():
            text = f"only the manager's own user and root may connect to {path}"
            return ControlError("forbidden", text)
        case TimeoutError() | BlockingIOError():
            return ControlError("timeout", f"{path}: the manager does not let anybody in")
        case _:
            return ControlError("no-manager", f"cannot connect to {path}: {error.strerror}")
