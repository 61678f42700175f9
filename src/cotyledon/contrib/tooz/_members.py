"""Who is in a group, and what a manager may take to be its own because of that.

Responsible for what a member's id tells, and for the rules by which an arc of the ring changes
hands. Time is an int of nanoseconds that is passed in. Never asks a server, never looks at a
clock.

The rules, with *stale*: how old a look at the members may be before who has looked owns nothing,
and *wait*, which is a little more than twice that:

1. What a look shows is believed until *stale* after the look began.
2. A manager that joins, or whose last look has become stale, waits for its arcs.
3. A manager that sees anything but departures between two looks waits for the arcs that it gains.
4. A manager that sees nothing but departures has at once the arcs of those who have left: they
   have stopped owning before they left, or before their membership ran out. If it has been
   waiting, it waits until the end of that.
5. A manager that is alone waits for nothing: the others have stopped owning. One that has lost its
   membership, or whose process is not its first, does not trust that for *wait*: the server may
   have forgotten the others as well, who have not noticed yet.

Why this is enough: suppose that A and B own one key at the same instant, by looks that they made
at *a* and, not before that, at *b*. A is a member at *b*, since who leaves has stopped owning. So
B has gained the key from A, a member, and by 2 or 3 owns it *wait* after it saw that, or after
the look before that, which is at most *stale* older than *b*. A's look at *a* has become stale
by then.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote

from cotyledon.contrib.tooz._ring import Arc, Ring, overlap, rest

WAIT = 2.1
"""Times *stale*: a little more than is needed, for clocks that do not run alike."""
_VERSION = "c1"
"""What ids begin with: others are not read, whoever they belong to."""


class Member(NamedTuple):
    """A manager in a group, as its member id has it."""

    host: str
    token: str
    """Of one run of a manager: another one under the same name has another."""
    entry: int
    """Counts up: a manager that changes what its id tells is a new member for a moment, and the
    later one counts."""
    workers: tuple[tuple[str, int], ...] = ()
    """How many workers of which service it has, by name."""

    def encode(self) -> bytes:
        """Return the id; it has no character that a coordination server does not take."""
        workers = ",".join(f"{quote(name, safe='')}={n}" for name, n in self.workers)
        return "|".join(
            (_VERSION, quote(self.host, safe=""), self.token, str(self.entry), workers)
        ).encode("ascii")


def decode(member_id: bytes) -> Member | None:
    """Return what an id tells; ``None``: it is no manager's."""
    try:
        version, host, token, entry, workers = member_id.decode("ascii").split("|")
        pairs = [one.rpartition("=") for one in workers.split(",") if one]
        if version != _VERSION:
            return None
        return Member(
            unquote(host),
            token,
            int(entry),
            tuple((unquote(name), int(count)) for name, _, count in pairs),
        )
    except ValueError:
        return None


class Holding(NamedTuple):
    """An arc that a manager has, and from when on it owns it."""

    low: int
    high: int
    since: int


class Look(NamedTuple):
    """One reading of a group."""

    began: int
    ended: int
    members: tuple[Member, ...]
    fence: int
    """When the manager's own membership may have run out, if it is not renewed."""


class Holdings:
    """What one manager has of the rings of its services, and until when it may believe so.

    Args:
        host: its name.
        token: of this run of it.
        stale: how long a look is believed, in nanoseconds.
    """

    def __init__(self, host: str, token: str, stale: int) -> None:
        self.host = host
        self.token = token
        self.stale = stale
        self.wait = round(WAIT * stale)
        self.until = 0
        """Nothing is owned from this instant on."""
        self.members: dict[str, Member] = {}
        """By host: the entry that counts."""
        self.others: tuple[Member, ...] = ()
        """Entries of another manager of the same name."""
        self.arcs: dict[str, list[Holding]] = {}
        """By service."""
        self._rings: dict[str, Ring] = {}
        self._settles = 0  # who gains an arc now waits until then
        self._known = False  # the look before this one can be compared with
        self._doubts = False  # at the next look: whether to be alone means anything
        self._alone_from = 0  # it does, from then on

    def adopt(self, arcs: Mapping[str, Sequence[Holding]], until: int) -> None:
        """Go on with what another process has held for this manager.

        Args:
            arcs: what it has held.
            until: when that is not believed any more; it may be in the past.
        """
        self._doubts = True
        self.arcs = {service: list(held) for service, held in arcs.items()}
        self.until = until

    def lose(self) -> None:
        """Own nothing, at once."""
        self.until = 0
        self.arcs = {}
        self.members = {}
        self._known = False
        self._doubts = True

    def see(self, look: Look, services: Iterable[str]) -> bool:
        """Take in a look that has the manager itself among the members.

        Returns:
            Whether anything is different from before.
        """
        members = _latest(look.members)
        mine = members[self.host]
        before = self._state()
        self.others = tuple(
            m for m in look.members if m.host == self.host and m.token != self.token
        )
        fresh = look.ended >= self.until
        if self._doubts:
            self._doubts, self._alone_from = False, look.ended + self.wait
        alone = look.ended >= self._alone_from and all(
            member.token == self.token for member in look.members
        )
        if fresh or alone:
            self.arcs = {}
            self._settles = 0 if alone else look.ended + self.wait
        elif not self._known or not _only_left(self.members, members):
            self._settles = look.ended + self.wait
        self.members, self._known = members, True
        self.until = min(look.began + self.stale, look.fence)
        held = mine.token == self.token  # or another manager has taken the name
        self.arcs = {name: self._hold(name) for name in services} if held else {}
        return before != self._state()

    def _state(self) -> tuple[object, ...]:
        return self.members, self.arcs, self.others

    def _hold(self, service: str) -> list[Holding]:
        ring = self._rings.setdefault(service, Ring())
        weights = weights_of(self.members.values(), service)
        if not ring.set(weights) and service in self.arcs:
            return self.arcs[service]
        arcs = ring.arcs(self.host)
        before = self.arcs.get(service, [])
        kept: list[Holding] = []
        for since in {held.since for held in before}:
            mine = [Arc(held.low, held.high) for held in before if held.since == since]
            kept.extend(Holding(*arc, since) for arc in overlap(arcs, mine))
        kept.sort()
        gained = rest(arcs, [Arc(held.low, held.high) for held in kept])
        return sorted([*kept, *(Holding(*arc, self._settles) for arc in gained)])


def weights_of(members: Iterable[Member], service: str) -> dict[str, int]:
    """Return how many workers of a service each host has."""
    found = ((member.host, dict(member.workers).get(service, 0)) for member in members)
    return {host: workers for host, workers in found if workers}


def _latest(members: Iterable[Member]) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for member in members:
        other = found.get(member.host)
        if other is None or (other.entry, other.token) < (member.entry, member.token):
            found[member.host] = member
    return found


def _only_left(before: Mapping[str, Member], now: Mapping[str, Member]) -> bool:
    """Whether the difference is that some have left."""
    return all(
        host in before and _facts(before[host]) == _facts(member) for host, member in now.items()
    )


def _facts(member: Member) -> tuple[object, ...]:
    return member.token, member.workers
