"""A manager's membership of its group: joining, renewing, looking, leaving, and all over again.

Responsible for what is asked of a coordination server, in which order, and for what follows from
an answer or the lack of one. Never sleeps, never starts a thread; the clock, the server and chance
are passed in, so that it can be tested in virtual time.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar

from cotyledon.contrib.tooz._members import Holdings, Look, Member, decode

LOG = logging.getLogger("cotyledon.tooz")
SECOND = 1_000_000_000
LOOKS_PER_SECOND = 400
"""Of all managers of a group together, beyond which each looks more rarely."""
FIRST_RETRY = 0.2
LAST_RETRY = 5.0
_GIVE_UP = 3  # failures in a row after which the connection is made anew


class Server(Protocol):
    """What is used of a connection: the part of a tooz coordinator that is about one group."""

    def join(self) -> None:
        """Connect and join; make the group if it is not there.

        The membership lives from a moment after the beginning of this call.
        """

    def renew(self) -> None:
        """Have the membership live from now on."""

    def members(self) -> Iterable[bytes]:
        """Return the ids of the members, the own one included; empty if there is no group."""
        ...

    def leave(self) -> None:
        """Leave the group."""

    def close(self) -> None:
        """Let go of the connection."""


class Settings(NamedTuple):
    """What a group was given."""

    url: str
    """As it is shown: without a password."""
    group: str
    host: str
    token: str
    timeout: int
    """Of the membership, in nanoseconds."""
    poll: float

    @property
    def stale(self) -> int:
        """How long a look is believed, in nanoseconds."""
        return min(self.timeout // 3, max(SECOND, self.timeout // 5))

    @property
    def renewal(self) -> int:
        """How often the membership is renewed, in nanoseconds."""
        return self.timeout // 6

    @property
    def margin(self) -> int:
        """How long before its end a membership is not relied upon, in nanoseconds."""
        return self.timeout // 10


class Publisher(Protocol):
    """Where others learn what is owned."""

    def publish(self, services: Mapping[str, Any], until: int) -> None:
        """Say what is owned, and until when."""

    def extend(self, until: int) -> None:
        """Say that it is owned for longer."""

    def ring(self) -> None:
        """Have everybody look."""


class Membership:
    """One manager in one group.

    Args:
        settings: of the group.
        connect: returns a connection for a member id, and does nothing that can fail for long.
        publisher: is told what the manager owns.
        clock: returns nanoseconds, as the readers' clock does.
        chance: returns a number in [0, 1).
        say: is told in a line how things are.
        words: returns what an error says, in a line that may be shown.
        entry: a number that is higher than those of the manager's earlier runs.
    """

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[bytes], Server],
        publisher: Publisher,
        clock: Callable[[], int],
        chance: Callable[[], float],
        say: Callable[[str], None],
        words: Callable[[Exception], str],
        entry: int,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._publisher = publisher
        self._clock = clock
        self._chance = chance
        self._say = say
        self._words = words
        self.holdings = Holdings(settings.host, settings.token, settings.stale)
        self._me: Member | None = None
        self._server: Server | None = None
        self._entry = entry
        self._renewed = 0  # when the last renewal that was answered was sent
        self._failures = 0
        self._conflict_since = 0
        self.rejoined = 0
        """How often it was found to be no member any more."""
        self.unanswered = 0
        """How many requests have failed."""

    def step(self, workers: Mapping[str, int]) -> float:
        """Do what is due; return the seconds until the next step.

        Args:
            workers: how many workers the manager has, by service.
        """
        try:
            self._step(tuple(sorted(workers.items())))
        except _Unanswered as unanswered:
            return self._failed(unanswered.error)
        if self._failures:
            LOG.info("%s: %s answers again", self._settings.group, self._settings.url)
        self._failures = 0
        return self._pause()

    def _step(self, workers: tuple[tuple[str, int], ...]) -> None:
        if self._me is None or self._me.workers != workers:
            self._join(workers)
        elif self._clock() - self._renewed >= self._settings.renewal:
            self._renew()
        look = self._look()
        assert self._me is not None
        if self._me not in look.members:
            self._thrown_out()
            return
        holdings = self.holdings
        if holdings.see(look, [name for name, _ in workers]):
            self._publisher.publish(holdings.arcs, holdings.until)
        else:
            self._publisher.extend(holdings.until)
        self._tell()

    def _join(self, workers: tuple[tuple[str, int], ...]) -> None:
        """Become a member whose id tells how many workers there are, and then leave as another."""
        self._entry += 1
        me = Member(self._settings.host, self._settings.token, self._entry, workers)
        server = self._connect(me.encode())
        began = self._clock()
        try:
            _ask(server.join)
        except _Unanswered:
            _quietly(server.close)
            raise
        before, self._server, self._me, self._renewed = self._server, server, me, began
        if before is not None:
            _quietly(before.leave)
            _quietly(before.close)

    def _renew(self) -> None:
        assert self._server is not None
        began = self._clock()
        _ask(self._server.renew)
        self._renewed = began

    def _look(self) -> Look:
        assert self._server is not None
        began = self._clock()
        ids = _ask(self._server.members)
        ended = self._clock()
        members = tuple(sorted(m for m in map(decode, ids) if m is not None))
        settings = self._settings
        same = (m.entry for m in members if m.host == settings.host)
        self._entry = max(self._entry, *same, 0)
        return Look(began, ended, members, self._renewed + settings.timeout - settings.margin)

    def _thrown_out(self) -> None:
        LOG.warning(
            "%s: no longer a member of %s, joining again", self._settings.url, self._settings.group
        )
        self.rejoined += 1
        self._forget()

    def _forget(self) -> None:
        """Own nothing, and begin from the beginning."""
        self.holdings.lose()
        self._publisher.extend(0)
        self._publisher.ring()
        server, self._server, self._me = self._server, None, None
        if server is not None:
            _quietly(server.close)

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        self.unanswered += 1
        settings = self._settings
        if self._me is not None and (
            self._clock() >= self.holdings.until and self._failures >= _GIVE_UP
        ):
            self._forget()
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self._failures - 1, 10))
        wait = longest * (0.5 + self._chance() / 2)
        text = f"{settings.url} does not answer ({self._words(error)}): next try in {wait:.1f} s"
        self._say(text)
        if self._failures in {1, 10} or self._failures % 100 == 0:
            LOG.warning("%s: %s", settings.group, text)
        return wait

    def _pause(self) -> float:
        """Return the seconds until the next look, or until the next renewal if that is sooner.

        The more managers there are, the more rarely each looks; a renewal never waits for a look.
        """
        if self._me is None:
            return FIRST_RETRY * self._chance()
        settings, holdings = self._settings, self.holdings
        pause = max(settings.poll, len(holdings.members) / LOOKS_PER_SECOND)
        pause = min(pause, settings.stale / SECOND / 4)
        due = (self._renewed + settings.renewal - self._clock()) / SECOND
        if due < pause * 1.25:  # a look that is under way would hold it up
            return max(0.0, due)
        return pause * (0.9 + self._chance() / 5)

    def _tell(self) -> None:
        settings, holdings = self._settings, self.holdings
        members = holdings.members.values()
        if holdings.members[settings.host].token != settings.token:
            self._say(
                f"another manager has joined {settings.group} as {settings.host!r}, and this one "
                "owns nothing: give each a host= of its own"
            )
        elif holdings.others and self._conflict():
            self._say(
                f"another manager is in {settings.group} as {settings.host!r}, and owns nothing: "
                "give each a host= of its own"
            )
        else:
            count = sum(n for member in members for _, n in member.workers)
            self._say(
                f"member of {settings.group}: {_count(len(members), 'manager')}, "
                f"{_count(count, 'worker')}"
            )
        if not holdings.others:
            self._conflict_since = 0

    def _conflict(self) -> bool:
        """Whether another entry of this name is more than what a dead predecessor has left."""
        now = self._clock()
        self._conflict_since = self._conflict_since or now
        return now - self._conflict_since > self._settings.timeout * 2

    def figures(self) -> dict[str, float]:
        """Return what there is to count."""
        members = self.holdings.members.values()
        return {
            "managers": len(members),
            "workers": sum(count for member in members for _, count in member.workers),
            "rejoined": self.rejoined,
            "unanswered": self.unanswered,
        }

    def leave(self) -> None:
        """Own nothing any more, and leave; others know when they look the next time."""
        self._publisher.publish({}, 0)
        server, self._server, self._me = self._server, None, None
        if server is not None:
            _quietly(server.leave)
            _quietly(server.close)


class _Unanswered(Exception):
    """A request has failed, in whatever way."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


_R = TypeVar("_R")


def _ask(request: Callable[[], _R]) -> _R:
    try:
        return request()
    except Exception as error:  # drivers let through those of their client libraries
        raise _Unanswered(error) from error


def _quietly(do: Callable[[], None]) -> None:
    with suppress(Exception):  # the membership ends by itself
        do()


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
