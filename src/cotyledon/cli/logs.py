"""Log lines under the command.

Responsible for one handler of the root logger in three formats, in the master and in its workers.
Never used by the library: without the command, programs set up logging themselves.
"""

import json
import logging
import os
import select
import sys
import time
import zlib
from typing import Any, NamedTuple

FORMATS = ("auto", "text", "json", "journald")
LEVELS = ("debug", "info", "warning", "error", "critical")

PATIENCE = 0.2
"""Seconds that the master waits for somebody to read its lines, before it begins to drop them."""

_SYSLOG = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_COLOURS = ("36", "32", "35", "34", "33", "96", "92", "95", "94")
_LEVEL_COLOURS = ((logging.ERROR, "31"), (logging.WARNING, "33"), (logging.INFO, ""))


class Settings(NamedTuple):
    """How lines are written; it pickles, for workers that are spawned."""

    format: str = "text"
    """``text``, ``json`` or ``journald``."""
    level: str = "info"
    colour: bool = False


class Who:
    """Whose lines these are: the master's, until a worker says its name."""

    def __init__(self) -> None:
        self.master = os.getpid()
        self.worker: str | None = None

    @property
    def is_master(self) -> bool:
        """Whether this process is the master."""
        return self.worker is None and os.getpid() == self.master

    def __str__(self) -> str:
        if self.worker is not None:
            return self.worker
        return "manager" if os.getpid() == self.master else f"[{os.getpid()}]"


WHO = Who()


def decide(wanted: str, level: str) -> Settings:
    """Return the settings that fit the standard error output.

    Args:
        wanted: one of :data:`FORMATS`; ``auto``: journald where the journal listens, text on a
            terminal, or else JSON.
        level: one of :data:`LEVELS`.
    """
    terminal = _is_terminal()
    if wanted == "auto":
        wanted = "journald" if _is_journal() else "text" if terminal else "json"
    return Settings(
        wanted, level, wanted == "text" and terminal and not os.environ.get("NO_COLOR")
    )


def _is_terminal() -> bool:
    try:
        return os.isatty(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False


def _is_journal() -> bool:
    device, colon, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    if not colon:
        return False
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


class Lines(logging.Handler):
    """Writes each record to the standard error output at once, in as few writes as can be.

    A worker waits until there is room. The master does not, or a pipe that nobody reads would end
    supervision: it drops records, and says how many as soon as there is room again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what cannot be written is dropped."""
        try:
            data = self._encode(record)
        except Exception:
            self.handleError(record)
            return
        try:
            fd = sys.stderr.fileno()
            if WHO.is_master:
                self._write_or_drop(fd, data)
            else:
                _write(fd, data)
        except (OSError, ValueError, AttributeError):
            pass  # nobody listens

    def _encode(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode("utf-8", "backslashreplace")

    def _write_or_drop(self, fd: int, data: bytes) -> None:
        patience = 0.0 if self._dropped else PATIENCE
        if self._dropped and _has_room(fd, 0.0):
            text = "%d lines were dropped: nobody read the standard error output"
            args = (logging.WARNING, __file__, 0, text, (self._dropped,), None)
            self._dropped = 0
            data = self._encode(logging.LogRecord("cotyledon", *args)) + data
        # What poll(2) calls room is that of a piece at least.
        for start in range(0, len(data), select.PIPE_BUF):
            if not _has_room(fd, patience):
                self._dropped += 1
                return
            _write(fd, data[start : start + select.PIPE_BUF])


def _has_room(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _write(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [], 1.0)


class Text(logging.Formatter):
    """``web/2 | 12:00:00 WARNING shop.web: no stock``, in front of every line of a record."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        who = str(WHO)
        front = f"{who:<12}|"
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self._colour:
            name = who.partition("/")[0].encode()
            colour = "1" if who == "manager" else _COLOURS[zlib.crc32(name) % len(_COLOURS)]
            front = f"\x1b[{colour}m{front}\x1b[0m"
            paint = next((c for least, c in _LEVEL_COLOURS if record.levelno >= least), "2")
            level = f"\x1b[{paint}m{level}\x1b[0m" if paint else level
            clock = f"\x1b[2m{clock}\x1b[0m"
        first, *more = _text(record, self).split("\n")
        source = "" if record.name in ("cotyledon", "root") else f"{record.name}: "
        head = f"{front} {clock} {level} {source}{first}"
        return "\n".join([head, *(f"{front} {line}" for line in more)])


class Journal(logging.Formatter):
    """``<4>web/2: no stock``: the level in front of each line, as ``sd-daemon(3)`` has it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        level = next((n for least, n in _SYSLOG if record.levelno >= least), 7)
        source = "" if record.name in ("cotyledon", "root") else f"{record.name}: "
        first, *more = _text(record, self).split("\n")
        lines = [f"{WHO}: {source}{first}", *(f"{WHO}: {line}" for line in more)]
        return "\n".join(f"<{level}>{line}" for line in lines)


class Json(logging.Formatter):
    """One object a line: time, level, logger, message, worker, pid, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{second}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "worker": WHO.worker,
            "pid": record.process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False)


def _text(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    text = record.getMessage()
    if record.exc_info:
        text = f"{text}\n{formatter.formatException(record.exc_info)}"
    if record.stack_info:
        text = f"{text}\n{record.stack_info}"
    return text


def set_up(settings: Settings) -> None:
    """Give the root logger our handler, in the place of an earlier one of ours."""
    formatter: logging.Formatter
    match settings.format:
        case "json":
            formatter = Json()
        case "journald":
            formatter = Journal()
        case _:
            formatter = Text(settings.colour)
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, Lines)]:
        root.removeHandler(handler)
    ours = Lines()
    ours.setFormatter(formatter)
    root.addHandler(ours)
    root.setLevel(settings.level.upper())


def name_worker(name: str, settings: Settings) -> None:
    """In a worker: put its name in front of its lines; set up anew what a spawn has lost."""
    WHO.worker = name
    root = logging.getLogger()
    if os.getpid() == WHO.master and not any(isinstance(h, Lines) for h in root.handlers):
        set_up(settings)
