"""The servers of oslo.messaging, as a worker needs them.

Responsible for what is added to the library's own: messages are counted, no more are taken than
are handled, and none once the service was told to stop. Loaded in workers only, since it imports
oslo.messaging. Never retries and never waits for the end: that is the service.
"""

import logging
import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from oslo_config import cfg

from cotyledon.contrib.oslo_messaging._driver import Listening, add_options
from cotyledon.contrib.oslo_messaging._intake import Intake

with warnings.catch_warnings():
    # futurist imports eventlet for them where that is there, and nothing here uses it.
    warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")
    try:
        # Before oslo.messaging imports oslo.service, which would take eventlet if that is there.
        from oslo_service import backend as _backend
    except ImportError:
        pass  # a release that has no choice
    else:
        try:
            _backend.init_backend(_backend.BackendType.THREADING)
        except Exception:
            pass  # the program has chosen already

    import oslo_messaging
    from oslo_messaging import opts
    from oslo_messaging.notify.dispatcher import NotificationDispatcher
    from oslo_messaging.notify.listener import NotificationServer
    from oslo_messaging.rpc.dispatcher import ExpectedException, RPCDispatcher
    from oslo_messaging.rpc.server import RPCServer

LOG = logging.getLogger("cotyledon.oslo_messaging")
POLL = 1.0
"""Seconds that a server which has nothing to do may take to notice that it was stopped."""
PATIENCE = 15.0
"""Seconds that a server without heartbeats may wait for a free thread."""


class Stopped(Exception):
    """The service was told to stop before its server had taken anything."""


class _Taking:
    """A server that asks before it takes."""

    intake: Intake
    patience: float
    listening: Listening

    def _create_listener(self) -> Any:
        listener = super()._create_listener()  # type: ignore[misc]
        self.listening = Listening(listener)
        if not self.intake.open():
            raise Stopped
        return listener

    def _on_incoming(self, incoming: Any) -> None:
        self.intake.enter(self.patience)
        try:
            super()._on_incoming(incoming)  # type: ignore[misc]
        except BaseException:
            self.intake.leave()
            raise

    def _process_incoming(self, incoming: Any) -> None:
        try:
            super()._process_incoming(incoming)  # type: ignore[misc]
        except Exception:
            LOG.exception("oslo.messaging could not process a message")  # else nobody would know
            self.intake.count("failed")
        finally:
            self.intake.leave()


class RPC(_Taking, RPCServer):  # type: ignore[misc]
    """Takes calls."""


class Notifications(_Taking, NotificationServer):  # type: ignore[misc]
    """Takes notifications."""

    def _create_listener(self) -> Any:
        listener = super()._create_listener()
        self.listening.forget_duplicates()
        return listener


class _CallDispatcher(RPCDispatcher):  # type: ignore[misc]
    def __init__(self, intake: Intake, *args: Any) -> None:
        super().__init__(*args)
        self._intake = intake

    def dispatch(self, incoming: Any) -> Any:
        try:
            result = super().dispatch(incoming)
        except ExpectedException:  # an answer as good as any
            self._intake.count("handled")
            raise
        except Exception:
            self._intake.count("failed")
            raise
        except BaseException as error:  # sys.exit() in an endpoint: its caller is told as well
            self._intake.count("failed")
            raise RuntimeError(f"the endpoint has raised {error!r}") from error
        self._intake.count("handled")
        return result


class _NotificationDispatcher(NotificationDispatcher):  # type: ignore[misc]
    def __init__(self, intake: Intake, retry_after: float, *args: Any) -> None:
        super().__init__(*args)
        self._intake = intake
        self._retry_after = retry_after

    def dispatch(self, incoming: Any) -> Any:
        requeue = oslo_messaging.NotificationResult.REQUEUE
        result = requeue
        try:
            result = super().dispatch(incoming)
        except Exception:
            raise
        except BaseException:
            # Such as sys.exit() in an endpoint. Whoever let it pass would keep the notification,
            # and with it the place of another one, for as long as the worker lives.
            LOG.exception("an endpoint has failed")
        finally:
            self._intake.count("requeued" if result == requeue else "handled")
            if result == requeue:
                # Else it would come again at once, as fast as broker and worker can.
                self._intake.closed.wait(self._retry_after)
        return result


