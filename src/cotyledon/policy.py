"""How a service is kept alive: frozen and validated values.

Responsible for what users may choose, its defaults and its validation. Never decides
anything: the core reads these values. Durations are seconds, or strings such as ``"500ms"``,
``"10m"`` or ``"2h"``, and more than some thirty years count as that; sizes are bytes, or strings
such as ``"512M"``.
"""

from typing import Any

from cotyledon import _values
from cotyledon._values import Frozen
from cotyledon.run_as import RunAs


class Backoff(Frozen):
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
        TypeError: a value has the wrong type.
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
        initial: float | str = 0.5,
        factor: float = 2.0,
        cap: float | str = 30.0,
        jitter: float = 0.2,
        forgive: float | str = 30.0,
    ) -> None:
        self._set(
            initial=_values.seconds("Backoff", "initial", initial),
            factor=_values.number("Backoff", "factor", factor, least=1.0),
            cap=_values.seconds("Backoff", "cap", cap),
            jitter=_part("Backoff", jitter),
            forgive=_values.seconds("Backoff", "forgive", forgive, least=0.001),
        )
        if self.cap < self.initial:
            raise ValueError(f"Backoff: 'cap' ({cap!r}) is below 'initial' ({initial!r})")


class Intensity(Frozen):
    """How many failures of a service are too many.

    A failure is an end that was not asked for and whose status is no success, a missed start
    timeout, or a missed heartbeat; those of all the service's workers count together.

    Args:
        failures: so many are borne within the period, at least 0; one more is too many.
        within: the period in seconds.
        then: ``"give up"`` (default): nothing more is started for this service, what still
            runs goes on, and SIGHUP, ``reconfigure()`` or ``restart()`` try again; or
            ``"stop"``: the manager stops, with exit status 1, so that whoever runs it decides.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is out of its range.
    """

    __slots__ = ("failures", "within", "then")  # noqa: RUF023 - their order
    failures: int
    within: float
    then: str

    def __init__(self, failures: int, within: float | str, then: str = "give up") -> None:
        self._set(
            failures=_values.count("Intensity", "failures", failures, least=0),
            within=_values.seconds("Intensity", "within", within, least=0.001),
            then=_values.one_of("Intensity", "then", then, ("give up", "stop")),
        )


class Start(Frozen):
    """When a new worker counts as ready, and how long that may take.

    Args:
        ready: ``"built"`` (default): when its service is built and the ``on_new_worker`` hooks
            have returned; ``"told"``: when the service calls ``ready()``.
        timeout: seconds from its start until then (default ``None``: no limit); the service can
            ask for more with ``extend(seconds)``. A worker that misses it is asked for the
            stacks of its threads, and killed a second later.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is out of its range.
    """

    __slots__ = ("ready", "timeout")
    ready: str
    timeout: float | None

    def __init__(self, ready: str = "built", timeout: float | str | None = None) -> None:
        self._set(
            ready=_values.one_of("Start", "ready", ready, ("built", "told")),
            timeout=None
            if timeout is None
            else _values.seconds("Start", "timeout", timeout, least=0.001),
        )


