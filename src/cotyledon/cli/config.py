"""A configuration file, read and checked as a whole.

Responsible for everything that can be wrong with it, before anything is done: keys, values,
targets that cannot be imported, contradictions. Never changes a manager.
"""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from cotyledon import Policy
from cotyledon.cli import schema
from cotyledon.cli.faults import Exit, Fault
from cotyledon.cli.schema import shown, wrong
from cotyledon.cli.target import resolve
from cotyledon.cli.words import close_to
from cotyledon.types import MOST_WORKERS


class ServiceConfig(NamedTuple):
    """One service of a file."""

    name: str
    target: str
    service: Any
    workers: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    after: tuple[str, ...]
    environment: dict[str, str | None]
    policy: Policy


class Config(NamedTuple):
    """A file that is right."""

    path: str
    name: str
    control: bool | str
    graceful_timeout: float
    start_method: str
    log_format: str
    log_level: str
    services: dict[str, ServiceConfig]
    """In an order in which they can be added."""


def read(path: str) -> Config:
    """Read a file.

    Raises:
        Fault: anything is wrong with it; one line that says what, and where.
    """
    short = os.path.relpath(path)
    shown_path = path if short.startswith("..") else short
    document = schema.parse(path, shown_path)
    file = schema.shaped(shown_path, "", document, schema.FileShape)
    shared = schema.environment_of(shown_path, "environment", file.environment)
    grace = seconds(shown_path, "graceful_timeout", file.graceful_timeout)
    name = file.name if file.name is not None else default_name(path)
    if not is_name(name):
        text = f"expected letters, digits and any of . _ - only, got {shown(name)}"
        raise wrong(shown_path, "name", text)
    if file.control == "":
        raise wrong(shown_path, "control", 'expected true, false or a path, got ""')
    if not file.services:
        raise wrong(shown_path, "services", "there is none, expected at least one")
    services = {key: _service(shown_path, key, value, shared) for key, value in _tables(file)}
    return Config(
        os.path.abspath(path),
        name,
        file.control,
        grace,
        file.start_method,
        file.logging.format,
        file.logging.level,
        _in_order(shown_path, services),
    )


def default_name(target: str) -> str:
    """Return a manager's name from its target: the file's, or that of the last module."""
    base = os.path.basename(target).removesuffix(".toml").partition(":")[0].rpartition(".")[2]
    return re.sub(r"[^A-Za-z0-9_.-]", "-", base).lstrip(".-") or "cotyledon"


def is_name(text: str) -> bool:
    """Whether a manager can have this name."""
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", text) is not None


def seconds(path: str, where: str, value: Any) -> float:
    """Return a duration of at least 0.

    Raises:
        Fault: it is none.
    """
    from cotyledon import Start

    if value == 0 and not isinstance(value, bool):
        return 0.0
    try:
        return float(Start(timeout=value).timeout or 0)
    except (TypeError, ValueError):
        text = f'expected seconds, or a string such as "10m", got {shown(value)}'
        raise wrong(path, where, text) from None


def _tables(file: Any) -> list[tuple[str, Any]]:
    return list(file.services.items())


def _service(path: str, name: str, value: Any, shared: dict[str, str | None]) -> ServiceConfig:
    where = f"services.{name}"
    if not is_name(name):
        text = "the name of a service has letters, digits and any of . _ - only"
        raise wrong(path, where, text)
    table = schema.shaped(path, where, value, schema.ServiceShape)
    if table.workers < 0:
        raise wrong(path, f"{where}.workers", f"expected at least 0, got {table.workers}")
    if table.workers > MOST_WORKERS:
        text = f"expected at most {MOST_WORKERS}, got {table.workers}"
        raise wrong(path, f"{where}.workers", text)
    service = _located(path, f"{where}.target", lambda: _target(table.target))
    default = getattr(service, "policy", None)
    policy = default if isinstance(default, Policy) else Policy()
    if table.policy is not None:
        policy = schema.policy_of(path, f"{where}.policy", table.policy, policy)
    own = schema.environment_of(path, f"{where}.environment", table.environment)
    return ServiceConfig(
        name,
        table.target,
        service,
        table.workers,
        tuple(table.args),
        table.kwargs,
        tuple(dict.fromkeys(table.after)),
        {**shared, **own},
        policy,
    )


def _target(text: str) -> Any:
    found = resolve(text)
    if found.kind not in ("service", "factory"):
        raise Fault(
            Exit.USAGE,
            f"expected a Service, an AsyncService or a factory of them (a function that takes "
            f"the worker's id), got {text}, which makes a ServiceManager",
        )
    return found.value


def _located(path: str, where: str, do: Callable[[], Any]) -> Any:
    try:
        return do()
    except Fault as fault:
        raise wrong(path, where, fault.text) from None


def _in_order(path: str, services: dict[str, ServiceConfig]) -> dict[str, ServiceConfig]:
    """Return the services so that each one comes behind those that it is after."""
    done: dict[str, ServiceConfig] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in done:
            return
        where = f"services.{trail[-1] if trail else name}.after"
        if name not in services:
            hint = close_to(name, list(services))
            raise wrong(path, where, f"there is no service {name!r}{hint}")
        if name in trail:
            circle = " after ".join((*trail[trail.index(name) :], name))
            raise wrong(path, where, f"a circle: {circle}")
        for other in services[name].after:
            visit(other, (*trail, name))
        done[name] = services[name]

    for name in services:
        visit(name, ())
    return done
