"""The services that a program adds: when they take messages, what they say, how they end.

Responsible for the arguments, for trying again until there is a broker, for the status, and for a
stop that loses nothing and waits for nothing in vain. Never imports oslo.messaging before it is in
a worker.
"""

import logging
import math
import random
import re
import socket
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import cotyledon
from cotyledon.contrib.oslo_messaging._driver import Complaints
from cotyledon.contrib.oslo_messaging._intake import Intake

LOG = logging.getLogger("cotyledon.oslo_messaging")
EX_CONFIG = 78
"""The exit status that the default policy does not answer with another start."""
LOOK = 0.5
"""Seconds between two looks at the connection."""
MARGIN = 2.0
"""Seconds beyond the driver's own that a stop waits for it, if nothing is in hand."""
ANSWERING = 8.0
"""Seconds that a stop goes on to try answers that cannot be delivered."""
CLOSING = 2.0
"""Seconds that a broker may take for the last acknowledgements, and again for the farewell."""
LONGEST_WAIT = 30.0
"""The longest wait between two attempts to start, in seconds."""


class _MessagingService(cotyledon.Service):
    """What servers of calls and of notifications have in common."""

    policy: ClassVar[cotyledon.Policy] = cotyledon.Policy(start=cotyledon.Start(ready="told"))
    """A worker is ready when its queues are there and are consumed from."""

    def __init__(
        self,
        worker_id: int,
        what: str,
        endpoints: Sequence[Any],
        url: str | None,
        conf: Any,
        threads: int | None,
        serializer: Any,
    ) -> None:
        super().__init__(worker_id)
        if threads is not None and threads < 1:
            raise ValueError(f"{self.name}: 'threads' must be at least 1, not: {threads!r}")
        if not _is_list(endpoints):
            raise TypeError(f"{self.name}: 'endpoints' must be a list, not: {endpoints!r}")
        from cotyledon.contrib.oslo_messaging import _server

        self._what = what
        self._complaints = Complaints()
        self._since = time.time()
        self._said: tuple[str, dict[str, float]] = ("", {})
        self._outages = 0
        self._serializer = serializer
        self._endpoints = [one() if isinstance(one, type) else one for one in endpoints]
        try:
            self._transport = self._connect(conf, url)
            threads = threads or _server.default_threads(conf)
            self._pace = _server.tune(conf, self._transport, threads)
        except _server.BAD_TRANSPORT as error:
            said = _hidden(str(error), url or _server.configured_url(conf))
            LOG.critical("%s: there can be no such transport: %s", self.name, said)
            sys.exit(EX_CONFIG)
        self._intake = Intake(threads)
        self._stopped = threading.Event()
        self._server: Any = None

    @abstractmethod
    def _connect(self, conf: Any, url: str | None) -> Any:
        """Return the transport."""

    @abstractmethod
    def _make_server(self) -> Any:
        """Return a new server: one whose start has failed cannot be started again."""

    # Serving

    def run(self) -> None:
        """Serve until it is told to stop, whatever happens to the broker."""
        starting = threading.Thread(target=self._start, name="start", daemon=True)
        starting.start()
        while starting.is_alive():
            self._tell(connected=False)
            starting.join(LOOK)
        if self._intake.closed.is_set():
            return
        self.ready()
        connected = True
        while True:
            self._tell(connected=connected)
            if self._intake.closed.wait(LOOK):
                return
            if connected != self._server.listening.connected:
                connected = not connected
                self._outages += not connected
                self._since = time.time()

    def _start(self) -> None:
        """Start a server: the driver waits for a broker, and what it does not bear is retried."""
        from cotyledon.contrib.oslo_messaging import _server

        wait = 1.0
        while not self._intake.closed.is_set():
            self._server = self._make_server()
            try:
                self._server.start(override_pool_size=self._intake.threads)
                return
            except _server.Stopped:
                return
            except Exception as error:
                pause = wait * random.uniform(0.8, 1.0)
                self._complaints.last = f"{_line(error)} (retrying in {pause:.1f} seconds)"
                LOG.error("%s: cannot serve %s: %s", self.name, self._what, self._complaints.last)
                self._intake.closed.wait(pause)
                wait = min(wait * 2, LONGEST_WAIT)

    def _tell(self, *, connected: bool) -> None:
        if connected:
            text = f"serving {self._what}"
            self._complaints.last = ""
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(self._since))
            text = f"no broker since {clock}: {self._complaints.last or 'connecting'}"
        self._say(text)

    def _say(self, text: str) -> None:
        said = (text, {**self._intake.figures(), "outages": float(self._outages)})
        if said != self._said:
            self._said = said
            self.status(*said)

    # Stopping

    def terminate(self) -> None:
        """Take no more, finish and answer what was taken, give the rest back, and close.

        It takes as long as what runs; the broker can make that a few seconds longer, no more.
        """
        if not self._intake.close():
            return  # there is no broker yet, and nothing has been taken
        stopping = threading.Thread(target=self._stop, name="stop", daemon=True)
        stopping.start()
        stopping.join(self._pace.poll + MARGIN)
        if not self._finish():
            self._leave("answers cannot be delivered")
        elif stopping.is_alive() or not self._server.listening.flush(CLOSING):
            self._leave("the broker does not answer")
        else:
            closing = threading.Thread(target=self._close, name="close", daemon=True)
            closing.start()
            closing.join(CLOSING)

    def _leave(self, why: str) -> None:
        LOG.warning(
            "%s worker(%s): %s: leaving without a farewell; the broker takes back what is not "
            "acknowledged",
            self.name,
            self.worker_id,
            why,
        )

    def _stop(self) -> None:
        self._server.stop()
        self._stopped.set()
        self._server.listening.hand_back()

    def _finish(self) -> bool:
        """Wait for what runs; return whether all of it could be answered in time."""
        until = math.inf
        while not self._intake.finished(LOOK):
            self._say(f"finishing what runs of {self._what}")
            if self._stopped.is_set():
                self._server.listening.beat()
            if not self._intake.at_work:
                until = min(until, time.monotonic() + ANSWERING)
            if time.monotonic() > until:
                return False
        return True

    def _close(self) -> None:
        self._server.wait()
        self._transport.cleanup()