class Rollout(Frozen):
    """How the workers of a service are replaced: by a reload, a restart, or recycling.

    A reload replaces the workers of a service that has no ``reload()`` of its own.

    Args:
        max_unavailable: how many of the wanted workers may be missing because of it: a number,
            or a percentage such as ``"25%"`` (the default), rounded down and at least 1. It may
            be 0 if ``max_surge`` is not.
        max_surge: how many processes there may be beyond the wanted ones, so that a successor is
            ready before the old worker goes: a number, or a percentage, rounded up. The
            default is 0, because while one surges two live workers have the same
            ``worker_id``, which breaks programs that partition by it.
        min_ready: seconds that a new worker must have been ready before it counts (default 0).
        progress_deadline: seconds without progress after which a reload has failed (default
            600): it is reported, what still runs old is kept, and the next reload tries again.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is out of its range, or nothing could ever be replaced.
    """

    __slots__ = ("max_unavailable", "max_surge", "min_ready", "progress_deadline")  # noqa: RUF023
    max_unavailable: int | str
    max_surge: int | str
    min_ready: float
    progress_deadline: float

    def __init__(
        self,
        max_unavailable: int | str = "25%",
        max_surge: int | str = 0,
        min_ready: float | str = 0.0,
        progress_deadline: float | str = 600.0,
    ) -> None:
        surge = _values.share("Rollout", "max_surge", max_surge, least=0)
        none = surge in {0, "0%"}
        self._set(
            max_unavailable=_values.share(
                "Rollout", "max_unavailable", max_unavailable, least=1 if none else 0
            ),
            max_surge=surge,
            min_ready=_values.seconds("Rollout", "min_ready", min_ready),
            progress_deadline=_values.seconds(
                "Rollout", "progress_deadline", progress_deadline, least=0.001
            ),
        )
        if self.progress_deadline <= self.min_ready:
            raise ValueError(
                f"Rollout: 'progress_deadline' ({progress_deadline!r}) is not longer than "
                f"'min_ready' ({min_ready!r})"
            )

    def allowed(self, wanted: int) -> int:
        """Return how many of ``wanted`` workers may be unavailable at a time."""
        percent = _values.percentage(self.max_unavailable)
        if percent is None:
            return int(self.max_unavailable)
        return max(1, wanted * percent // 100) if percent else 0

    def surge(self, wanted: int) -> int:
        """Return how many processes there may be beyond ``wanted``."""
        percent = _values.percentage(self.max_surge)
        return int(self.max_surge) if percent is None else -(-wanted * percent // 100)


class Recycle(Frozen):
    """When a healthy worker is replaced, because it has grown or grown old.

    Replacements keep to the same bounds as a reload's: see :class:`Rollout`.

    Args:
        memory: bytes of private memory (what the kernel counts as private in
            ``/proc/pid/smaps_rollup``, not what is shared with the master) above which a worker
            is replaced (default ``None``: no limit).
        lifetime: seconds as a ready worker after which it is replaced (default ``None``).
        jitter: the part of the lifetime, from 0 to 1, that chance may take away, so that
            workers do not recycle together (default 0.1).
        min_life: seconds that a ready worker is left alone in any case (default 60), so that a
            limit that is too low does not become a storm.
        every: seconds between two looks at a worker's memory (default 30).

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is out of its range, or ``lifetime`` is below ``min_life``.
    """

    __slots__ = ("memory", "lifetime", "jitter", "min_life", "every")  # noqa: RUF023 - their order
    memory: int | None
    lifetime: float | None
    jitter: float
    min_life: float
    every: float

    def __init__(
        self,
        memory: int | str | None = None,
        lifetime: float | str | None = None,
        jitter: float = 0.1,
        min_life: float | str = 60.0,
        every: float | str = 30.0,
    ) -> None:
        self._set(
            memory=None if memory is None else _values.size("Recycle", "memory", memory),
            lifetime=None
            if lifetime is None
            else _values.seconds("Recycle", "lifetime", lifetime, least=0.001),
            jitter=_part("Recycle", jitter),
            min_life=_values.seconds("Recycle", "min_life", min_life),
            every=_values.seconds("Recycle", "every", every, least=0.01),
        )
        if self.lifetime is not None and self.lifetime < self.min_life:
            raise ValueError(
                f"Recycle: 'lifetime' ({lifetime!r}) is below 'min_life' ({min_life!r})"
            )


class Policy(Frozen):
    """Everything that can be chosen about how a service is kept alive.

    Args:
        restart: which ends of a worker are followed by a new one: ``"always"`` (default),
            ``"on-failure"`` or ``"never"``. Ends that the manager itself has asked for, by a
            reload for example, always are.
        success: exit statuses that are no failure, minus the number of a signal included
            (default 0).
        no_retry: exit statuses after which the slot is left empty until SIGHUP,
            ``reconfigure()`` or ``restart()``, whatever ``restart`` says (default 78, which is
            ``EX_CONFIG`` of ``sysexits.h``: a configuration error).
        significant: when the service is done, because each of its workers has ended for good,
            the manager stops: with exit status 0 if all of them were successful, else 1
            (default false).
        backoff: how long a slot waits after repeated deaths.
        intensity: how many failures are too many (default ``None``: never).
        start: when a worker is ready, and how long that may take.
        watchdog: seconds without a ``heartbeat()`` of a ready worker after which it is asked
            for the stacks of its threads, and killed a second later (default ``None``: none).
        rollout: how workers are replaced.
        recycle: when a healthy worker is replaced (default ``None``: never).
        run_as: what the workers run as: user, limits, directory and so on (default ``None``:
            what the master runs as).

    Raises:
        TypeError: a part has the wrong type.
        ValueError: a value is out of its range.
    """

    __slots__ = (  # noqa: RUF023 - their order
        "restart",
        "success",
        "no_retry",
        "significant",
        "backoff",
        "intensity",
        "start",
        "watchdog",
        "rollout",
        "recycle",
        "run_as",
    )
    restart: str
    success: tuple[int, ...]
    no_retry: tuple[int, ...]
    significant: bool
    backoff: Backoff
    intensity: Intensity | None
    start: Start
    watchdog: float | None
    rollout: Rollout
    recycle: Recycle | None
    run_as: RunAs | None

    def __init__(
        self,
        *,
        restart: str = "always",
        success: Any = 0,
        no_retry: Any = 78,
        significant: bool = False,
        backoff: Backoff | None = None,
        intensity: Intensity | None = None,
        start: Start | None = None,
        watchdog: float | str | None = None,
        rollout: Rollout | None = None,
        recycle: Recycle | None = None,
        run_as: RunAs | None = None,
    ) -> None:
        self._set(
            restart=_values.one_of(
                "Policy", "restart", restart, ("always", "on-failure", "never")
            ),
            success=_values.statuses("Policy", "success", success),
            no_retry=_values.statuses("Policy", "no_retry", no_retry),
            significant=_values.flag("Policy", "significant", significant),
            backoff=_part_of(Backoff, "backoff", backoff) or Backoff(),
            intensity=_part_of(Intensity, "intensity", intensity),
            start=_part_of(Start, "start", start) or Start(),
            watchdog=None
            if watchdog is None
            else _values.seconds("Policy", "watchdog", watchdog, least=0.01),
            rollout=_part_of(Rollout, "rollout", rollout) or Rollout(),
            recycle=_part_of(Recycle, "recycle", recycle),
            run_as=_part_of(RunAs, "run_as", run_as),
        )
        both = set(self.success) & set(self.no_retry)
        if both:
            raise ValueError(f"Policy: exit status {min(both)} is in 'success' and in 'no_retry'")


def _part(owner: str, value: Any) -> float:
    number = _values.number(owner, "jitter", value)
    if number > 1:
        raise ValueError(f"{owner}: 'jitter' must be from 0 to 1, not: {value!r}")
    return number


def _part_of(kind: type, name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"Policy: {name!r} must be {article} {kind.__name__}, not: {value!r}")
    return value
