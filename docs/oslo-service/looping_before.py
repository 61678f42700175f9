import eventlet

eventlet.monkey_patch()

import os

from oslo_config import cfg
from oslo_service import loopingcall, service

attempts = 0


def beat():
    print(f"{os.getpid()} beats", flush=True)


def poll():
    print("polled", flush=True)
    return 0.2  # seconds until the next time


def connect():
    global attempts
    attempts += 1
    print(f"attempt {attempts}", flush=True)
    if attempts < 4:
        return False
    raise loopingcall.LoopingCallDone("connected")


class Worker(service.Service):
    def __init__(self):
        super().__init__()
        self.loops = []

    def start(self):
        fixed = loopingcall.FixedIntervalLoopingCall(beat)
        fixed.start(interval=0.2, stop_on_exception=False)
        dynamic = loopingcall.DynamicLoopingCall(poll)
        dynamic.start(initial_delay=0.1, periodic_interval_max=1)
        self.loops = [fixed, dynamic]
        self.tg.add_thread(self.work)

    def work(self):
        call = loopingcall.BackOffLoopingCall(connect)
        call.start(starting_interval=0.05, max_interval=1, timeout=30)
        print(call.wait(), flush=True)

    def stop(self, graceful=False):
        for loop in self.loops:
            loop.stop()
            loop.wait()
        print(f"{os.getpid()} has ended its loops", flush=True)
        super().stop(graceful)


if __name__ == "__main__":
    cfg.CONF(project="shop")
    launcher = service.launch(cfg.CONF, Worker(), workers=2)
    launcher.wait()
