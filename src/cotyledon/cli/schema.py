"""What a configuration file may hold: which keys, of which types.

Responsible for the shape, for reading it into policies, and for errors that name the key. The keys
of a policy are the arguments of the classes in :mod:`cotyledon.policy`, taken from there. Never
imports a service, never changes a manager.
"""

import os
import re
import stat
import tomllib
from typing import Any, Literal, get_type_hints

import msgspec

from cotyledon import Backoff, Intensity, Policy, Recycle, Rollout, RunAs, Start
from cotyledon.cli.faults import Exit, Fault
from cotyledon.cli.words import close_to

Unset: Any = msgspec.UNSET

_OTHER_TYPES: dict[str, Any] = {
    # What the signatures leave open, or give a type that is none of TOML's.
    "groups": list[str | int],
    "cpus": list[int],
    "success": int | list[int],
    "no_retry": int | list[int],
    "directory": str,
    "environment": dict[str, Any],
    "limits": dict[str, Any],
}


def _shape(kind: type, **parts: Any) -> Any:
    """Return a Struct with the keys of a policy's class, each of which may be left out."""
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    hints.pop("return", None)
    fields = [
        (name, parts.get(name) or _OTHER_TYPES.get(name) or hint, msgspec.field(default=Unset))
        for name, hint in hints.items()
    ]
    return msgspec.defstruct(kind.__name__, fields, forbid_unknown_fields=True)


PARTS: dict[str, type] = {
    "backoff": Backoff,
    "intensity": Intensity,
    "start": Start,
    "rollout": Rollout,
    "recycle": Recycle,
    "run_as": RunAs,
}
PolicyShape = _shape(Policy, **{name: _shape(kind) for name, kind in PARTS.items()})


class Logging(msgspec.Struct, forbid_unknown_fields=True):
    """The table ``[logging]``."""

    format: Literal["auto", "text", "json", "journald"] = "auto"
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class ServiceShape(msgspec.Struct, forbid_unknown_fields=True):
    """A table ``[services.NAME]``."""

    target: str
    workers: int = 1
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    after: list[str] = []
    environment: dict[str, Any] = {}
    policy: Any = None


