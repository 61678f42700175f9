import os
import threading

import tenacity
from futurist import periodics

import cotyledon
from cotyledon.contrib import futurist

attempts = 0


def poll():
    print("polled", flush=True)
    return 0.2  # seconds until the next time


def connect():
    global attempts
    attempts += 1
    print(f"attempt {attempts}", flush=True)
    return None if attempts < 4 else "connected"


class Worker(futurist.PeriodicService):
    def __init__(self, worker_id):
        super().__init__(worker_id)
        self.threads = [threading.Thread(target=self.loop), threading.Thread(target=self.work)]
        for thread in self.threads:
            thread.start()

    @periodics.periodic(0.2, run_immediately=True)
    def beat(self):
        print(f"{os.getpid()} beats", flush=True)

    def loop(self):
        delay = 0.1
        while not self.stopping.wait(delay):
            delay = min(poll(), 1)

    def work(self):
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda result: result is None),
            wait=tenacity.wait_exponential_jitter(initial=0.05, max=1),
            stop=tenacity.stop_after_delay(30) | tenacity.stop_when_event_set(self.stopping),
            sleep=tenacity.sleep_using_event(self.stopping),
        )
        print(retrying(connect), flush=True)

    def terminate(self):
        super().terminate()  # sets self.stopping, and waits for beat()
        for thread in self.threads:
            thread.join()
        print(f"{os.getpid()} has ended its loops", flush=True)


if __name__ == "__main__":
    manager = cotyledon.ServiceManager()
    manager.add(Worker, workers=2)
    manager.run()
