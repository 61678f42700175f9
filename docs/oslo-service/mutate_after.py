import os

from oslo_config import cfg

import cotyledon
from cotyledon import oslo_config_glue

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("task", default="nothing", mutable=True)])


class Worker(cotyledon.Service):
    def run(self):
        print(f"{os.getpid()} works on {CONF.task}", flush=True)

    def reload(self):
        print(f"{os.getpid()} goes on with {CONF.task}", flush=True)


if __name__ == "__main__":
    CONF(project="shop")
    manager = cotyledon.ServiceManager()
    oslo_config_glue.setup(manager, CONF, reload_method="mutate")
    manager.add(Worker, workers=2)
    manager.run()
