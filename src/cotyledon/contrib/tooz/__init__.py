"""Managers that share work, on one machine or several: membership and partitioning by tooz.

Responsible for :class:`Group`, which a program makes for its manager, and for what its workers get
of it. Needs the extra ``tooz`` and the client library of a driver. Never loads tooz in the master
or in the workers: one process per manager holds the membership, and the others read shared memory.

Example:
    ::

        class Poller(cotyledon.Service):
            def __init__(self, worker_id, share):
                super().__init__(worker_id)
                self.partition = share.partition(worker_id)

        manager = cotyledon.ServiceManager()
        group = Group(manager, "redis://localhost", "pollers")
        group.add(Poller, workers=3)
        manager.run()
"""

from importlib.util import find_spec

if find_spec("tooz") is None:
    raise ImportError("cotyledon.contrib.tooz needs tooz: pip install 'cotyledon[tooz]'")

from cotyledon.contrib.tooz._group import Group
from cotyledon.contrib.tooz._partition import Partition, Share

__all__ = ["Group", "Partition", "Share"]
