"""What the workers of a service run as.

Responsible for the value that users give and for its validation, as far as that needs no look at
the machine. Never applies anything: the worker does, when it starts.
"""

from collections.abc import Iterable
from typing import Any

from cotyledon import _values
from cotyledon._values import Frozen


class RunAs(Frozen):
    """What the workers of a service run as; ``None`` leaves what the master has.

    It is applied in the worker, before the service is built. What cannot be applied ends the
    worker with status 1 and a line in the log that says what and why.

    Args:
        user: a name or a number. The worker's ``USER``, ``LOGNAME`` and ``HOME`` follow it.
        group: a name or a number (default: the user's own group, if a user is given).
        groups: supplementary groups, names or numbers (default: those of the user, if a
            user is given).
        umask: from 0 to 0o777.
        directory: the working directory.
        environment: variables to set; a value of ``None`` removes one.
        nice: the nice value, from -20 to 19.
        limits: resource limits by the names of :mod:`resource` without ``RLIMIT_``, in any case:
            ``{"nofile": 4096, "core": (0, 0), "as": "2G"}``; one value for both, or a pair
            of the soft and the hard limit; -1 for no limit.
        cpus: numbers of the CPUs that the worker may use.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is out of its range, or there is no such limit.
    """

    __slots__ = (  # noqa: RUF023 - their order
        "user",
        "group",
        "groups",
        "umask",
        "directory",
        "environment",
        "nice",
        "limits",
        "cpus",
    )
    user: str | int | None
    group: str | int | None
    groups: tuple[str | int, ...] | None
    umask: int | None
    directory: str | None
    environment: tuple[tuple[str, str | None], ...]
    nice: int | None
    limits: tuple[tuple[str, tuple[int, int]], ...]
    cpus: tuple[int, ...] | None

    def __init__(
        self,
        user: str | int | None = None,
        group: str | int | None = None,
        groups: Iterable[str | int] | None = None,
        umask: int | None = None,
        directory: Any = None,
        environment: Any = (),
        nice: int | None = None,
        limits: Any = (),
        cpus: Iterable[int] | None = None,
    ) -> None:
        self._set(
            user=_account("user", user),
            group=_account("group", group),
            groups=None if groups is None else tuple(_account("groups", g) for g in groups),
            umask=_umask(umask),
            directory=None if directory is None else _directory(directory),
            environment=_environment(environment),
            nice=None if nice is None else _nice(nice),
            limits=_limits(limits),
            cpus=None if cpus is None else _cpus(cpus),
        )


def _account(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, str) and value):
        return value
    if isinstance(value, str):
        raise ValueError(f"RunAs: {name!r} must be a name or a number, not: {value!r}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"RunAs: {name!r} must be a name or a number, not: {value!r}")
    return _values.count("RunAs", name, value, least=0)


def _directory(value: Any) -> str:
    path = value.__fspath__() if hasattr(value, "__fspath__") else value
    if not isinstance(path, str):
        raise TypeError(f"RunAs: 'directory' must be a path, not: {value!r}")
    if not path or "\0" in path:
        raise ValueError(f"RunAs: 'directory' must be a path, not: {value!r}")
    return path


def _umask(value: Any) -> int | None:
    if value is not None and _values.count("RunAs", "umask", value, least=0) > 0o777:
        raise ValueError(f"RunAs: 'umask' must be from 0 to 0o777, not: {value:#o}")
    return value  # type: ignore[no-any-return]


def _nice(value: Any) -> int:
    if _values.count("RunAs", "nice", value, least=-20) > 19:
        raise ValueError(f"RunAs: 'nice' must be from -20 to 19, not: {value!r}")
    return int(value)


def _environment(value: Any) -> tuple[tuple[str, str | None], ...]:
    found = dict(value)
    for name, text in found.items():
        if not isinstance(name, str) or not (text is None or isinstance(text, str)):
            raise TypeError(
                f"RunAs: 'environment' must be names with strings or None, not: {name!r}: {text!r}"
            )
        if not name or "=" in name or "\0" in name + (text or ""):
            raise ValueError(f"RunAs: 'environment' cannot have the variable {name!r}: {text!r}")
    return tuple(found.items())


def _limits(value: Any) -> tuple[tuple[str, tuple[int, int]], ...]:
    import resource  # here, because few services have limits

    found = []
    for name, bounds in dict(value).items():
        known = isinstance(name, str) and hasattr(resource, f"RLIMIT_{name.upper()}")
        if not known:
            raise ValueError(f"RunAs: 'limits' has no such limit: {name!r}")
        pair = tuple(bounds) if isinstance(bounds, (tuple, list)) else (bounds, bounds)
        if len(pair) != 2:
            raise ValueError(f"RunAs: the limit {name!r} must be one value or two: {bounds!r}")
        soft, hard = (_limit(name, bound) for bound in pair)
        if hard != -1 and (soft == -1 or soft > hard):
            raise ValueError(f"RunAs: the soft limit {name!r} is above the hard one: {bounds!r}")
        found.append((name.lower(), (soft, hard)))
    return tuple(found)


def _limit(name: str, value: Any) -> int:
    if value == -1 or (value == 0 and value is not False):
        return int(value)
    return _values.size("RunAs", f"limits[{name!r}]", value)


def _cpus(value: Any) -> tuple[int, ...]:
    found = tuple(sorted({_values.count("RunAs", "cpus", cpu, least=0) for cpu in value}))
    if not found:
        raise ValueError("RunAs: 'cpus' must name one CPU at least")
    return found
