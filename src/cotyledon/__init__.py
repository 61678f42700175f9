"""A framework for long-running services: one small master keeps the workers alive.

Subclass :class:`Service`, hand it to a :class:`ServiceManager` with a number of workers, and call
:meth:`ServiceManager.run`.
"""

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
]
