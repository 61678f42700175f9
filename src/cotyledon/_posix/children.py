"""A worker as the master sees it: its process, its channel, and what else belongs to it.

Responsible for what is remembered of a child and for closing its descriptors. Never decides.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from cotyledon._posix import channel, stacks
from cotyledon._posix.fork import FORKS
from cotyledon._posix.launch import Order
from cotyledon._posix.processes import Process
from cotyledon.status import Usage


class Account(NamedTuple):
    """What is known of the end of a worker, for the record of its death."""

    pid: int
    usage: Usage | None
    stacks: str | None


class Child:
    """A worker's process, its channel, and its place in the guard's table.

    Args:
        key: the core's number of the worker.
        service: the core's number of its service.
        grace: the manager's graceful timeout when it was started.
        process: the process.
        order: how it was started.
    """

    __slots__ = (
        "asked",
        "cgroup",
        "channel",
        "figures",
        "grace",
        "key",
        "killed",
        "name",
        "owes",
        "owes_stacks",
        "place",
        "process",
        "service",
        "stacks",
        "status",
        "unsent",
    )

    def __init__(self, key: int, service: int, grace: int, process: Process, order: Order) -> None:
        self.key = key
        self.service = service
        self.grace = grace
        self.process = process
        self.cgroup = order.cgroup
        self.channel = order.channel
        self.place = order.place
        self.stacks = order.stacks_fd  # where it writes the stacks of its threads (-1: nowhere)
        self.asked = False  # for its stacks, because it is silent
        self.owes_stacks = False  # it was asked over the channel, and has not answered
        self.killed = False  # by us
        self.name: str | None = None  # as it has told it
        self.status: str | None = None  # what it says that it is doing
        self.figures: Mapping[str, float] = {}  # and in numbers
        self.owes = 0  # the generation that it was told of and has not taken up
        self.unsent: channel.Message | None = None  # until the channel has room again

    def close(self) -> Account:
        """Close what is left of a child but for its channel; return what is known of its end."""
        text = stacks.read(self.stacks) if self.asked and self.stacks >= 0 else None
        with FORKS.lock:  # no thread forks between the map and the descriptor
            if self.stacks >= 0:
                FORKS.disown(self.stacks)
                os.close(self.stacks)
                self.stacks = -1
            FORKS.disown(self.process.pidfd)
            self.process.close()
        return Account(self.process.pid, self.process.usage, text)
