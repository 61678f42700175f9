"""Managers that share work, and all that may go wrong with servers and processes."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import TIMEOUT, Program, descendants, until, wait_gone
from tests.servers import Redis, Server
from tests.test_docs import ROOT, examples
from tests.test_tooz_servers import BRIEF
from tests.tooz_support import KEYS, KINDS, Cluster, started

pytestmark = [pytest.mark.real, pytest.mark.servers, pytest.mark.once]


@pytest.fixture(params=list(KINDS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each kind of server, with nothing in it."""
    yield from started(request.param)


@pytest.fixture
def redis() -> Iterator[Server]:
    yield from started("redis")


@pytest.fixture
def cluster(start: Callable[..., Program], redis: Server) -> Cluster:
    return Cluster(start, redis.url)


def throw_out(url: str, host: str) -> None:
    """Remove a manager from its group, as somebody else would."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THROW_OUT, url, f"c1|{host}|"],
        check=True,
        timeout=TIMEOUT,
    )


THROW_OUT = """
import sys
from tooz import coordination

watcher = coordination.get_coordinator(sys.argv[1], b"watcher")
watcher.start()
members = watcher.get_members(b"pollers").get()
mine = [one for one in members if one.startswith(sys.argv[2].encode())]
assert len(mine) == 1, members
twin = coordination.get_coordinator(sys.argv[1], mine[0])
twin.start()
twin.leave_group(b"pollers").get()
"""


OUTLIVED = """
import os, signal
from tests.servers import Redis

server = Redis()
server.start()
print(server.pid, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_server_outlives_the_tests() -> None:
    """A server that the tests have started ends with them, even if they are killed."""
    if Redis.missing():
        pytest.skip(Redis.missing())
    command = [sys.executable, "-c", OUTLIVED]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as killed:
        pid, folder = killed.communicate(timeout=TIMEOUT * 2)[0].split()
    wait_gone(int(pid))
    shutil.rmtree(folder)


@pytest.mark.deadline(120)
def test_a_group_outlives_what_happens_to_its_server(
    start: Callable[..., Program], server: Server
) -> None:
    """After a restart, a loss of memory, silence and an expulsion the keys are owned as before."""
    cluster = Cluster(start, server.url)
    for host in ("a", "b"):
        cluster.add(host)
    cluster.settle("a", "b")
    before = cluster.owners()
    server.restart()
    cluster.wait_said("a", "2 managers, 6 workers")
    cluster.settle("a", "b")
    server.restart(empty=True)
    cluster.wait_said("a", "2 managers, 6 workers")
    cluster.settle("a", "b")
    with server.frozen():
        cluster.wait_said("a", "does not answer")
        until(lambda: not any(cluster.owners().values()), "nobody owns anything")
    cluster.settle("a", "b")
    throw_out(server.url, "b")
    until(lambda: "no longer a member" in cluster.programs["b"].stderr(), "b has noticed")
    cluster.settle("a", "b")
    assert cluster.owners() == before  # the same processes, and the same ring
    assert cluster.overlap() < BRIEF
    for host in ("a", "b"):
        cluster.stop(host)


def test_a_server_that_is_down_at_the_start(start: Callable[..., Program], redis: Server) -> None:
    """Workers run without a server and own nothing; when it is there, they share the work."""
    redis.kill()
    cluster = Cluster(start, redis.url)
    cluster.add("a")
    said = cluster.wait_said("a", "does not answer")
    assert said.startswith(f"{redis.url} does not answer (")
    assert "next try in" in said
    until(lambda: len(cluster.workers("a")) == 3, "the workers run")
    assert not any(cluster.owners().values())
    redis.start()
    cluster.settle("a")
    assert cluster.said("a") == "member of pollers: 1 manager, 3 workers"


def test_a_password_that_is_wrong_is_said_and_not_shown(start: Callable[..., Program]) -> None:
    """The status tells that the server refuses, and neither it nor the log tell a password."""
    if Redis.missing():
        pytest.skip(Redis.missing())
    server = Redis(password="sesame")
    try:
        server.start()
        cluster = Cluster(start, server.url.replace("sesame", "barley"))
        program = cluster.add("a")
        said = cluster.wait_said("a", "does not answer")
        assert "password" in said or "WRONGPASS" in said
        cluster.stop("a")
        assert "barley" not in program.stderr() + program.stdout()
    finally:
        server.close()


@pytest.mark.once
def test_no_part_of_a_password_is_shown(start: Callable[..., Program]) -> None:
    """What a client library says of a password that it took for something else is not told."""
    cluster = Cluster(start, "redis://:xyzzy/plugh@127.0.0.1:1")
    program = cluster.add("a")
    cluster.wait_said("a", "does not answer")
    program.stop()
    said = program.stderr() + program.stdout()
    assert "xyzzy" not in said
    assert "plugh" not in said


def test_a_stop_is_prompt_while_the_server_is_silent(cluster: Cluster, redis: Server) -> None:
    """TERM ends a manager in order although nothing answers."""
    program = cluster.add("a")
    cluster.settle("a")
    with redis.frozen():
        program.signal(signal.SIGTERM)
        assert program.wait(15) == 0


def test_what_is_to_be_kept_is_kept(cluster: Cluster, redis: Server) -> None:
    """With on_lost="keep" nothing changes while the server is silent."""
    program = cluster.add("a", "on_lost=keep")
    cluster.settle("a")
    before, said = cluster.owners(), len(program.all("owns"))
    with redis.frozen():
        # By then it has been silent for longer than is believed.
        until(lambda: re.search(r"next try in [1-5]\.", cluster.said("a")), "it tries more rarely")
        assert cluster.owners() == before
    cluster.wait_said("a", "member of pollers")
    assert all(event["keys"] for event in program.all("owns")[said:])


def test_a_driver_that_is_not_there_is_said_once(start: Callable[..., Program]) -> None:
    """A URL of no driver ends the beat with status 78, which is not tried again."""
    program = start("tooz_share.py", "nosuch://here", "a")
    program.wait_for("WorkerDied", service="beat of pollers")
    until(lambda: "no connection can be made to nosuch://here" in program.stderr(), "it is said")
    assert "not started again until a reload" in program.stderr()


def test_a_beat_that_is_killed_costs_nothing(cluster: Cluster) -> None:
    """After a kill -9 of the process that holds the membership no key changes hands."""
    for host in ("a", "b"):
        cluster.add(host, "membership_timeout=30", "poll=0.1")
    cluster.settle("a", "b", timeout=45)
    said = {name: len(program.all("owns")) for name, program in cluster.programs.items()}
    before = cluster.owners()
    victim = cluster.beat("a")
    os.kill(victim, signal.SIGKILL)
    wait_gone(victim)
    cluster.programs["a"].wait_for("WorkerDied", service="beat of pollers")
    cluster.programs["b"].wait_for("WorkerReady", service="beat of pollers")
    until(
        lambda: len(cluster.programs["a"].all("WorkerReady", service="beat of pollers")) == 2,
        "there is another one",
    )
    until(lambda: len(cluster.programs["a"].all("owns")) > said["a"], "it has joined again")
    assert cluster.owners() == before
    assert cluster.gap(0.0) < float("inf")
    for name, program in cluster.programs.items():
        for event in program.all("owns")[said[name] :]:
            mine = {key for key, one in before.items() if (name, event.pid) in one}
            assert set(event.fields["keys"]) == mine


@pytest.mark.deadline(120)
def test_simultaneous_starts_end_with_one_ring(cluster: Cluster) -> None:
    """Twenty managers that start at once know each other in the end, and share the keys."""
    hosts = [f"host{number}" for number in range(20)]
    for host in hosts:
        cluster.add(host, "workers=1")

    def settled() -> bool:
        return all(len(one) == 1 for one in cluster.owners().values()) and all(
            cluster.said(host) == "member of pollers: 20 managers, 20 workers" for host in hosts
        )

    until(settled, "each key has one owner, and all know each other", 100)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method: str, cluster: Cluster) -> None:
    """Workers that were not forked share the work, and are followed when they die."""
    cluster.add("a", f"method={method}")
    cluster.add("b")
    cluster.settle("a", "b", timeout=45)
    victim = cluster.workers("a")[0]
    cluster.kill_worker("a", victim)
    cluster.settle("a", "b")
    assert victim not in cluster.workers("a")
    for host in ("a", "b"):
        cluster.stop(host)


