import eventlet

eventlet.monkey_patch()

import os
import queue

from oslo_config import cfg
from oslo_service import service

orders = queue.Queue()


class Shop(service.Service):
    def start(self):
        self.tg.add_timer(0.2, self.order)

    def order(self):
        orders.put(f"an order of {os.getpid()}")


class Mailer(service.Service):
    def start(self):
        self.tg.add_thread(self.work)

    def work(self):
        while True:
            print(f"{os.getpid()} confirms {orders.get()}", flush=True)


if __name__ == "__main__":
    cfg.CONF(project="shop")
    launcher = service.ServiceLauncher(cfg.CONF)
    launcher.launch_service(Shop())
    launcher.launch_service(Mailer())
    launcher.wait()
