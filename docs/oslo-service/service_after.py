import os
import threading

from oslo_config import cfg

import cotyledon
from cotyledon import oslo_config_glue

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("task", default="nothing")])


class Worker(cotyledon.Service):
    def __init__(self, worker_id):
        super().__init__(worker_id)
        self.stopping = threading.Event()
        self.finished = threading.Event()

    def run(self):
        print(f"{os.getpid()} works on {CONF.task}", flush=True)
        self.stopping.wait()
        print(f"{os.getpid()} has finished", flush=True)
        self.finished.set()

    def terminate(self):
        self.stopping.set()
        self.finished.wait()


if __name__ == "__main__":
    CONF(project="shop")
    manager = cotyledon.ServiceManager()
    oslo_config_glue.setup(manager, CONF)
    manager.add(Worker, workers=3)
    manager.run()
