"""What the RabbitMQ driver of oslo.messaging does not offer to its users.

Responsible for every reach into its private names, so that they are all in one place and under the
tests with a real broker. Where a name is missing (another driver, another release) nothing is
done, and what the library does by itself holds. Never decides when: that is the service.
"""

import logging
import re
import threading
from collections.abc import Callable
from typing import Any

LOG = logging.getLogger("cotyledon.oslo_messaging")
_LOGGERS = ("oslo.messaging._drivers.impl_rabbit", "oslo_messaging._drivers.impl_rabbit")
_CONNECTION_ID = re.compile(r"^\[[0-9a-f-]{36}\] ")


def add_options(conf: Any) -> None:
    """Register what newer releases read from any configuration but register with one only.

    Without it each message fails where the program has an ``oslo_config.cfg.ConfigOpts`` of its
    own instead of ``cfg.CONF``.
    """
    try:
        from oslo_messaging._tracing import client
    except ImportError:
        return  # an older release
    conf.register_opts(client.oslo_messaging_tracing, group="oslo_messaging_tracing")


class Complaints:
    """What the driver has last said went wrong: it tells nobody but the log.

    A filter, and not a handler: with a handler, a program without logging would lose the lines
    that Python prints for it.
    """

    def __init__(self) -> None:
        self.last = ""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Look at a record, and let it pass."""
        if record.levelno >= logging.ERROR:
            self.last = _CONNECTION_ID.sub("", record.getMessage())
        return True


class Listening:
    """The connection on which a server is given its messages.

    Args:
        listener: the server's listener.
    """

    def __init__(self, listener: Any) -> None:
        self._poll = getattr(listener, "_poll_style_listener", None)
        self._operations = getattr(self._poll, "_message_operations_handler", None)
        self._rabbit = getattr(getattr(self._poll, "conn", None), "connection", None)

    @property
    def connected(self) -> bool:
        """Whether the driver believes to have a broker."""
        connection = getattr(self._rabbit, "connection", None)
        return bool(getattr(connection, "connected", True))

    def forget_duplicates(self) -> None:
        """Acknowledge notifications that come again after they were handled.

        The driver drops them unanswered: each would take the place of a prefetched message for as
        long as the connection lasts, and with all places taken nothing is delivered any more.
        """
        cache = getattr(self._poll, "msg_id_cache", None)
        check = getattr(cache, "check_duplicate_message", None)
        if check is None:
            return

        def check_and_acknowledge(message: Any) -> Any:
            try:
                return check(message)
            except Exception:  # a duplicate; this is the thread that may use the connection
                message.acknowledge()
                raise

        cache.check_duplicate_message = check_and_acknowledge  # type: ignore[union-attr]

    # In the thread that acknowledges, once the server has been stopped

    def hand_back(self) -> None:
        """Return what the broker has pushed and nobody has looked at, and have it push no more.

        The driver leaves the consumer where it is: calls that arrive while the last ones are
        finished wait in this process, and the close of the connection acknowledges some of them.
        """
        self._do(self._cancel)

    def beat(self) -> None:
        """Keep the connection alive: the driver does no longer, and acknowledgements need it."""
        self._do(self._heartbeat)

    def flush(self, seconds: float) -> bool:
        """Wait until all acknowledgements are written; return whether they are."""
        return self._do(lambda: None).wait(seconds)

    def _do(self, task: Callable[[], None]) -> threading.Event:
        done = threading.Event()

        def run() -> None:
            try:
                task()
            except Exception as error:  # the connection is lost: the broker takes back all of it
                LOG.debug("the connection is of no more use: %r", error)
            finally:
                done.set()

        if self._operations is None:
            done.set()
        else:
            self._operations.do(run)
        return done

    def _cancel(self) -> None:
        consumers = list(self._rabbit._consumers.items())  # type: ignore[union-attr]
        for consumer, _ in consumers:
            consumer.callback = _requeue
        for consumer, tag in consumers:
            consumer.cancel(tag)

    def _heartbeat(self) -> None:
        self._rabbit._heartbeat_check()  # type: ignore[union-attr]
        try:
            self._rabbit.connection.drain_events(timeout=0.001)  # type: ignore[union-attr]
        except TimeoutError:
            pass  # nothing has come


def _requeue(message: Any) -> None:
    message.requeue()
