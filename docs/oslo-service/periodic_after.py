import os

from futurist import periodics

import cotyledon
from cotyledon.contrib import futurist


class Collector(futurist.PeriodicService):
    @periodics.periodic(0.3, run_immediately=True)
    def collect(self):
        print(f"{os.getpid()} collects", flush=True)

    @periodics.periodic(0.5)
    def fail(self):
        raise ValueError("nothing there")

    @periodics.periodic(1, enabled=False)
    def disabled(self):
        print("never", flush=True)


if __name__ == "__main__":
    manager = cotyledon.ServiceManager()
    manager.add(Collector, workers=2)
    manager.run()
