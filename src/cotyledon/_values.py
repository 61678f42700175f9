"""Values that users give: frozen classes, and numbers with units.

Responsible for the base class of the policies, and for reading seconds, bytes and counts with
errors that say what was wrong and where. Never knows what a value is for.

They are not dataclasses, because importing :mod:`dataclasses` costs about as much as the rest
of the package.
"""

import math
from collections.abc import Mapping
from typing import Any, NoReturn, Self


class Frozen:
    """A value whose fields, its ``__slots__``, are set once, by ``__init__``."""

    __slots__: tuple[str, ...] = ()

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; use replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated anew."""
        return type(self)(**{**self._fields(), **changes})

    __replace__ = replace  # copy.replace(), Python 3.13

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), *self._fields().values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._fields().items())
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (type(self), self._fields())


def _make(kind: type[Frozen], fields: dict[str, Any]) -> Frozen:
    return kind(**fields)


LONGEST = 1e9
"""Seconds, some thirty years: what is longer counts as this, so that it fits wherever it goes."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1} | {
    prefix + unit: 1024**power
    for power, prefix in enumerate("KMGT", 1)
    for unit in ("", "B", "iB")
}


def _with_unit(text: str, units: Mapping[str, float]) -> float | None:
    digits = text.strip().rstrip("".join({letter for unit in units for letter in unit}))
    unit = text.strip()[len(digits) :]
    try:
        return float(digits) * units[unit]
    except (ValueError, KeyError):
        return None


def number(owner: str, name: str, value: Any, unit: str = "", *, least: float = 0.0) -> float:
    """Return a finite number of at least ``least``; raise what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{owner}: {name!r} must be a number{unit}, not: {value!r}")
    try:
        found = float(value)
    except OverflowError:  # an int that no float is large enough for
        found = math.inf
    if not math.isfinite(found) or value < least:
        bound = (
            f"a number{unit} >= {least:g}" if math.isfinite(least) else f"a finite number{unit}"
        )
        raise ValueError(f"{owner}: {name!r} must be {bound}, not: {value!r}")
    return found


MOST_FIGURES = 32
LONGEST_NAME = 40


def figures(owner: str, name: str, value: Any) -> dict[str, float]:
    """Return finite numbers by name, few and short enough for one message."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{owner}: {name!r} must be numbers by name, not: {value!r}")
    if len(value) > MOST_FIGURES:
        raise ValueError(f"{owner}: {name!r} may be {MOST_FIGURES} at most, not {len(value)}")
    found: dict[str, float] = {}
    for key, one in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{owner}: a name in {name!r} must be a string, not: {key!r}")
        if not (0 < len(key) <= LONGEST_NAME and key.isascii() and key.isprintable()):
            raise ValueError(
                f"{owner}: a name in {name!r} must be 1 to {LONGEST_NAME} printable ASCII"
                f" characters, not: {key!r}"
            )
        exact = number(owner, f"{name}[{key!r}]", one, least=-math.inf)
        found[key] = int(one) if isinstance(one, int) and abs(one) < 1 << 53 else exact
    return found


def seconds(owner: str, name: str, value: Any, *, least: float = 0.0) -> float:
    """Return seconds: a number, or a string such as ``"500ms"``, ``"10m"``, ``"2h"``, ``"1d"``."""
    if isinstance(value, str):
        read = _with_unit(value, _SECONDS)
        if read is None:
            raise ValueError(
                f"{owner}: {name!r} must be a number of seconds, or a number with one of the "
                f"units ms, s, m, h, d, such as '10m', not: {value!r}"
            )
        value = read
    return min(number(owner, name, value, " of seconds", least=least), LONGEST)


def size(owner: str, name: str, value: Any) -> int:
    """Return bytes: an int, or a string such as ``"512M"`` or ``"1.5G"`` (powers of 1,024)."""
    if isinstance(value, str):
        read = _with_unit(value, _BYTES)
        if read is None or not math.isfinite(read):
            raise ValueError(
                f"{owner}: {name!r} must be a number of bytes, or a number with one of the "
                f"units K, M, G, T, such as '512M', not: {value!r}"
            )
        value = int(read)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{owner}: {name!r} must be a number of bytes, not: {value!r}")
    if value < 1:
        raise ValueError(f"{owner}: {name!r} must be a number of bytes >= 1, not: {value!r}")
    return value


def percentage(value: object) -> int | None:
    """Return the number in a string such as ``"25%"``; ``None`` if it is nothing of the kind."""
    digits, sign, rest = str(value).partition("%")
    if sign and not rest and digits.isascii() and digits.isdigit() and int(digits) <= 100:
        return int(digits)
    return None


def share(owner: str, name: str, value: Any, *, least: int) -> int | str:
    """Return a number of workers, or a percentage of them, as it was given."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(
            f"{owner}: {name!r} must be an int or a percentage such as '25%', not: {value!r}"
        )
    found = percentage(value) if isinstance(value, str) else value
    if found is None or found < least:
        raise ValueError(
            f"{owner}: {name!r} must be at least {least}, or from '{least}%' to '100%', "
            f"not: {value!r}"
        )
    return value


def one_of(owner: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return one of a few words."""
    if not isinstance(value, str):
        raise TypeError(f"{owner}: {name!r} must be a string, not: {value!r}")
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{owner}: {name!r} must be one of {known}, not: {value!r}")
    return value


def flag(owner: str, name: str, value: Any) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{owner}: {name!r} must be True or False, not: {value!r}")
    return value


def count(owner: str, name: str, value: Any, *, least: int) -> int:
    """Return an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{owner}: {name!r} must be an int, not: {value!r}")
    if value < least:
        raise ValueError(f"{owner}: {name!r} must be an int >= {least}, not: {value!r}")
    return value


def statuses(owner: str, name: str, value: Any) -> tuple[int, ...]:
    """Return exit statuses: one int or several, from -64 (minus a signal's number) to 255."""
    given = (value,) if isinstance(value, int) else value
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise TypeError(f"{owner}: {name!r} must be exit statuses, not: {value!r}")
    found = tuple(given)
    for status in found:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"{owner}: {name!r} must be exit statuses, not: {status!r}")
        if not -64 <= status <= 255:
            raise ValueError(
                f"{owner}: {name!r} must be exit statuses from 0 to 255, or minus the number "
                f"of a signal, not: {status!r}"
            )
    return tuple(sorted({int(status) for status in found}))
