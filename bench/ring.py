"""The ring of many managers, and what they ask of a server: ``python -m bench.ring [MANAGERS]``.

Responsible for figures of the arithmetic at a size that no test has, and for those of a real
redis-server with one connection for each manager. Everything is in one process: it shows what a
look, a lookup and a change cost, not how a network behaves.
"""

import os
import random
import resource
import statistics
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotyledon.contrib.tooz._driver import Connection  # isort: skip  (it knows of a warning)

from tooz import hashring

from cotyledon.contrib.tooz._members import Holding, Member
from cotyledon.contrib.tooz._membership import LOOKS_PER_SECOND, SECOND
from cotyledon.contrib.tooz._memory import Memory
from cotyledon.contrib.tooz._partition import Partition, clock
from cotyledon.contrib.tooz._ring import SPACE, Arc, Ring, hash_of, points_of, worker_of
from tests.servers import Redis

WORKERS = 100
KEYS = 100_000


def took(do: Callable[[], object], times: int = 1) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    for _ in range(times):
        do()
    return (time.perf_counter() - began) / times


def share(arcs: list[Arc]) -> float:
    return sum(arc.high - arc.low for arc in arcs) / SPACE


def resident() -> int:
    """Return the memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def the_ring(managers: int) -> list[tuple[str, str]]:
    """Return what the ring is like, and what it costs."""
    weights = {f"host{number}": WORKERS for number in range(managers)}
    before = resident()
    ring = Ring()
    built = took(lambda: ring.set(weights))
    memory = resident() - before
    arcs = {host: ring.arcs(host) for host in weights}
    shares = [share(one) * managers for one in arcs.values()]
    chance = random.Random(7)
    leaver = chance.choice(list(weights))
    rest = {host: workers for host, workers in weights.items() if host != leaver}
    left = took(lambda: ring.set(rest))
    after = {host: ring.arcs(host) for host in rest}
    gained = sum(share(after[host]) - share(arcs[host]) for host in rest)
    lost = sum(max(0.0, share(arcs[host]) - share(after[host])) for host in rest)
    gainers = sum(share(after[host]) > share(arcs[host]) for host in rest)
    joined = took(lambda: ring.set(weights))
    total = managers * WORKERS
    keys = Counter(worker_of(hash_of(f"key {n}"), [1] * WORKERS) for n in range(KEYS))
    worst = max(keys.values()) * WORKERS / KEYS
    return [
        (f"points of {managers:,} managers with {total:,} workers", f"{len(ring):,}"),
        ("memory of the ring, in one process per manager", f"{memory / 1e6:.0f} MB"),
        ("made from nothing", f"{built:.1f} s"),
        ("changed, when a manager leaves", f"{left * 1000:.0f} ms"),
        ("changed, when a manager joins", f"{joined * 1000:.0f} ms"),
        ("a manager's share, standard deviation", f"{statistics.pstdev(shares):.1%}"),
        ("a manager's share, largest and smallest", f"{max(shares):.3f}, {min(shares):.3f}"),
        (f"a worker's share within its manager, {KEYS:,} keys, largest", f"{worst:.3f}"),
        ("work that moves when a manager leaves", f"{gained:.4%}"),
        ("work that moves between those that stay", f"{lost:.4%}"),
        ("managers that get some of it", f"{gainers:,}"),
    ]


def the_lookup(managers: int) -> list[tuple[str, str]]:
    """Return what a question to a partition costs."""
    ring = Ring()
    ring.set({f"host{number}": WORKERS for number in range(managers)})
    arcs = ring.arcs("host7")
    held = [Holding(*arc, 0) for arc in arcs]
    memory = Memory()
    memory.name(0, "Poller")
    for worker_id in range(WORKERS):
        memory.enter(0, worker_id, os.getpid(), WORKERS)
    publish = took(lambda: memory.publish({"Poller": held}, clock() + 3600 * SECOND))
    partition = Partition(memory, 0, 0, "host7", keep=False)
    learn = took(lambda: partition.owns("something"))
    keys = [f"key {number}" for number in range(20_000)]
    first = took(lambda: [partition.owns(key) for key in keys]) / len(keys)
    again = took(lambda: [partition.owns(key) for key in keys]) / len(keys)
    lows = [arc.low for arc in arcs]
    several = (str(number) for number in range(300_000))
    mine = [key for key in several if within(arcs, lows, hash_of(key))][:200]
    local = took(lambda: [partition.owns(key) for key in mine]) / len(mine)
    small = hashring.HashRing([f"host{number}" for number in range(managers)])
    theirs = took(lambda: small.get_nodes(b"key"), 2000)
    return [
        ("arcs of one manager, and its shared memory", f"{len(held):,}, {len(held) * 24:,} bytes"),
        (
            "written, and read by a worker, after a change",
            f"{publish * 1e3:.1f}, {learn * 1e3:.1f} ms",
        ),
        ("`owns()` of a key that was asked for before", f"{again * 1e6:.1f} µs"),
        ("`owns()` of another manager's key, the first time", f"{first * 1e6:.1f} µs"),
        ("`owns()` of this manager's key, the first time", f"{local * 1e6:.1f} µs"),
        (f"for comparison, `tooz.hashring` with {managers:,} nodes", f"{theirs * 1e6:.1f} µs"),
    ]


def within(arcs: list[Arc], lows: list[int], place: int) -> bool:
    index = bisect_right(lows, place) - 1
    return index >= 0 and place < arcs[index].high


def the_server(managers: int) -> list[tuple[str, str]]:
    """Return what many managers ask of a redis-server."""
    if Redis.missing():
        return [("a redis-server", Redis.missing())]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * managers + 500), hard))
    server = Redis()
    server.start()
    made: list[Connection] = []
    try:
        for number in range(managers):
            member = Member(f"host{number}", f"{number:012x}", 1, (("Poller", WORKERS),))
            one = Connection(server.url, "pollers", member.encode(), 600 * SECOND, 10, {})
            one.join()
            made.append(one)
        driver: Any = made[0]._coordinator
        clients = len(driver._client.client_list())
        used = server_cpu(server)
        looks = 500
        look = took(lambda: random.choice(made).members(), looks)
        of_look = (server_cpu(server) - used) / looks
        used = server_cpu(server)
        for one in made:
            one.renew()
        of_renewal = (server_cpu(server) - used) / len(made)
        busy = LOOKS_PER_SECOND * of_look + managers / 5 * of_renewal
        return [
            ("connections at the server", f"{clients:,}"),
            ("a look at all members", f"{look * 1e3:.1f} ms"),
            (
                "the server's CPU for a look, for a renewal",
                f"{of_look * 1e3:.2f}, {of_renewal * 1e3:.3f} ms",
            ),
            ("looks per second, of all managers together, at most", f"{LOOKS_PER_SECOND}"),
            ("renewals per second, with a membership timeout of 30 s", f"{managers / 5:.0f}"),
            ("the server's CPU for all of it", f"{busy:.0%} of one"),
        ]
    finally:
        server.close()


def server_cpu(server: Redis) -> float:
    """Return the CPU seconds of the server."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print a table."""
    managers = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    assert len(points_of("host0", WORKERS))
    rows = [*the_ring(managers), *the_lookup(managers), *the_server(managers)]
    print("| what | figure |\n|---|---|")
    for what, figure in rows:
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
