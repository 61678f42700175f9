import queue
import threading
from concurrent import futures

import cotyledon


class Shop(cotyledon.Service):
    def __init__(self, worker_id):
        super().__init__(worker_id)
        self.orders = queue.Queue()
        self.stopping = threading.Event()
        self.tg = futures.ThreadPoolExecutor(max_workers=10)

    def run(self):
        running = [
            self.tg.submit(self.order),
            self.tg.submit(self.count),
            self.tg.submit(self.pack, "parcel"),
        ]
        for done in futures.as_completed(running):
            done.result()  # what a thread raises ends the worker

    def order(self):
        while not self.stopping.is_set():
            self.orders.put("book")
            self.stopping.wait(0.2)

    def count(self):
        while not self.stopping.is_set():
            print(f"{self.orders.qsize()} orders wait", flush=True)
            self.stopping.wait(0.1 if self.orders.qsize() else 0.3)

    def pack(self, container):
        for order in iter(self.orders.get, None):
            print(f"a {order} in a {container}", flush=True)
        print("all is packed", flush=True)

    def terminate(self):
        self.stopping.set()
        self.orders.put(None)
        self.tg.shutdown()


if __name__ == "__main__":
    manager = cotyledon.ServiceManager()
    manager.add(Shop, workers=2)
    manager.run()
