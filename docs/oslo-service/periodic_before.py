import eventlet

eventlet.monkey_patch()

import os

from oslo_config import cfg
from oslo_service import periodic_task, service


class Tasks(periodic_task.PeriodicTasks):
    @periodic_task.periodic_task(spacing=0.3, run_immediately=True)
    def collect(self, context):
        print(f"{os.getpid()} collects", flush=True)

    @periodic_task.periodic_task(spacing=0.5)
    def fail(self, context):
        raise ValueError("nothing there")

    @periodic_task.periodic_task(spacing=-1)
    def disabled(self, context):
        print("never", flush=True)


class Collector(service.Service):
    def __init__(self):
        super().__init__()
        self.tasks = Tasks(cfg.CONF)

    def start(self):
        self.tg.add_dynamic_timer_args(self.tasks.run_periodic_tasks, args=[None])


if __name__ == "__main__":
    cfg.CONF(project="shop")
    launcher = service.launch(cfg.CONF, Collector(), workers=2)
    launcher.wait()
