"""How a service is kept alive: back-off and rollout, as frozen and validated values.

Responsible for what users may choose, its defaults and its validation. Never decides
anything: the core reads these values. Units are seconds.

They are not dataclasses, because importing :mod:`dataclasses` costs about as much as the rest
of the package.
"""

import math
from typing import Any, NoReturn, Self


class _Frozen:
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
        return type(self), tuple(self._fields().values())


def _number(name: str, value: Any, unit: str = "", *, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Backoff: {name!r} must be a number{unit}, not: {value!r}")
    if not math.isfinite(value) or value < least:
        raise ValueError(f"Backoff: {name!r} must be a number{unit} >= {least:g}, not: {value!r}")
    return float(value)


class Backoff(_Frozen):
    """How long a slot waits before its next worker after repeated deaths.

    The first respawn is immediate; the second waits ``initial`` seconds, each further one
    ``factor`` times longer, never longer than ``cap``. SIGHUP and ``reconfigure()`` clear it.

    Args:
        initial: seconds before the second respawn (default 0.5).
        factor: growth from one respawn to the next, at least 1 (default 2).
        cap: the longest wait in seconds, at least ``initial`` (default 30).
        jitter: the part of each wait, from 0 to 1, that chance may take away, so that
            workers that died together do not come back together (default 0.2).
        forgive: seconds of life as a ready worker that forgive one earlier death
            (default 30): a worker that lives longer than this respawns at once.

    Raises:
        TypeError: a value is not a number.
        ValueError: a value is out of its range, or ``cap`` is below ``initial``.
    """

    __slots__ = ("initial", "factor", "cap", "jitter", "forgive")  # noqa: RUF023 - their order
    initial: float
    factor: float
    cap: float
    jitter: float
    forgive: float

    def __init__(
        self,
        initial: float = 0.5,
        factor: float = 2.0,
        cap: float = 30.0,
        jitter: float = 0.2,
        forgive: float = 30.0,
    ) -> None:
        self._set(
            initial=_number("initial", initial, " of seconds"),
            factor=_number("factor", factor, least=1.0),
            cap=_number("cap", cap, " of seconds"),
            jitter=_number("jitter", jitter),
            forgive=_number("forgive", forgive, " of seconds", least=0.001),
        )
        if self.jitter > 1:
            raise ValueError(f"Backoff: 'jitter' must be from 0 to 1, not: {jitter!r}")
        if self.cap < self.initial:
            raise ValueError(f"Backoff: 'cap' ({cap!r}) is below 'initial' ({initial!r})")


class Rollout(_Frozen):
    """How a reload restarts the workers of a service that has no ``reload()`` of its own.

    Args:
        max_unavailable: how many of the wanted workers may be missing while the reload goes
            on: a number of at least 1, or a percentage such as ``"25%"`` (the default),
            rounded down and at least 1.

    Raises:
        TypeError: ``max_unavailable`` is neither an int nor a string.
        ValueError: it is below 1, or not a percentage from ``"1%"`` to ``"100%"``.
    """

    __slots__ = ("max_unavailable",)
    max_unavailable: int | str

    def __init__(self, max_unavailable: int | str = "25%") -> None:
        if isinstance(max_unavailable, bool) or not isinstance(max_unavailable, (int, str)):
            raise TypeError(
                "Rollout: 'max_unavailable' must be an int or a percentage such as '25%', "
                f"not: {max_unavailable!r}"
            )
        self._set(max_unavailable=max_unavailable)
        if self._percent() is None if isinstance(max_unavailable, str) else max_unavailable < 1:
            raise ValueError(
                "Rollout: 'max_unavailable' must be at least 1, or from '1%' to '100%', "
                f"not: {max_unavailable!r}"
            )

    def _percent(self) -> int | None:
        digits, sign, rest = str(self.max_unavailable).partition("%")
        if sign and not rest and digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 100:
            return int(digits)
        return None

    def allowed(self, wanted: int) -> int:
        """Return how many of ``wanted`` workers may be unavailable at a time."""
        percent = self._percent()
        if percent is None:
            return int(self.max_unavailable)
        return max(1, wanted * percent // 100)


class Policy(_Frozen):
    """Everything that can be chosen about how a service is kept alive.

    Args:
        backoff: how long a slot waits after repeated deaths.
        rollout: how a reload restarts workers.

    Raises:
        TypeError: a part has the wrong type.
    """

    __slots__ = ("backoff", "rollout")
    backoff: Backoff
    rollout: Rollout

    def __init__(self, backoff: Backoff | None = None, rollout: Rollout | None = None) -> None:
        backoff = Backoff() if backoff is None else backoff
        rollout = Rollout() if rollout is None else rollout
        if not isinstance(backoff, Backoff):
            raise TypeError(f"Policy: 'backoff' must be a Backoff, not: {backoff!r}")
        if not isinstance(rollout, Rollout):
            raise TypeError(f"Policy: 'rollout' must be a Rollout, not: {rollout!r}")
        self._set(backoff=backoff, rollout=rollout)
