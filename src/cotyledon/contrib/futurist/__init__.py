"""Periodic tasks in a worker, scheduled by futurist.

Responsible for :class:`PeriodicService`, a service whose tasks are what futurist's decorator
marks, and for :func:`on_one_worker`. Never decides when a service runs, nor who owns what: that is
for the manager, and for the partition that a service may be given.

Example:
    ::

        class Poller(PeriodicService):
            @periodics.periodic(10)
            def poll(self):
                ...

        manager.add(Poller, workers=3)
"""

import warnings
from importlib.util import find_spec

if find_spec("futurist") is None:
    raise ImportError(
        "cotyledon.contrib.futurist needs futurist: pip install 'cotyledon[futurist]'"
    )

with warnings.catch_warnings():
    # futurist imports eventlet where that is there, and nothing here uses it.
    warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")
    from cotyledon.contrib.futurist.service import (
        Partition,
        PeriodicService,
        Share,
        on_one_worker,
    )

__all__ = ["Partition", "PeriodicService", "Share", "on_one_worker"]
