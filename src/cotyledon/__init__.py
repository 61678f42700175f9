"""A framework for long-running services: one small master keeps the workers alive.

Subclass :class:`Service`, hand it to a :class:`ServiceManager` with a number of workers, and call
:meth:`ServiceManager.run`.

The public names are loaded when they are first used, so that a module which only defines services
does not load the manager.
"""

TYPE_CHECKING = False  # type checkers take it for true; importing it from typing costs more
if TYPE_CHECKING:
    from cotyledon import types
    from cotyledon.manager import ServiceManager
    from cotyledon.policy import Backoff, Policy, Rollout
    from cotyledon.service import Service
    from cotyledon.status import Death, ManagerStatus, ServiceStatus, WorkerStatus

__all__ = [
    "Backoff",
    "Death",
    "ManagerStatus",
    "Policy",
    "Rollout",
    "Service",
    "ServiceManager",
    "ServiceStatus",
    "WorkerStatus",
    "types",
]

_HOMES = {
    "Backoff": "policy",
    "Death": "status",
    "ManagerStatus": "status",
    "Policy": "policy",
    "Rollout": "policy",
    "Service": "service",
    "ServiceManager": "manager",
    "ServiceStatus": "status",
    "WorkerStatus": "status",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "types":
        return import_module("cotyledon.types")
    if name not in _HOMES:
        raise AttributeError(f"module 'cotyledon' has no attribute {name!r}")
    value = getattr(import_module(f"cotyledon.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
