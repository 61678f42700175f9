import eventlet

eventlet.monkey_patch()

import os
import threading

from oslo_config import cfg
from oslo_service import service

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("task", default="nothing")])


class Worker(service.Service):
    def __init__(self):
        super().__init__()
        self.stopping = threading.Event()

    def start(self):
        self.tg.add_thread(self.work)

    def work(self):
        print(f"{os.getpid()} works on {CONF.task}", flush=True)
        self.stopping.wait()
        print(f"{os.getpid()} has finished", flush=True)

    def stop(self, graceful=False):
        self.stopping.set()
        super().stop(graceful=True)


if __name__ == "__main__":
    CONF(project="shop")
    launcher = service.launch(CONF, Worker(), workers=3)
    launcher.wait()
