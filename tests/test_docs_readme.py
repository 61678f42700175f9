"""The program of the README that spreads a job over workers and managers does so."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Program, until
from tests.servers import Redis
from tests.test_docs import examples

pytestmark = [pytest.mark.real, pytest.mark.servers]

HOSTS = {f"host-{number}" for number in range(60)}
YOURS = f"""\
import os, sys
HOSTS = {sorted(HOSTS)}
def collect(host):
    print(os.getpid(), host, flush=True)
"""


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A server with nothing in it."""
    if reason := Redis.missing():
        pytest.skip(reason)
    server = Redis()
    try:
        server.start()
        yield server
    finally:
        server.close()


def program() -> str:
    """Return the program as it stands on the page."""
    [found] = [example for example in examples("README.md") if "partition" in example]
    return found


def test_the_job_takes_fifteen_lines() -> None:
    """It is no longer than was promised."""
    assert len([line for line in program().splitlines() if line.strip()]) <= 15


def test_the_job_is_spread_over_two_managers(
    start: Callable[..., Program], redis: Redis, tmp_path: Path
) -> None:
    """Each host is collected by one of six workers, and by those that are left after a stop."""
    text = program()
    for there, here in {
        "redis://localhost": redis.url,
        "periodic(10)": "periodic(0.2)",
        '"pollers"': '"pollers", host=sys.argv[1]',  # both are on one machine here
    }.items():
        assert there in text
        text = text.replace(there, here)
    path = tmp_path / "pollers.py"
    path.write_text(YOURS + text)
    managers = [start(str(path), name) for name in ("east", "west")]

    def said(manager: Program) -> list[tuple[str, str]]:
        return re.findall(r"(?m)^(\d+) (\S+)$", manager.stdout())

    def spread() -> bool:
        """Tell whether what was collected last was shared by all, and each host had one worker."""
        owners: dict[str, set[str]] = {}
        for manager in managers:
            for pid, host in said(manager)[-2 * len(HOSTS) :]:
                owners.setdefault(host, set()).add(pid)
        workers = set().union(*owners.values()) if owners else set()
        return (
            owners.keys() == HOSTS
            and len(workers) == 6
            and all(len(pids) == 1 for pids in owners.values())
        )

    until(spread, "each host is one worker's, of six")
    os.kill(managers[0].pid, signal.SIGTERM)
    assert managers[0].wait() == 0
    seen = len(said(managers[1]))
    until(
        lambda: {host for _, host in said(managers[1])[seen:]} == HOSTS,
        "the workers of the other manager collect all",
    )
    assert len({pid for pid, _ in said(managers[1])}) == 3
