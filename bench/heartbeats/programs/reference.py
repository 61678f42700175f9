"""The subject: cotyledon 2.2.0, whose worker beats in a thread as users write it."""

import cotyledon
from bench.heartbeats import inside

task = inside.told()


class Service(cotyledon.Service):
    def run(self) -> None:
        inside.record(task)
        inside.beat_in_thread(task)
        inside.serve(task)
        inside.work(task)


manager = cotyledon.ServiceManager()
manager.add(Service)
manager.run()
