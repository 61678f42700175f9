import eventlet

eventlet.monkey_patch()

import os
import threading

from oslo_config import cfg
from oslo_service import service


class Waiting(service.Service):
    def __init__(self, task):
        super().__init__()
        self.task = task
        self.stopping = threading.Event()

    def start(self):
        self.tg.add_thread(self.work)

    def work(self):
        print(f"{os.getpid()} has the task: {self.task}", flush=True)
        self.stopping.wait()

    def stop(self, graceful=False):
        self.stopping.set()
        super().stop(graceful=True)


if __name__ == "__main__":
    cfg.CONF(project="shop")
    launcher = service.ProcessLauncher(cfg.CONF)
    launcher.launch_service(Waiting("serve"), workers=2)
    launcher.launch_service(Waiting("collect"), workers=1)
    launcher.wait()
