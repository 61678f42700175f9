"""A configuration file at work: what it says is what the manager has.

Responsible for the first time, and for the difference when the file is read again on SIGHUP. Never
does half of it: a file that is wrong changes nothing.
"""

import logging
from typing import Any

from cotyledon.cli import logs
from cotyledon.cli.config import Config, ServiceConfig, read
from cotyledon.cli.faults import Fault
from cotyledon.cli.worker import Prepared
from cotyledon.types import ReloadRefused

LOG = logging.getLogger("cotyledon")


class Applied:
    """The services of a manager that come from a file.

    Args:
        manager: whose services they are.
        config: the file as it was read.
        settings: of the log lines.
        keep_grace: leave the graceful timeout alone: the command line has decided.
        level: the level of the log lines, if the command line has decided.
    """

    def __init__(
        self,
        manager: Any,
        config: Config,
        settings: logs.Settings,
        *,
        keep_grace: bool = False,
        level: str | None = None,
    ) -> None:
        self._manager = manager
        self._config = config
        self._settings = settings
        self._keep_grace = keep_grace
        self._level = level
        self._ids: dict[str, Any] = {}
        self._paused: dict[str, Any] = {}  # removed from the file, and not from the manager
        for service in config.services.values():
            self._add(service)

    def read_again(self) -> None:
        """Read the file again and apply the difference: an ``on_reload`` hook.

        Raises:
            ReloadRefused: the file is wrong, and nothing was changed.
        """
        old = self._config
        LOG.info("reading %s again", old.path)
        try:
            new = read(old.path)
        except Fault as fault:
            text = f"{fault.text}; everything stays as it was"
            raise ReloadRefused(text) from None
        changes = self._change_manager(old, new)
        for name in reversed(old.services):
            if name not in new.services:
                changes.append(self._remove(name))
        for name, service in new.services.items():
            before = old.services.get(name)
            if before is None:
                changes.append(self._add(service))
            elif before != service:
                changes += self._change(before, service)
        self._config = new
        LOG.info("%s read again: %s", new.path, "; ".join(changes) or "nothing has changed")

    def _prepared(self, service: ServiceConfig) -> Prepared:
        return Prepared(
            service.target, service.service, service.name, service.environment, self._settings
        )

    def _remove(self, name: str) -> str:
        known = self._ids.pop(name)
        try:
            self._manager.remove(known)
        except ValueError:
            # A service of this manager was added after it, and refers to it for ever.
            self._paused[name] = known
            self._manager.reconfigure(known, 0)
            return f"{name} paused until the next start: others came after it"
        return f"{name} removed"

    def _add(self, service: ServiceConfig) -> str:
        known = self._paused.pop(service.name, None)
        if known is not None:
            self._ids[service.name] = known
            self._manager.reconfigure(
                known,
                service.workers,
                service=self._prepared(service),
                args=service.args,
                kwargs=service.kwargs,
                policy=service.policy,
            )
            later = "; its 'after' holds from the next start" if service.after else ""
            return f"{service.name} goes on after its pause{later}"
        self._ids[service.name] = self._manager.add(
            self._prepared(service),
            max(1, service.workers),
            service.args,
            service.kwargs,
            policy=service.policy,
            after=[self._ids[name] for name in service.after],
        )
        if service.workers == 0:  # paused
            self._manager.reconfigure(self._ids[service.name], 0)
        return f"{service.name} added"

    def _change(self, old: ServiceConfig, new: ServiceConfig) -> list[str]:
        known = self._ids[new.name]
        given: dict[str, Any] = {}
        told = []
        if old.workers != new.workers:
            given["workers"] = new.workers
            told.append(f"{new.name} has {new.workers} workers")
        if old.policy != new.policy:
            given["policy"] = new.policy
            told.append(f"{new.name} has another policy")
        replaced = [
            name
            for name in ("target", "args", "kwargs", "environment")
            if getattr(old, name) != getattr(new, name)
        ]
        if old.policy.run_as != new.policy.run_as:
            replaced.append("run_as")
        if replaced:
            given["service"] = self._prepared(new)
            given["args"] = new.args
            given["kwargs"] = new.kwargs
            told.append(f"{new.name} is replaced for its {', '.join(replaced)}")
        if given:
            self._manager.reconfigure(known, **given)
        if replaced:
            self._manager.restart(known)
        if old.after != new.after:
            told.append(f"'after' of {new.name} holds from the next start of the manager")
        return told

    def _change_manager(self, old: Config, new: Config) -> list[str]:
        told = []
        if old.graceful_timeout != new.graceful_timeout and not self._keep_grace:
            self._manager.graceful_shutdown_timeout = new.graceful_timeout
            told.append(f"graceful_timeout is {new.graceful_timeout:g} s")
        if old.log_level != new.log_level and self._level is None:
            self._settings = self._settings._replace(level=new.log_level)
            logs.set_up(self._settings)
            told.append(f"logging.level is {new.log_level}")
        for name in ("name", "control", "start_method", "log_format"):
            if getattr(old, name) != getattr(new, name):
                key = name.replace("log_", "logging.")
                told.append(f"'{key}' holds from the next start of the manager")
        return told
