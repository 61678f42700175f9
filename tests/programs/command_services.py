"""Targets for the command."""

import asyncio
import logging
import os
import sys
from typing import Any

import cotyledon
from cotyledon import Backoff, Policy, Rollout, Start
from tests.programs import support

LOG = logging.getLogger("shop")
ANSWER = 42


class Web(support.Talker):
    """Says how it was built."""

    name = "Web"

    def __init__(self, worker_id: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(worker_id)
        self.say("built", args=args, kwargs=kwargs, greeting=os.environ.get("GREETING"))

    def run(self) -> None:
        LOG.warning("at work\nfor ever")
        print("printed", flush=True)
        super().run()


class Db(support.Talker):
    name = "Db"
    policy = Policy(backoff=Backoff(initial=1, cap=7))


class Never(support.Talker):
    """Is never ready."""

    name = "Never"
    policy = Policy(start=Start(ready="told"), rollout=Rollout(progress_deadline=0.5))


class Saying(support.Talker):
    """Says what it is doing."""

    name = "Saying"

    def run(self) -> None:
        self.status("busy")
        super().run()


class Crashing(support.Talker):
    """Ends as soon as it is ready, and then waits long for its next start."""

    name = "Crashing"
    policy = Policy(backoff=Backoff(initial=100, cap=100, jitter=0))

    def run(self) -> None:
        sys.exit(3)


class Wrong(support.Talker):
    """Says that its configuration is wrong."""

    name = "Wrong"

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        if os.path.exists(os.path.join(support.DIRECTORY, "wrong")):
            sys.exit(78)


class Slow(support.Talker):
    """Stops when the test lets it."""

    name = "Slow"

    def terminate(self) -> None:
        support.event("terminating")
        support.gate("end")


class Loop(cotyledon.AsyncService):
    async def run(self) -> None:
        support.event("looping")
        await asyncio.Event().wait()


def factory(worker_id: int, *args: Any, **kwargs: Any) -> cotyledon.Service:
    return Web(worker_id, *args, "made", **kwargs)


def make() -> cotyledon.ServiceManager:
    manager = cotyledon.ServiceManager(name="made", control=True)
    manager.add(Web, 1)
    return manager


def make_nothing() -> None:
    pass


def make_trouble() -> None:
    raise LookupError("no money")


def needs_two(one: int, two: int) -> None:
    pass


class NoService:
    pass
