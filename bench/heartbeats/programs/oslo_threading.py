"""The subject: oslo.service's threading backend, on cotyledon 2.2.0; threads beat and work."""

from oslo_config import cfg
from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)

from oslo_service import service  # noqa: E402

from bench.heartbeats import inside  # noqa: E402

task = inside.told()


class Service(service.Service):  # type: ignore[misc]
    def start(self) -> None:
        inside.record(task)
        self.tg.add_thread(inside.beat, inside.join(task))
        inside.serve(task)
        self.tg.add_thread(inside.work, task)


cfg.CONF([], project="heartbeats", default_config_files=[])
launcher = service.ProcessLauncher(cfg.CONF)
launcher.launch_service(Service())
launcher.wait()
