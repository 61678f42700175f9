import os
import threading

from oslo_config import cfg
from oslo_service import backend

import cotyledon
from cotyledon import oslo_config_glue

backend.init_backend(backend.BackendType.THREADING)

from oslo_service import service


class Worker(service.Service):
    def __init__(self):
        super().__init__()
        self.stopping = threading.Event()

    def start(self):
        print(f"{os.getpid()} starts", flush=True)
        self.tg.add_thread(self.stopping.wait)

    def reset(self):
        print(f"{os.getpid()} is reset", flush=True)

    def stop(self, graceful=False):
        self.stopping.set()
        super().stop(graceful=True)
        print(f"{os.getpid()} has stopped", flush=True)


class Adapter(cotyledon.Service):
    def __init__(self, worker_id, make):
        super().__init__(worker_id)
        self.service = make()

    def run(self):
        self.service.start()
        self.service.wait()

    def reload(self):
        self.service.reset()

    def terminate(self):
        self.service.stop()


if __name__ == "__main__":
    cfg.CONF(project="shop")
    manager = cotyledon.ServiceManager()
    oslo_config_glue.setup(manager, cfg.CONF, reload_method="mutate")
    manager.add(Adapter, workers=2, args=(Worker,))
    manager.run()
