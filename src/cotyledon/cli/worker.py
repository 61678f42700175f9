"""What a worker does under the command before its service is built.

Responsible for the environment, the name in front of log lines, and for importing the service in
a process that was spawned, after that. Never imports click, rich or msgspec, and pickles without
the service: that is found again by its name.
"""

import os
from typing import Any

from cotyledon.cli import logs


class Prepared:
    """A factory that makes a service after the worker was prepared.

    Args:
        target: ``module:name``, imported again where this was sent to.
        service: what that is, here.
        name: the service's name in status and logs (default: its own).
        environment: variables to set; ``None`` removes one.
        settings: of the log lines.
    """

    def __init__(
        self,
        target: str,
        service: Any,
        name: str | None = None,
        environment: dict[str, str | None] | None = None,
        settings: logs.Settings = logs.Settings(),  # noqa: B008 - immutable
    ) -> None:
        self.target = target
        self.name = name
        self.environment = dict(environment or {})
        self.settings = settings
        self.__wrapped__ = service
        self.__name__ = name or _name_of(service)

    @property
    def policy(self) -> Any:
        """The service's own policy, which :meth:`ServiceManager.add` looks for."""
        return getattr(self.__wrapped__, "policy", None)

    def __call__(self, worker_id: int, *args: Any, **kwargs: Any) -> Any:
        """Build the service."""
        for variable, value in self.environment.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        logs.name_worker(f"{self.__name__}/{worker_id}", self.settings)
        if self.__wrapped__ is None:
            from cotyledon.cli.target import resolve

            self.__wrapped__ = resolve(self.target).value
        service = self.__wrapped__(worker_id, *args, **kwargs)
        if self.name is not None:
            service.name = self.name
        elif getattr(service, "name", None):
            logs.WHO.worker = f"{service.name}/{worker_id}"
        return service

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "__wrapped__": None}

    def __repr__(self) -> str:
        return self.target


def _name_of(service: Any) -> str:
    name = getattr(service, "name", None) if isinstance(service, type) else None
    inner = getattr(service, "func", service)  # functools.partial
    return str(name or getattr(inner, "__name__", type(inner).__name__))


def name_after(settings: logs.Settings, service_id: Any, worker_id: int, service: Any) -> None:
    """Name a worker of a manager that the program has made: an ``on_new_worker`` hook.

    Args:
        settings: of the log lines.
        service_id: of the service.
        worker_id: of the worker.
        service: that was built.
    """
    name = getattr(service, "name", None) or type(service).__name__
    logs.name_worker(f"{name}/{worker_id}", settings)
