"""What every test gets: a hard deadline, strict skips, and programs that leave nothing behind."""

import compileall
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import cotyledon
from tests.harness import PROGRAMS, SOURCES, Program, Programs, reap_orphans
from tests.servers import RabbitMQ

# futurist and the libraries of OpenStack import it where it is there, and from then on it warns at
# each fork. The tests that are about it start processes of their own.
sys.modules["eventlet"] = None  # type: ignore[assignment]

DEADLINE = 60
"""Seconds that a test may take, unless ``@pytest.mark.deadline(seconds)`` says otherwise."""

_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deadline(seconds): another hard deadline for the test")
    # The programs write no bytecode, and each of a thousand would compile the package once more.
    for folder in (SOURCES, PROGRAMS):
        compileall.compile_dir(folder, quiet=2)


# --- skips --------------------------------------------------------------------------------


def _strict(report: Any) -> None:
    """Turn a skip for want of something into a failure where everything should be there."""
    if not report.skipped or not os.environ.get("COTYLEDON_CI"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if reason.startswith("needs"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and COTYLEDON_CI allows no skip: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report: Any = yield
    _strict(report)
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    report = yield
    _strict(report)
    return report


# --- the deadline -------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _deadline(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test that hangs, without a thread: the process that forks must have one."""
    marker = request.node.get_closest_marker("deadline")
    seconds = int(marker.args[0]) if marker is not None else DEADLINE

    def expire(signum: int, frame: FrameType | None) -> None:
        pytest.fail(f"the test has not ended within {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _orphans() -> Iterator[None]:
    """Leave no zombie of what has been left to the process of the tests, a subreaper."""
    yield
    reap_orphans()


# --- programs and managers ----------------------------------------------------------------


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Program]]:
    """Start a program of ``tests/programs``; at the end nothing of it may be left."""
    programs = Programs()
    try:
        yield programs.start
    finally:
        left = programs.finish(failed=request.node.stash.get(_FAILED, False))
    if left:
        pytest.fail(f"the program has left processes behind:\n{left}")


@pytest.fixture
def fresh() -> Iterator[None]:
    """Allow managers to be built in the process of the tests, and tidy up after them."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {signum: signal.getsignal(signum) for signum in signals}
    cotyledon.ServiceManager._process_runner_already_created = False
    try:
        yield
    finally:
        cotyledon.ServiceManager._process_runner_already_created = False
        for signum, handler in before.items():
            signal.signal(signum, handler)


# --- servers ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A RabbitMQ for all tests, since it takes seconds to start; it may be down."""
    if why := RabbitMQ.missing():
        pytest.skip(why)
    server = RabbitMQ()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> RabbitMQ:
    """A RabbitMQ that is there."""
    if not rabbitmq.answers():
        rabbitmq.restart()
    return rabbitmq
