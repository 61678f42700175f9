import os
import threading

from oslo_config import cfg

import cotyledon
from cotyledon import oslo_config_glue


class Waiting(cotyledon.Service):
    def __init__(self, worker_id, task):
        super().__init__(worker_id)
        self.task = task
        self.stopping = threading.Event()

    def run(self):
        print(f"{os.getpid()} has the task: {self.task}", flush=True)
        self.stopping.wait()

    def terminate(self):
        self.stopping.set()


if __name__ == "__main__":
    cfg.CONF(project="shop")
    manager = cotyledon.ServiceManager()
    oslo_config_glue.setup(manager, cfg.CONF)
    manager.add(Waiting, workers=2, args=("serve",))
    manager.add(Waiting, workers=1, args=("collect",))
    manager.run()
