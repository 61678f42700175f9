"""Which tasks a service has.

Responsible for finding them, naming them, and refusing those that cannot work. Never runs one.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from futurist import periodics

from cotyledon.contrib.futurist._task import ON_ONE_WORKER, Task


def tasks(service: object, more: Iterable[Callable[[], object]]) -> list[Task]:
    """Return the tasks of a service, those that are disabled left out.

    Args:
        service: whose methods are looked at.
        more: further ones.

    Raises:
        TypeError: something is no task.
        ValueError: there is none, or its period is not finite.
    """
    owner = type(service).__name__
    found = [*_methods(service), *_given(owner, more)]
    if not found:
        raise ValueError(
            f"{owner} has no periodic task: decorate a method with futurist.periodics.periodic, "
            "or pass tasks="
        )
    names: dict[str, int] = {}
    return [
        _task(owner, _once(names, name), function)
        for name, function in found
        if function._is_periodic
    ]


def _methods(service: object) -> Iterator[tuple[str, Any]]:
    # Of the class: to look at the service itself would compute its properties.
    kind = type(service)
    for name in dir(kind):
        if periodics.is_periodic(getattr(kind, name, None)):
            yield name, getattr(service, name)


def _given(owner: str, more: Iterable[Callable[[], object]]) -> Iterator[tuple[str, Any]]:
    if callable(more) or not isinstance(more, Iterable):
        raise TypeError(f"{owner}: 'tasks' must be a list of functions, not: {more!r}")
    for function in more:
        if not periodics.is_periodic(function):
            raise TypeError(
                f"{owner}: each of 'tasks' must be decorated with futurist.periodics.periodic, "
                f"which this is not: {function!r}"
            )
        yield getattr(function, "__name__", type(function).__name__), function


def _once(names: dict[str, int], name: str) -> str:
    """Return a name that no other task has: of equal ones, the second gets a number, and so on."""
    names[name] = times = names.get(name, 0) + 1
    return name if times == 1 else _once(names, f"{name}-{times}")


def _task(owner: str, name: str, function: Any) -> Task:
    plain = inspect.unwrap(function)
    if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
        raise TypeError(
            f"{owner}: {name} is a coroutine function, which a thread cannot run: "
            "call asyncio.run() in it, or use cotyledon.AsyncService"
        )
    spacing = function._periodic_spacing
    if not math.isfinite(spacing):
        raise ValueError(f"{owner}: the period of {name} must be finite, not: {spacing!r}")
    return Task(
        name,
        function,
        spacing=float(spacing),
        immediately=bool(function._periodic_run_immediately),
        on_one_worker=bool(getattr(function, ON_ONE_WORKER, False)),
    )
