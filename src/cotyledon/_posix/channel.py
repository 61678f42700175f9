"""The messages between the master and one worker, over a SOCK_SEQPACKET pair.

Responsible for making the pair and for the wire format: one datagram, fields separated by a
zero byte. Never blocks: both ends are non-blocking, and the caller is told of a message that
does not fit. Descriptors are plain ints, because a forked child closes the master's by number
and no object may close them a second time.

The end of file tells a worker that the master is gone; it never tells the master that a worker
is (the pidfd does).
"""

import _socket
import os
import select
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

LARGEST = 4096
_PACKETS = _socket.SOCK_SEQPACKET
_QUIETLY = _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT

STOP = b"stop"
RELOAD = b"reload"
READY = b"ready"
RELOADED = b"reloaded"
EXTEND = b"extend"
STACKS = b"stacks"


class ReadyMessage(NamedTuple):
    """Up: the service is built."""

    name: str
    reloads: bool
    grace: int | None  # nanoseconds


class ReloadedMessage(NamedTuple):
    """Up: the service's own reload() has returned."""

    generation: int
    grace: int | None


class ExtendMessage(NamedTuple):
    """Up: the start needs more time."""

    by: int  # nanoseconds from now


class StatusMessage(NamedTuple):
    """Up, and not over the worker's own channel: what it is doing, for people."""

    pid: int
    text: str
    figures: Mapping[str, float]


class StacksMessage(NamedTuple):
    """Down: write the stacks of your threads. Up: they are written."""

    aloud: bool = False  # to standard error as well


class StopMessage(NamedTuple):
    """Down: terminate."""


class ReloadMessage(NamedTuple):
    """Down: take up a generation."""

    generation: int


Message: TypeAlias = (
    ReadyMessage
    | ReloadedMessage
    | ExtendMessage
    | StatusMessage
    | StacksMessage
    | StopMessage
    | ReloadMessage
)


def pair() -> tuple[int, int]:
    """Return the master's end and the worker's end of a new channel.

    Raises:
        OSError: no descriptor is left.
    """
    ours, theirs = _socket.socketpair(
        _socket.AF_UNIX, _PACKETS | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0
    )
    return ours.detach(), theirs.detach()


def _grace(grace: int | None) -> bytes:
    return b"" if grace is None else b"%d" % grace


def _number(word: bytes) -> float:
    return int(word) if word.lstrip(b"-").isdigit() else float(word)


def encode(message: Message) -> bytes:
    """Return the datagram for a message."""
    match message:
        case ReadyMessage(name, reloads, grace):
            text = name.encode("utf-8", "surrogateescape")[:1000].replace(b"\0", b"")
            return b"\0".join((READY, b"%d" % reloads, _grace(grace), text))
        case ReloadedMessage(generation, grace):
            return b"\0".join((RELOADED, b"%d" % generation, _grace(grace)))
        case ExtendMessage(by):
            return b"\0".join((EXTEND, b"%d" % by))
        case StatusMessage(pid, text, figures):
            words = [part for name, value in figures.items() for part in (name, repr(value))]
            return "\0".join(("status", str(pid), text, *words)).encode(errors="replace")
        case StacksMessage(aloud):
            return b"%b\0%d" % (STACKS, aloud)
        case StopMessage():
            return STOP
        case ReloadMessage(generation):
            return b"\0".join((RELOAD, b"%d" % generation))


def decode(datagram: bytes) -> Message | None:
    """Return the message of a datagram; ``None`` if it is none of ours."""
    try:
        match datagram.split(b"\0"):
            case [b"ready", reloads, grace, name]:
                return ReadyMessage(
                    name.decode("utf-8", "surrogateescape"),
                    bool(int(reloads)),
                    int(grace) if grace else None,
                )
            case [b"reloaded", generation, grace]:
                return ReloadedMessage(int(generation), int(grace) if grace else None)
            case [b"extend", by]:
                return ExtendMessage(int(by))
            case [b"status", pid, text, *words]:
                names = [name.decode(errors="replace") for name in words[::2]]
                figures = dict(zip(names, map(_number, words[1::2]), strict=True))
                return StatusMessage(int(pid), text.decode(errors="replace"), figures)
            case [b"stacks", aloud]:
                return StacksMessage(bool(int(aloud)))
            case [b"stop"]:
                return StopMessage()
            case [b"reload", generation]:
                return ReloadMessage(int(generation))
    except ValueError:
        pass
    return None


def send(fd: int, message: Message) -> bool:
    """Send a message; return false if it does not fit now.

    A peer that is gone is no error here, and raises no SIGPIPE even in a program that
    restored that signal's default.
    """
    # The object lives for this one call: os.write() has no MSG_NOSIGNAL.
    try:
        end = _socket.socket(_socket.AF_UNIX, _PACKETS, 0, fd)
    except OSError:
        return True  # closed behind our back
    try:
        end.send(encode(message), _QUIETLY)
    except BlockingIOError:
        return False
    except OSError:
        return True
    else:
        return True
    finally:
        end.detach()


def is_cut(fd: int) -> bool:
    """Tell whether nobody has the other end any more."""
    poll = select.poll()
    poll.register(fd, 0)  # it is told that it was hung up in any case
    return bool(poll.poll(0))


def receive(fd: int) -> list[Message] | None:
    """Return the messages that wait on the descriptor; ``None`` at its end of file."""
    messages: list[Message] = []
    while True:
        try:
            datagram = os.read(fd, LARGEST)
        except BlockingIOError:
            return messages
        except OSError:
            datagram = b""
        if not datagram:
            return messages or None
        message = decode(datagram)
        if message is not None:
            messages.append(message)
