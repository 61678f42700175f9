"""How a service is kept alive: back-off and rollout, as frozen and validated values.

Responsible for what users may choose, its defaults and its validation. Never decides
anything: the core reads these values. Units are seconds.

They are tuples, not dataclasses, because importing :mod:`dataclasses` costs more than
the rest of the package together.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Self


def _seconds(owner: str, name: str, value: Any, *, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{owner}: {name!r} must be a number of seconds, not: {value!r}")
    if not math.isfinite(value) or value < least:
        raise ValueError(f"{owner}: {name!r} must be at least {least:g} s, not: {value!r}")
    return float(value)


class _Backoff(NamedTuple):
    initial: float
    factor: float
    cap: float
    jitter: float
    forgive: float


class Backoff(_Backoff):
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

    __slots__ = ()

    def __new__(
        cls,
        initial: float = 0.5,
        factor: float = 2.0,
        cap: float = 30.0,
        jitter: float = 0.2,
        forgive: float = 30.0,
    ) -> Self:
        values = (
            _seconds("Backoff", "initial", initial),
            _seconds("Backoff", "factor", factor, least=1.0),
            _seconds("Backoff", "cap", cap),
            _seconds("Backoff", "jitter", jitter),
            _seconds("Backoff", "forgive", forgive, least=0.001),
        )
        if values[3] > 1:
            raise ValueError(f"Backoff: 'jitter' must be from 0 to 1, not: {jitter!r}")
        if values[2] < values[0]:
            raise ValueError(f"Backoff: 'cap' ({cap!r}) is below 'initial' ({initial!r})")
        return super().__new__(cls, *values)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:
        return cls(*iterable)


class _Rollout(NamedTuple):
    max_unavailable: int | str


class Rollout(_Rollout):
    """How a reload restarts the workers of a service that has no ``reload()`` of its own.

    Args:
        max_unavailable: how many of the wanted workers may be missing while the reload goes
            on: a number of at least 1, or a percentage such as ``"25%"`` (the default),
            rounded down and at least 1.

    Raises:
        TypeError: ``max_unavailable`` is neither an int nor a string.
        ValueError: it is below 1, or not a percentage from ``"1%"`` to ``"100%"``.
    """

    __slots__ = ()

    def __new__(cls, max_unavailable: int | str = "25%") -> Self:
        if isinstance(max_unavailable, bool) or not isinstance(max_unavailable, (int, str)):
            raise TypeError(
                "Rollout: 'max_unavailable' must be an int or a percentage such as '25%', "
                f"not: {max_unavailable!r}"
            )
        rollout = super().__new__(cls, max_unavailable)
        if rollout._percent() is None if isinstance(max_unavailable, str) else max_unavailable < 1:
            raise ValueError(
                "Rollout: 'max_unavailable' must be at least 1, or from '1%' to '100%', "
                f"not: {max_unavailable!r}"
            )
        return rollout

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:
        return cls(*iterable)

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


class _Policy(NamedTuple):
    backoff: Backoff
    rollout: Rollout


class Policy(_Policy):
    """Everything that can be chosen about how a service is kept alive.

    Args:
        backoff: how long a slot waits after repeated deaths.
        rollout: how a reload restarts workers.

    Raises:
        TypeError: a part has the wrong type.
    """

    __slots__ = ()

    def __new__(cls, backoff: Backoff = Backoff(), rollout: Rollout = Rollout()) -> Self:  # noqa: B008 - frozen
        if not isinstance(backoff, Backoff):
            raise TypeError(f"Policy: 'backoff' must be a Backoff, not: {backoff!r}")
        if not isinstance(rollout, Rollout):
            raise TypeError(f"Policy: 'rollout' must be a Rollout, not: {rollout!r}")
        return super().__new__(cls, backoff, rollout)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:
        return cls(*iterable)
