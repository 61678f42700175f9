"""The subject: oslo.service's eventlet backend; greenthreads beat, work, and serve."""

import eventlet

eventlet.monkey_patch()

from oslo_config import cfg  # noqa: E402
from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.EVENTLET)

from oslo_service import service  # noqa: E402

from bench.heartbeats import inside  # noqa: E402

task = inside.told()


class Service(service.Service):  # type: ignore[misc]
    def start(self) -> None:
        inside.record(task)
        self.tg.add_thread(inside.beat, inside.join(task))
        self.tg.add_thread(inside.serve, task)
        self.tg.add_thread(inside.work, task)


cfg.CONF([], project="heartbeats", default_config_files=[])
launcher = service.ProcessLauncher(cfg.CONF)
launcher.launch_service(Service())
launcher.wait()