class FileShape(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    services: dict[str, Any]
    name: str | None = None
    control: bool | str = True
    graceful_timeout: float | str = 60.0
    start_method: Literal["fork", "spawn", "forkserver"] = "fork"
    logging: Logging = msgspec.field(default_factory=Logging)
    environment: dict[str, Any] = {}


def _read(path: str, shown_path: str) -> bytes:
    # Opening a FIFO would wait for whoever writes to it, and the manager with it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise wrong(shown_path, "", "is no regular file")
        with open(fd, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(fd)


def parse(path: str, shown_path: str) -> dict[str, Any]:
    """Read a file as TOML.

    Args:
        path: the file.
        shown_path: its name in errors.

    Raises:
        Fault: it is not there, not readable, or no TOML.
    """
    try:
        text = _read(path, shown_path).decode()
        return tomllib.loads(text)
    except OSError as error:
        raise wrong(shown_path, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise wrong(shown_path, "", f"is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise wrong(shown_path, "", "no TOML: it is nested too deeply") from None
    except ValueError as error:  # also an integer with thousands of digits
        text, _, where = str(error).partition(" (at ")
        where = where.rstrip(")")
        raise wrong(shown_path, where, f"no TOML: {text[:1].lower()}{text[1:]}") from None


def shaped(path: str, where: str, value: Any, shape: Any) -> Any:
    """Return a value of the file in its shape.

    Args:
        path: the file.
        where: the value's key.
        value: it.
        shape: what it should be.

    Raises:
        Fault: it is something else.
    """
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        text, _, inner = str(error).partition(" - at `$")
        inner = inner.rstrip("`").lstrip(".")
        full = ".".join(part for part in (where, inner) if part)
        found = re.fullmatch(r"Object contains unknown field `(.*)`", text)
        if found:
            holder = _field(value, inner)
            known = _keys(shape, inner)
            hint = close_to(found[1], known) or f" (there are {', '.join(known)})"
            key = found[1] if isinstance(holder, dict) else ""
            raise wrong(path, f"{full}.{key}".strip("."), f"unknown key{hint}") from None
        found = re.fullmatch(r"Object missing required field `(.*)`", text)
        if found:
            raise wrong(path, f"{full}.{found[1]}".strip("."), "is missing") from None
        raise wrong(path, full, _expected(text, _field(value, inner))) from None


def _keys(shape: Any, inner: str) -> list[str]:
    for name in filter(None, inner.split(".")):
        hint = get_type_hints(shape).get(name)
        shape = hint if isinstance(hint, type) else shape
    return list(getattr(shape, "__struct_fields__", ()))


def _field(value: Any, inner: str) -> Any:
    for name in re.findall(r"[^.\[\]]+", inner):
        try:
            value = value[int(name) if isinstance(value, list) else name]
        except (LookupError, TypeError, ValueError):
            return Unset
    return value


_TYPES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "object": "a table",
    "array": "an array",
}


def _expected(text: str, value: Any) -> str:
    found = re.match(r"Expected `(.*?)`, got", text)
    if found:
        kinds = [one for one in found[1].split(" | ") if one != "null"]
        words = " or ".join(_TYPES.get(one, one) for one in kinds)
        got = "" if value is Unset else f", got {shown(value)}"
        return f"expected {words}{got}"
    if text.startswith("Invalid enum value"):
        return f"{shown(value)} is not among the choices"
    return f"{text[:1].lower()}{text[1:]}"


def shown(value: Any) -> str:
    """Return a value as it is written in TOML, or nearly."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def wrong(path: str, where: str, text: str) -> Fault:
    """Return the error that something in a file is wrong."""
    return Fault(Exit.USAGE, ": ".join(part for part in (path, where, text) if part))


def policy_of(path: str, where: str, given: Any, default: Policy) -> Policy:
    """Return a policy, changed by what a file says.

    Raises:
        Fault: a key is unknown, or a value wrong.
    """
    shaped(path, where, given, PolicyShape)
    changes = dict(given)  # as they are written there, for errors
    for name, kind in PARTS.items():
        if name in changes:
            before = getattr(default, name)
            changes[name] = _checked(path, f"{where}.{name}", dict(changes[name]), kind, before)
    return _checked(path, where, changes, Policy, default)  # type: ignore[no-any-return]


def _checked(path: str, where: str, changes: dict[str, Any], kind: Any, before: Any) -> Any:
    if kind is RunAs and "environment" in changes:
        key = f"{where}.environment"
        changes["environment"] = environment_of(path, key, changes["environment"])
    try:
        return kind(**changes) if before is None else before.replace(**changes)
    except (TypeError, ValueError) as error:
        text = str(error)
        missing = re.search(r"missing .* required positional arguments?: '(\w+)'", text)
        if missing:
            raise wrong(path, f"{where}.{missing[1]}", "is missing") from None
        text = text.removeprefix(f"{kind.__name__}: ")
        found = re.fullmatch(r"'(\w+)(?:\[.*\])?' must be (.*), not: (.*)", text)
        if found:
            key, expected, got = found.groups()
            got = shown(changes[key]) if key in changes and got[:1] == "'" else got
            raise wrong(path, f"{where}.{key}", f"expected {expected}, got {got}") from None
        raise wrong(path, where, text) from None


def environment_of(path: str, where: str, given: dict[str, Any]) -> dict[str, str | None]:
    """Return variables for the workers: strings, or ``false`` for what is to be removed.

    Raises:
        Fault: one of them is nothing of the kind.
    """
    found: dict[str, str | None] = {}
    for name, value in given.items():
        if isinstance(value, str) and "\0" not in value:
            found[name] = value
        elif value is False:
            found[name] = None
        else:
            text = f"expected a string, or false to remove the variable, got {shown(value)}"
            raise wrong(path, f"{where}.{name}", text)
        if not name or "=" in name or "\0" in name:
            raise wrong(path, where, f"{name!r} is no name of a variable")
    return found
