import os
import queue
import threading

import cotyledon


class ShopAndMailer(cotyledon.Service):
    def __init__(self, worker_id):
        super().__init__(worker_id)
        self.orders = queue.Queue()
        self.stopping = threading.Event()
        threading.Thread(target=self.mail, daemon=True).start()

    def mail(self):
        while True:
            print(f"{os.getpid()} confirms {self.orders.get()}", flush=True)

    def run(self):
        while not self.stopping.wait(0.2):
            self.orders.put(f"an order of {os.getpid()}")

    def terminate(self):
        self.stopping.set()


if __name__ == "__main__":
    manager = cotyledon.ServiceManager()
    manager.add(ShopAndMailer)
    manager.run()