class RPCService(_MessagingService):
    """Answers remote procedure calls; each worker is a server of the topic.

    A call is acknowledged before it is run, so it runs at most once: one that a worker has begun
    is lost with that worker, and its caller's time runs out.

    Args:
        worker_id: given by the manager.
        topic: what callers address.
        endpoints: objects whose methods are called, or classes, which are instantiated in the
            worker.
        url: the transport's URL; its query may set options of the group
            ``oslo_messaging_rabbit`` (default: ``transport_url`` of ``conf``).
        conf: an ``oslo_config.cfg.ConfigOpts`` (default: ``oslo_config.cfg.CONF``).
        server: the name by which callers can address this one worker (default: host, service and
            worker id, so that a replacement has it again).
        exchange: where the topic is (default: ``control_exchange`` of ``conf``).
        threads: how many calls are run at a time (default: ``executor_thread_pool_size`` of
            ``conf``, 64).
        serializer: an ``oslo_messaging.Serializer`` (default: none).
        access_policy: a class that says which methods may be called (default: those that do not
            begin with ``_``).

    Raises:
        TypeError: ``endpoints`` is no list, or empty; ``topic`` is no name.
        ValueError: ``threads`` is less than 1.
        SystemExit: with status 78: there can be no such transport.
    """

    name = "RPCService"

    def __init__(
        self,
        worker_id: int,
        topic: str,
        endpoints: Sequence[Any],
        *,
        url: str | None = None,
        conf: Any = None,
        server: str | None = None,
        exchange: str | None = None,
        threads: int | None = None,
        serializer: Any = None,
        access_policy: Any = None,
    ) -> None:
        _check_topic("RPCService", topic)
        super().__init__(worker_id, topic, endpoints, url, conf, threads, serializer)
        self._exchange = exchange
        self._access_policy = access_policy
        self.server = server or f"{socket.gethostname()}:{self.name}:{worker_id}"
        """The name by which callers can address this worker."""

    def _connect(self, conf: Any, url: str | None) -> Any:
        from cotyledon.contrib.oslo_messaging import _server

        return _server.rpc_transport(conf, url)

    def _make_server(self) -> Any:
        from cotyledon.contrib.oslo_messaging import _server

        return _server.rpc_server(
            self._transport,
            self._intake,
            self._pace.patience,
            topic=self._what,
            server=self.server,
            exchange=self._exchange,
            endpoints=self._endpoints,
            serializer=self._serializer,
            access_policy=self._access_policy,
        )


