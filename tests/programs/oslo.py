"""Programs that use oslo.config."""

import os
from typing import Any

from oslo_config import cfg

import cotyledon
from cotyledon import oslo_config_glue
from tests.programs.support import Talker, event, main, run

CONF: Any = cfg.ConfigOpts()
OPTIONS = [cfg.StrOpt("color", default="none", mutable=True), cfg.StrOpt("fixed", default="none")]


def load(**values: Any) -> None:
    """Read a configuration file that was made of these values."""
    path = os.path.join(os.environ["PROGRAM_DIR"], "app.conf")
    with open(path, "w") as file:
        file.write("[DEFAULT]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()))
    CONF.register_opts(OPTIONS)
    CONF(["--config-file", path], project="app")


class Restarter(Talker):
    """Has no reload() of its own."""

    def run(self) -> None:
        self.say("run", color=CONF.color)


class Reloader(Restarter):
    """Has one."""

    def reload(self) -> None:
        self.say("reload", color=CONF.color, fixed=CONF.fixed)


class Slow(Talker):
    """Does not end by itself."""

    def terminate(self) -> None:
        super().terminate()
        import time

        while True:
            time.sleep(1000)


def linked(method: str) -> None:
    """A service with a reload() of its own."""
    load(color="red", fixed="red")
    manager = cotyledon.ServiceManager()
    oslo_config_glue.setup(manager, CONF, reload_method=method)
    manager.register_hooks(on_reload=lambda: event("hook", color=CONF.color))
    manager.add(Reloader)
    run(manager)


def restarting() -> None:
    """A service without."""
    load(color="red")
    manager = cotyledon.ServiceManager()
    oslo_config_glue.setup(manager, CONF)
    manager.add(Restarter)
    run(manager)


def bounded(timeout: str) -> None:
    """The graceful timeout comes from the configuration."""
    load(graceful_shutdown_timeout=timeout)
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=1000)
    oslo_config_glue.setup(manager, CONF)
    manager.register_hooks(
        on_reload=lambda: event("hook", timeout=manager.graceful_shutdown_timeout)
    )
    manager.add(Slow)
    run(manager)


if __name__ == "__main__":
    main(globals())
