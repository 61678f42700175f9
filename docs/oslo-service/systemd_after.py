from pathlib import Path

import cotyledon


def warm_up():
    return Path("/run/shop/prices").read_text()  # which takes a while


class Worker(cotyledon.Service):
    def __init__(self, worker_id):
        super().__init__(worker_id)
        print("warming up", flush=True)
        self.prices = warm_up()


if __name__ == "__main__":
    manager = cotyledon.ServiceManager()
    manager.add(Worker)
    manager.run()