def scale(program: Program, workers: int) -> None:
    (program.directory / "scale").write_text(str(workers))
    program.signal(signal.SIGUSR1)


def test_the_work_follows_the_number_of_workers(cluster: Cluster) -> None:
    """A manager with more workers has more of the work, and one with none has nothing."""
    for host in ("a", "b"):
        cluster.add(host, "workers=1", "others=1")
    cluster.settle("a", "b")

    def others() -> list[int]:
        told = [program.all("others own") for program in cluster.programs.values()]
        return sorted(key for said in told if said for key in said[-1].fields["keys"])

    until(lambda: others() == list(range(KEYS)), "each key has an owner in the other service, too")
    scale(cluster.programs["a"], 8)
    cluster.wait_said("b", "2 managers, 11 workers")
    until(lambda: len(having(cluster, "a")) > KEYS // 2, "a has most")
    scale(cluster.programs["a"], 0)
    until(lambda: len(having(cluster, "b")) == KEYS and not having(cluster, "a"), "b has all", 30)


def having(cluster: Cluster, name: str) -> list[int]:
    return [key for key, one in cluster.owners().items() if any(who[0] == name for who in one)]


def test_successors_take_over_when_their_predecessors_have_gone(cluster: Cluster) -> None:
    """In a rolling reload with surge no key has two owners, and each has one in the end."""
    policy = "Policy(rollout=Rollout(max_surge=1, max_unavailable=0))"
    program = cluster.add("a", f"policy={policy}")
    cluster.settle("a")
    old = cluster.workers("a")
    program.signal(signal.SIGHUP)
    until(lambda: not {*old} & set(descendants(program.pid)), "all are new")
    cluster.settle("a")
    assert not {*cluster.workers("a")} & {*old}


def test_the_example_of_the_page_runs(redis: Server, tmp_path: Path) -> None:
    """The program of the page on more than one machine collects from all, each once in a round."""
    source = examples("docs/tooz.md")[0]
    for old, new in {
        "redis://localhost:6379": redis.url,
        "wait(10)": "wait(0.5)",
        "range(500)": "range(20)",
    }.items():
        assert source.count(old) == 1
        source = source.replace(old, new)
    program = tmp_path / "program.py"
    program.write_text(source)
    with subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        wanted = {f"collecting from switch-{number}" for number in range(20)}
        for line in process.stdout:
            wanted.discard(line.strip())
            if not wanted:
                break
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, wanted) == (0, set()), errors


def test_the_model_runs() -> None:
    """The model that the page's figures are of can be run, and the work of one moves alone."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.ring", "20"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT * 2,
        check=True,
        text=True,
    )
    rows = dict(line.strip("| ").split(" | ") for line in ended.stdout.splitlines()[2:])
    assert rows["connections at the server"] == "20"
    assert rows["work that moves between those that stay"] == "0.0000%"
    assert float(rows["work that moves when a manager leaves"].rstrip("%")) == pytest.approx(
        5, 0.2
    )
