import eventlet

eventlet.monkey_patch()

import os
import threading

from oslo_config import cfg
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


if __name__ == "__main__":
    cfg.CONF(project="shop")
    launcher = service.launch(cfg.CONF, Worker(), workers=2, restart_method="mutate")
    launcher.wait()
