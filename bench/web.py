"""How many requests are lost while workers are replaced: ``python -m bench.web``.

Responsible for the figures on the page on web servers: the ways to serve, one after another, each
under the same clients and as many reloads. Run as root it also has the kernel migrate connections
between sockets, in a network of its own. Never compares speeds: the clients take most of the time.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from typing import NamedTuple

from tests.harness import Programs
from tests.web_clients import Clients, Outcome

PAUSE = 0.004
"""Seconds between two requests of a client, at most."""
WORKERS = 4
MIGRATE = "ip link set lo up && sysctl -qw net.ipv4.tcp_migrate_req=1"


class Way(NamedTuple):
    """A way to serve."""

    name: str
    scenario: str


WAYS = (
    Way("uvicorn as it is, one socket", "plain_shared"),
    Way("UvicornService, one socket", "shared"),
    Way("uvicorn as it is, SO_REUSEPORT", "plain_reuse"),
    Way("UvicornService, SO_REUSEPORT", "reuse"),
)


def measure(way: Way, reloads: int) -> Outcome:
    """Return what came of the requests."""
    programs = Programs()
    try:
        program = programs.start("web.py", way.scenario, str(WORKERS))
        port = program.wait_for("listening").fields["port"]
        program.wait_for("AllReady")
        clients = Clients(port, pause=PAUSE)
        for _ in range(reloads):
            program.signal(signal.SIGHUP)
            program.wait_for("RolloutFinished", timeout=120)
            program.collect(WORKERS, "WorkerDied", timeout=120)
        return clients.stop()
    finally:
        programs.finish(failed=False)


def lost(texts: list[str], start: str) -> int:
    """Count failures."""
    return sum(text.startswith(start) for text in texts)


def main() -> int:
    """Measure, and print a line for each way."""
    parser = argparse.ArgumentParser(prog="python -m bench.web", description=__doc__)
    parser.add_argument("--reloads", type=int, default=10, metavar="N", help="(default: 10)")
    parser.add_argument("--migrating", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    ways = WAYS[2:] if options.migrating else WAYS
    for way in ways:
        outcome = measure(way, options.reloads)
        name = f"{way.name}, migrating" if options.migrating else way.name
        print(
            f"{name}: {len(outcome.failures)} of {outcome.sent} lost "
            f"({lost(outcome.failures, 'new')} on new connections, "
            f"{lost(outcome.failures, 'used')} on kept ones, which had {outcome.kept} answers)",
            flush=True,
        )
    if not options.migrating and os.geteuid() == 0 and shutil.which("ip"):
        again = f"{sys.executable} -m bench.web --migrating --reloads {options.reloads}"
        subprocess.run(["unshare", "--net", "sh", "-c", f"{MIGRATE} && {again}"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
