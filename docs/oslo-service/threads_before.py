import eventlet

eventlet.monkey_patch()

import queue

from oslo_config import cfg
from oslo_service import service


class Shop(service.Service):
    def __init__(self):
        super().__init__(threads=10)
        self.orders = queue.Queue()

    def start(self):
        self.tg.add_timer(0.2, self.order)
        self.tg.add_dynamic_timer(self.count)
        self.tg.add_thread(self.pack, "parcel")

    def order(self):
        self.orders.put("book")

    def count(self):
        print(f"{self.orders.qsize()} orders wait", flush=True)
        return 0.1 if self.orders.qsize() else 0.3

    def pack(self, container):
        for order in iter(self.orders.get, None):
            print(f"a {order} in a {container}", flush=True)
        print("all is packed", flush=True)

    def stop(self, graceful=False):
        self.tg.stop_timers()
        self.orders.put(None)
        super().stop(graceful=True)


if __name__ == "__main__":
    cfg.CONF(project="shop")
    launcher = service.launch(cfg.CONF, Shop(), workers=2)
    launcher.wait()
