"""A framework for long-running services: one small master keeps the workers alive.

Subclass :class:`Service`, or :class:`AsyncService` for an event loop, hand it to a
:class:`ServiceManager` with a number of workers, and call :meth:`ServiceManager.run`.

The public names are loaded when they are first used, so that a module which only defines services
does not load the manager.
"""

TYPE_CHECKING = False  # type checkers take it for true; importing it from typing costs more
if TYPE_CHECKING:
    from cotyledon import notices, types
    from cotyledon.async_service import AsyncService
    from cotyledon.manager import ServiceManager
    from cotyledon.policy import Backoff, Intensity, Policy, Recycle, Rollout, Start
    from cotyledon.run_as import RunAs
    from cotyledon.service import Service
    from cotyledon.status import Death, ManagerStatus, ServiceStatus, Usage, WorkerStatus

__all__ = [
    "AsyncService",
    "Backoff",
    "Death",
    "Intensity",
    "ManagerStatus",
    "Policy",
    "Recycle",
    "Rollout",
    "RunAs",
    "Service",
    "ServiceManager",
    "ServiceStatus",
    "Start",
    "Usage",
    "WorkerStatus",
    "notices",
    "types",
]

_HOMES = {
    "AsyncService": "async_service",
    "Backoff": "policy",
    "Death": "status",
    "Intensity": "policy",
    "ManagerStatus": "status",
    "Policy": "policy",
    "Recycle": "policy",
    "Rollout": "policy",
    "RunAs": "run_as",
    "Service": "service",
    "ServiceManager": "manager",
    "ServiceStatus": "status",
    "Start": "policy",
    "Usage": "status",
    "WorkerStatus": "status",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in {"notices", "types"}:
        return import_module(f"cotyledon.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'cotyledon' has no attribute {name!r}")
    value = getattr(import_module(f"cotyledon.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
