"""Servers of oslo.messaging as services: remote procedure calls and notifications.

Responsible for :class:`RPCService` and :class:`NotificationService`, which a program adds like any
other service. Never imports oslo.messaging in the master: transports, connections and threads are
made in the workers, after the fork.

Example:
    ::

        class Sums:
            def add(self, context, a, b):
                return a + b

        manager = cotyledon.ServiceManager()
        manager.add(RPCService, workers=4, args=("sums", [Sums]), kwargs={"url": "rabbit://..."})
"""

from importlib.util import find_spec

if find_spec("oslo_messaging") is None:
    raise ImportError(
        "cotyledon.contrib.oslo_messaging needs oslo.messaging: "
        "pip install 'cotyledon[oslo-messaging]'"
    )

from cotyledon.contrib.oslo_messaging._service import NotificationService, RPCService

__all__ = ["NotificationService", "RPCService"]
