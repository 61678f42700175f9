"""What the manager is given, checked and read.

Responsible for the texts of errors at the call, and for what a service's class tells before there
is an instance. Never holds state.
"""

import math
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cotyledon._posix.launch import check_pickles
from cotyledon._values import LONGEST
from cotyledon.policy import Policy
from cotyledon.service import BaseService, overrides
from cotyledon.types import MOST_WORKERS, ServiceId

SECOND = 1_000_000_000


class Spec(NamedTuple):
    """What :meth:`cotyledon.ServiceManager.add` was given."""

    id: ServiceId
    service: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str
    policy: Policy
    after: tuple[int, ...] = ()  # numbers of services
    removed: bool = False


def nanoseconds(name: str, value: Any) -> int:
    """Return a number of seconds in nanoseconds; raise what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name!r} must be a number of seconds, not: {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name!r} must be a number of seconds >= 0, not: {value!r}")
    return round(min(value, LONGEST) * SECOND)


def chance() -> float:
    """Return a number in [0, 1)."""
    # For jitter alone; importing random would cost more than all the rest of the core.
    return int.from_bytes(os.urandom(4), "big") / 2**32


def check_context(context: Any) -> Any:
    """Return a multiprocessing context, or raise TypeError."""
    if context is not None and not callable(getattr(context, "get_start_method", None)):
        raise TypeError(
            "'mp_context' must be a multiprocessing context, as multiprocessing.get_context() "
            f"returns it, not: {context!r}"
        )
    return context


def check_workers(workers: Any, least: int) -> int:
    """Return a number of workers, or raise ValueError."""
    if not isinstance(workers, int) or workers < least:
        raise ValueError(
            f"'workers' must be an int >= {least}, not: {workers} ({type(workers).__name__})"
        )
    if workers > MOST_WORKERS:
        # A slip of the finger would take all memory, and the time of the master with it.
        raise ValueError(f"'workers' must be at most {MOST_WORKERS}, not: {workers}")
    return int(workers)


def check_specs(context: Any, specs: Iterable[Spec], hooks: Iterable[Any]) -> None:
    """Make sure that workers can be started by the context's method.

    Args:
        context: the multiprocessing context; ``None``: fork.
        specs: the services.
        hooks: those of new workers.

    Raises:
        TypeError: something does not pickle that has to.
    """
    if context is None or context.get_start_method() == "fork":
        return
    parts: list[tuple[str, Any]] = []
    for spec in specs:
        parts.append((f"the service {spec.name}", spec.service))
        parts.extend((f"args[{i}] of {spec.name}", arg) for i, arg in enumerate(spec.args))
        parts.extend((f"kwargs[{key!r}] of {spec.name}", spec.kwargs[key]) for key in spec.kwargs)
    parts.extend(("the on_new_worker hook", hook) for hook in hooks)
    check_pickles(context, parts)


def name_of(service: Callable[..., Any]) -> str:
    """Return the name of a service before a worker has told it."""
    if isinstance(service, type) and issubclass(service, BaseService):
        return str(service.name or service.__name__)
    inner = getattr(service, "func", service)  # functools.partial
    return str(getattr(inner, "__name__", type(inner).__name__))


def known_of(service: Callable[..., Any]) -> tuple[int | None, bool | None]:
    """Return the graceful timeout and whether it reloads, as far as the class alone tells."""
    service = getattr(service, "__wrapped__", service)  # a factory that only prepares the worker
    if not isinstance(service, type) or not issubclass(service, BaseService):
        return None, None
    seconds = service.graceful_shutdown_timeout
    known = isinstance(seconds, (int, float)) and seconds >= 0 and math.isfinite(seconds)
    return round(min(seconds, LONGEST) * SECOND) if known and seconds is not None else None, (
        overrides(service, "reload")
    )
