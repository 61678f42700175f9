"""The service that holds a manager's membership, in a process of its own.

Responsible for the life of that process: it takes a step of the membership after the other, and
leaves when the manager stops. It does nothing else, so that no work of the program can keep it
from renewing the membership in time. Never loads tooz in the master.
"""

import logging
import os
import re
import select
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import cotyledon
from cotyledon.contrib.tooz._crew import Crew
from cotyledon.contrib.tooz._members import Holdings
from cotyledon.contrib.tooz._membership import SECOND, Membership, Server, Settings
from cotyledon.contrib.tooz._memory import Memory
from cotyledon.contrib.tooz._partition import clock

LOG = logging.getLogger("cotyledon.tooz")
EX_CONFIG = 78
FIRST = SECOND
"""For so long it waits for workers before it joins without any."""
LEAVE = 2.0
"""Seconds that leaving may take; the membership ends by itself after that."""


class Beat(cotyledon.Service):
    """Holds the membership of one manager in one group; :class:`Group` adds it, with one worker.

    Args:
        worker_id: given by the manager.
        memory: what is shared with the workers.
        settings: of the group.
        url: of the server, as tooz takes it.
        options: for the driver.
    """

    name = "beat"
    graceful_shutdown_timeout = LEAVE + 2

    def __init__(
        self,
        worker_id: int,
        memory: Memory,
        settings: Settings,
        url: str,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(worker_id)
        self.name = f"beat of {settings.group}"
        self._memory = memory
        self._settings = settings
        self._url = url
        self._options = options
        self._stopping = threading.Event()
        self._over = threading.Event()
        self._said = f"joining {settings.group} at {settings.url}"
        self._told: tuple[str, dict[str, float]] = (self._said, {})
        self.status(self._said)

    def run(self) -> None:
        """Be a member, until it is told to stop."""
        try:
            membership = Membership(
                self._settings,
                self._connector(),
                self._memory,
                clock,
                _chance,
                self._say,
                self._words,
                entry=time.time_ns() // 1_000_000,
            )
            self._go_on(membership.holdings)
            self._step_after_step(membership)
            if self._memory.stopping or not _lives(self._memory.master):
                membership.leave()
        finally:
            self._over.set()

    def _step_after_step(self, membership: Membership) -> None:
        memory = self._memory
        crew = Crew(at_once=memory.until > clock())
        first = clock() + FIRST
        while not self._stopping.is_set():
            self.heartbeat()
            names = memory.names()
            ready = {name: memory.crew(number) for number, name in enumerate(names)}
            workers = crew.count(clock(), ready)
            if workers or clock() >= first:
                wait = membership.step(workers)
            else:  # it would join twice
                wait = 0.05
            self._tell(membership)
            self._stopping.wait(wait)

    def _tell(self, membership: Membership) -> None:
        now = (self._said, membership.figures())
        if now != self._told:
            self._told = now
            self.status(*now)

    def terminate(self) -> None:
        """Leave the group if the manager stops; a successor of this worker goes on being it."""
        self._stopping.set()
        self._over.wait(LEAVE)

    def reload(self) -> None:
        """Do nothing: there is nothing to reload, and the membership goes on."""

    def _connector(self) -> Any:
        """Return what makes connections; end the worker for good if there can be none."""
        settings = self._settings
        patience = settings.stale / SECOND / 2

        def connect(member_id: bytes) -> Server:
            return Connection(
                self._url, settings.group, member_id, settings.timeout, patience, self._options
            )

        try:
            from cotyledon.contrib.tooz._driver import Connection  # loads tooz

            connect(b"")
        except Exception as error:
            LOG.error(
                "%s: no connection can be made to %s: %s; see the tooz documentation for its "
                "drivers and their URLs, and install the client library of the one you use",
                settings.group,
                settings.url,
                self._words(error),
            )
            sys.exit(EX_CONFIG)
        return connect

    def _go_on(self, holdings: Holdings) -> None:
        """Take over from a predecessor, if there was one."""
        if self._memory.version:
            holdings.adopt(self._memory.arcs().services, self._memory.until)

    def _words(self, error: Exception) -> str:
        """Return what an error says, in one line, and nothing of a password."""
        text = " ".join(str(error).split())
        login = self._url.partition("://")[2].rpartition("@")[0]
        secrets = {login, *login.split(":", 1)}
        secrets |= {unquote(secret) for secret in secrets}
        # One that is not quoted as it has to be is taken apart, and a part of it is complained of.
        secrets |= {part for part in re.split("[:/?#@]", login) if len(part) > 2}
        for secret in sorted(secrets - {""}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return f"{type(error).__name__}: {text[:90]}" if text else type(error).__name__

    def _say(self, text: str) -> None:
        self._said = text


def _chance() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32


def _lives(pid: int) -> bool:
    """Tell whether a process has not ended."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        return not select.select([process], [], [], 0)[0]
    finally:
        os.close(process)
