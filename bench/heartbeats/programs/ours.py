"""The subject: this package. The group beats in a process of its own; the worker only works.

There are two RPC servers: one beside the main job, as everywhere else, and one as a service.
"""

import cotyledon
from bench.heartbeats import inside
from bench.heartbeats.plan import APART, MEMBERSHIP
from cotyledon.contrib import oslo_messaging, tooz

task = inside.told()
# Before the fork of the process that beats: it has no code of the program.
inside.record(task)


class Service(cotyledon.Service):
    def __init__(self, worker_id: int, share: tooz.Share) -> None:
        super().__init__(worker_id)
        self.partition = share.partition(worker_id)

    def run(self) -> None:
        inside.serve(task)
        inside.work(task)


class Pinged(inside.Pinged):
    def __init__(self) -> None:
        inside.declare(task, APART)


manager = cotyledon.ServiceManager()
group = tooz.Group(manager, task.url, task.group, membership_timeout=MEMBERSHIP)
group.add(Service)
manager.add(
    oslo_messaging.RPCService,
    args=(f"{task.group}-{APART}", [Pinged]),
    kwargs={"url": task.broker, "server": "one"},
)
manager.run()