class NotificationService(_MessagingService):
    """Handles notifications; the workers share those of their topics.

    A notification is acknowledged after it was handled, so it is handled at least once: one that
    a worker has not finished comes again, to this worker or to another.

    Args:
        worker_id: given by the manager.
        topics: what is listened to: names.
        endpoints: objects with methods named ``info``, ``error``, ... that are called with the
            notifications of that priority, or classes, which are instantiated in the worker. A
            method that returns ``oslo_messaging.NotificationResult.REQUEUE``, or fails, has the
            notification put back.
        url: as for :class:`RPCService` (default: the one of the group
            ``oslo_messaging_notifications`` of ``conf``, then ``transport_url``).
        conf: an ``oslo_config.cfg.ConfigOpts`` (default: ``oslo_config.cfg.CONF``).
        exchange: where the topics are (default: ``control_exchange`` of ``conf``).
        pool: listeners of one pool share one copy of each notification (default: none).
        threads: how many notifications are handled at a time (default:
            ``executor_thread_pool_size`` of ``conf``, 64).
        serializer: an ``oslo_messaging.Serializer`` (default: none).
        retry_after: seconds before a notification is put back (default 1), so that one that
            always fails does not go round as fast as it can.

    Raises:
        TypeError: ``endpoints`` or ``topics`` is no list, or empty.
        ValueError: ``threads`` is less than 1, or ``retry_after`` is negative.
        SystemExit: with status 78: there can be no such transport.
    """

    name = "NotificationService"

    def __init__(
        self,
        worker_id: int,
        topics: Sequence[str],
        endpoints: Sequence[Any],
        *,
        url: str | None = None,
        conf: Any = None,
        exchange: str | None = None,
        pool: str | None = None,
        threads: int | None = None,
        serializer: Any = None,
        retry_after: float = 1.0,
    ) -> None:
        if not _is_list(topics):
            raise TypeError(f"NotificationService: 'topics' must be a list, not: {topics!r}")
        for topic in topics:
            _check_topic("NotificationService", topic)
        if not retry_after >= 0:
            raise ValueError(
                f"NotificationService: 'retry_after' must be at least 0, not: {retry_after!r}"
            )
        super().__init__(worker_id, ", ".join(topics), endpoints, url, conf, threads, serializer)
        self._topics = topics
        self._exchange = exchange
        self._pool = pool
        self._retry_after = retry_after

    def _connect(self, conf: Any, url: str | None) -> Any:
        from cotyledon.contrib.oslo_messaging import _server

        return _server.notification_transport(conf, url)

    def _make_server(self) -> Any:
        from cotyledon.contrib.oslo_messaging import _server

        return _server.notification_server(
            self._transport,
            self._intake,
            self._pace.patience,
            topics=self._topics,
            exchange=self._exchange,
            pool=self._pool,
            retry_after=self._retry_after,
            endpoints=self._endpoints,
            serializer=self._serializer,
        )


def _is_list(found: object) -> bool:
    return isinstance(found, Sequence) and not isinstance(found, str) and bool(found)


def _check_topic(owner: str, topic: object) -> None:
    if not isinstance(topic, str) or not topic:
        raise TypeError(f"{owner}: a topic must be a name, not: {topic!r}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _hidden(text: str, url: str) -> str:
    """Return what was said of a URL without its passwords, nor a part of one.

    One with a slash that is not quoted is taken apart, and a part of it is complained of.
    """
    logins = url.partition("://")[2].rpartition("@")[0]
    parts = {part for part in re.split("[:/?#@,]", logins) if len(part) > 2}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text
