import eventlet

eventlet.monkey_patch()

import os

from oslo_config import cfg
from oslo_service import service

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("task", default="nothing", mutable=True)])


class Worker(service.Service):
    def start(self):
        print(f"{os.getpid()} works on {CONF.task}", flush=True)

    def reset(self):
        print(f"{os.getpid()} goes on with {CONF.task}", flush=True)


if __name__ == "__main__":
    CONF(project="shop")
    launcher = service.launch(CONF, Worker(), workers=2, restart_method="mutate")
    launcher.wait()