# Transports


def rpc_transport(conf: Any, url: str | None) -> Any:
    """Return a transport for calls; nothing is connected yet."""
    return oslo_messaging.get_rpc_transport(_completed(conf), url)


def notification_transport(conf: Any, url: str | None) -> Any:
    """Return a transport for notifications; nothing is connected yet."""
    return oslo_messaging.get_notification_transport(_completed(conf), url)


def _configuration(conf: Any) -> Any:
    return cfg.CONF if conf is None else conf


def configured_url(conf: Any) -> str:
    """Return the URL of the configuration; empty: it has none."""
    return str(getattr(_configuration(conf), "transport_url", None) or "")


def _completed(conf: Any) -> Any:
    conf = _configuration(conf)
    add_options(conf)
    return conf


BAD_TRANSPORT = (
    oslo_messaging.InvalidTransportURL,
    oslo_messaging.DriverLoadFailure,
    cfg.Error,
    ValueError,
)
"""What says that a transport cannot be: no broker has been asked."""


def default_threads(conf: Any) -> int:
    """Return how many messages a worker handles at a time by oslo.messaging's own option."""
    conf = _configuration(conf)
    conf.register_opts(
        option
        for group, options in opts.list_opts()
        for option in options
        if group is None and option.name == "executor_thread_pool_size"
    )
    return int(conf.executor_thread_pool_size)


class Pace(NamedTuple):
    """How often a worker's connection is looked after, in seconds."""

    poll: float
    """Between two looks of an idle server at whether it was stopped."""
    patience: float
    """How long the thread that keeps the connection alive may wait for something else."""


def tune(conf: Any, transport: Any, threads: int) -> Pace:
    """Set the driver's defaults for a worker, where the program has chosen nothing else.

    Args:
        conf: the configuration as the program has given it.
        transport: what was made of it.
        threads: how many messages are handled at a time.
    """
    rabbit = getattr(transport.conf, "oslo_messaging_rabbit", None)
    if rabbit is None:
        return Pace(POLL, PATIENCE)
    threshold = rabbit.heartbeat_timeout_threshold
    conf = _configuration(conf)
    # The driver looks up twice as often as it beats.
    rate = max(3, math.ceil(threshold / 2 / POLL))
    conf.set_default("heartbeat_rate", rate, "oslo_messaging_rabbit")
    conf.set_default("rabbit_qos_prefetch_count", threads, "oslo_messaging_rabbit")
    if threshold <= 0:
        return Pace(POLL, PATIENCE)
    return Pace(min(5.0, float(threshold / rabbit.heartbeat_rate / 2)), float(threshold / 4))


# Servers


def rpc_server(
    transport: Any,
    intake: Intake,
    patience: float,
    *,
    topic: str,
    server: str,
    exchange: str | None,
    endpoints: Sequence[Any],
    serializer: Any,
    access_policy: Any,
) -> Any:
    """Return a server of calls that has not been started."""
    target = oslo_messaging.Target(topic=topic, server=server, exchange=exchange)
    dispatcher = _CallDispatcher(intake, list(endpoints), serializer, access_policy)
    return _equip(RPC(transport, target, dispatcher), intake, patience)


def notification_server(
    transport: Any,
    intake: Intake,
    patience: float,
    *,
    topics: Sequence[str],
    exchange: str | None,
    pool: str | None,
    retry_after: float,
    endpoints: Sequence[Any],
    serializer: Any,
) -> Any:
    """Return a server of notifications that has not been started."""
    targets = [oslo_messaging.Target(topic=topic, exchange=exchange) for topic in topics]
    dispatcher = _NotificationDispatcher(intake, retry_after, list(endpoints), serializer)
    return _equip(
        Notifications(transport, targets, dispatcher, allow_requeue=True, pool=pool),
        intake,
        patience,
    )


def _equip(server: Any, intake: Intake, patience: float) -> Any:
    server.intake = intake
    server.patience = patience
    return server
