"""Where keys belong: to a manager by a consistent-hash ring, in it to a worker by jump hashing.

Responsible for arithmetic on the space of hashes, the same on every machine. Never knows of time,
of who may own something at the moment, or of anything outside its arguments.

The ring has points for each worker that a manager has; what is between a point and the one before
it belongs to the point's manager. A manager that leaves passes its arcs on to their neighbours and
moves nothing else. Inside of a manager no ring is needed, because worker ids are dense: jump
hashing moves the least there can be, and takes no memory.
"""

import hashlib
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

SPACE = 1 << 63
"""Hashes are below this; so are the ends of arcs, in cells of 64 bits."""
POINTS = 32
"""Points on the ring for each worker."""
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # of splitmix64
_PROBES = 64


class Arc(NamedTuple):
    """The hashes from ``low`` up to and without ``high``."""

    low: int
    high: int


def hash_of(key: str | bytes) -> int:
    """Return where a key is in the space of hashes."""
    data = key.encode() if isinstance(key, str) else key
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


def points_of(host: str, workers: int) -> "array[int]":
    """Return the points of a manager, in order; those of fewer workers are among them."""
    points = array("Q")
    for number in range(workers):
        points.frombytes(hashlib.shake_256(f"{host}/{number}".encode()).digest(8 * POINTS))
    if sys.byteorder == "big":
        points.byteswap()
    return array("Q", sorted(point >> 1 for point in points))


class Ring:
    """All points of one service, kept up to date by the difference.

    It does not keep whose a point is: a manager needs its own arcs alone, and knows its points.
    """

    def __init__(self) -> None:
        self._points = array("Q")
        self._weights: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._points)

    def set(self, weights: Mapping[str, int]) -> bool:
        """Have exactly these managers on the ring, with so many workers each.

        Returns:
            Whether it was any different before.
        """
        if weights == self._weights:
            return False
        before = self._weights
        joined = [(h, w) for h, w in weights.items() if before.get(h) != w]
        left = [(h, w) for h, w in before.items() if weights.get(h) != w]
        moved = sum(w for _, w in (*joined, *left)) * POINTS
        self._weights = dict(weights)
        if moved * 8 > len(self._points):
            self._points = array("Q", sorted(_all_points(self._weights.items())))
            return True
        if left:
            self._points = _without(self._points, sorted(_all_points(left)))
        if joined:
            self._points = _with(self._points, sorted(_all_points(joined)))
        return True

    def arcs(self, host: str) -> list[Arc]:
        """Return what belongs to a manager, in order; adjacent arcs are joined."""
        points = self._points
        found: list[Arc] = []
        for point in points_of(host, self._weights.get(host, 0)):
            index = bisect_left(points, point)
            found.append(Arc(points[index - 1] if index else 0, point))
            if not index:  # the first point has what is after the last one, too
                found.append(Arc(points[-1], SPACE))
        return joined_up(found)


def joined_up(arcs: Iterable[Arc]) -> list[Arc]:
    """Return arcs in order, adjacent ones as one."""
    result: list[Arc] = []
    for arc in sorted(arcs):
        if arc.low == arc.high:
            continue
        if result and result[-1].high == arc.low:
            result[-1] = Arc(result[-1].low, arc.high)
        else:
            result.append(arc)
    return result


def _all_points(members: Iterable[tuple[str, int]]) -> "array[int]":
    points = array("Q")
    for host, workers in members:
        points.extend(points_of(host, workers))
    return points


def _with(points: "array[int]", more: Sequence[int]) -> "array[int]":
    merged, at = array("Q"), 0
    for point in more:
        index = bisect_left(points, point, at)
        merged.extend(points[at:index])
        merged.append(point)
        at = index
    merged.extend(points[at:])
    return merged


def _without(points: "array[int]", fewer: Sequence[int]) -> "array[int]":
    kept, at = array("Q"), 0
    for point in fewer:
        index = bisect_left(points, point, at)
        kept.extend(points[at:index])
        at = index + 1
    kept.extend(points[at:])
    return kept


# Inside of a manager


def worker_of(key_hash: int, slots: Sequence[int]) -> int | None:
    """Return which of a manager's workers has a key.

    Args:
        key_hash: where the key is.
        slots: by worker id, something other than 0 where there is a worker; as long as the number
            of workers that there should be.

    Returns:
        The worker id; ``None``: there is no worker. A worker that ends takes along its keys
        alone, and gets them back when there is another one in its slot.
    """
    count = len(slots)
    if not any(slots):
        return None
    state = key_hash
    slot = 0
    for _ in range(_PROBES):
        state = (state + _STEP) & _MASK
        slot = _jump(_mix(state), count)
        if slots[slot]:
            return slot
    return next(i % count for i in range(slot, slot + count) if slots[i % count])


def _mix(state: int) -> int:
    """Return a hash of a number, as splitmix64 does."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def _jump(state: int, count: int) -> int:
    """Return a bucket by jump consistent hashing (Lamping and Veach, 2014)."""
    bucket, following = -1, 0
    while following < count:
        bucket = following
        state = (state * 2862933555777941757 + 1) & _MASK
        following = int((bucket + 1) * ((1 << 31) / ((state >> 33) + 1)))
    return bucket


def overlap(one: Sequence[Arc], other: Sequence[Arc]) -> list[Arc]:
    """Return what is in both, each in order and without overlaps of its own."""
    found: list[Arc] = []
    i = j = 0
    while i < len(one) and j < len(other):
        low, high = max(one[i].low, other[j].low), min(one[i].high, other[j].high)
        if low < high:
            found.append(Arc(low, high))
        if one[i].high <= other[j].high:
            i += 1
        else:
            j += 1
    return found


def rest(one: Sequence[Arc], other: Sequence[Arc]) -> list[Arc]:
    """Return what is in the first and not in the second."""
    edges = [0, *(edge for arc in other for edge in arc), SPACE]
    outside = [Arc(low, high) for low, high in list(pairwise(edges))[::2] if low < high]
    return overlap(one, outside)
