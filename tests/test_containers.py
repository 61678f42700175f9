"""Adopted orphans, deaths and their reasons, memory, and control groups, with the real kernel."""

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cotyledon._posix import cgroups, memory, strangers
from cotyledon._posix.memory import OutOfMemory, private
from tests.harness import TookTooLong, alive, descendants, until, wait_gone

pytestmark = [pytest.mark.real, pytest.mark.once]

SCRIPT = "containers.py"
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
UNSHARE_MOUNTS = ("unshare", "--mount", "--propagation", "private")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_unshare = pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
INIT = pytest.param("init", marks=(needs_root, needs_unshare))
both = pytest.mark.parametrize("mode", [INIT, "subreaper"])


def prefix(mode: str) -> tuple[str, ...]:
    return UNSHARE if mode == "init" else ()


# Strangers --------------------------------------------------------------------------------


@both
def test_orphans_of_a_worker_leave_no_zombie(start, mode):
    """A worker's orphans are reaped whatever group, session or program they have changed to."""
    program = start(SCRIPT, "orphans", mode, prefix=prefix(mode))
    clean = program.wait_for("clean")
    assert clean["zombies"] == []
    assert clean["children"] == len(clean["left"]) == 1
    assert program.wait() == 0


@both
def test_what_is_killed_with_a_worker_is_reaped(start, mode):
    """What a dead worker has left in its process group is killed and reaped."""
    program = start(SCRIPT, "killed", mode, prefix=prefix(mode))
    clean = program.wait_for("clean")
    assert (clean["zombies"], clean["children"], clean["code"]) == ([], 0, -signal.SIGKILL)
    assert program.wait() == 0


@both
def test_children_of_the_program_are_left_to_it(start, mode):
    """The program gets the true status of each process that it has started, however late."""
    program = start(SCRIPT, "own", mode, prefix=prefix(mode))
    codes = program.wait_for("codes")
    assert codes["codes"] == [7] * 9
    assert codes["zombies"] == []
    assert program.wait_for("system")["code"] == 7
    assert program.wait() == 0


@both
def test_a_daemon_of_the_programs_own_is_reaped(start, mode):
    """A daemon in the session of a process that the program has waited for leaves no zombie."""
    program = start(SCRIPT, "daemon", mode, prefix=prefix(mode))
    clean = program.wait_for("clean")
    assert (clean["zombies"], clean["code"]) == ([], 7)
    assert program.wait() == 0


@both
def test_a_storm_of_strangers(start, mode):
    """Two hundred strangers that end at random leave no zombie and take no status away."""
    program = start(SCRIPT, "storm", mode, "100", prefix=prefix(mode))
    over = program.wait_for("over")
    assert (over["wrong"], over["zombies"]) == ([], [])
    assert over["ran"] >= 3
    assert program.wait_for("workers")["alive"]
    assert program.wait() == 0


@both
def test_the_programs_own_handler_is_called(start, mode):
    """The program's SIGCHLD handler hears of deaths, and it alone is in workers and children."""
    program = start(SCRIPT, "handlers", mode, prefix=prefix(mode))
    program.wait_for("heard")
    assert not program.wait_for("handler", who="master")["mine"]
    for who in ("worker", "child", "stopped"):
        assert program.wait_for("handler", who=who)["mine"], who
    assert program.wait_for("limit")["same"]
    assert program.wait() == 0


@both
def test_a_handler_in_the_place_of_ours(start, mode):
    """Strangers are reaped, if later, when the program has replaced the SIGCHLD handler."""
    program = start(SCRIPT, "replaced", mode, prefix=prefix(mode))
    assert program.wait_for("clean")["zombies"] == []
    assert program.wait() == 0


def test_nothing_is_done_unless_wanted(start):
    """A master that is not the first process changes no limit and no handler."""
    program = start(SCRIPT, "idle")
    idle = program.wait_for("idle")
    assert (idle["started"], idle["same"], idle["reaped"]) == (False, True, 0)
    assert program.wait() == 0


@needs_root
@needs_unshare
@pytest.mark.skipif(shutil.which("nsenter") is None, reason="needs nsenter")
@pytest.mark.parametrize(("how", "count"), [("", 1), ("setsid", 1)])
def test_what_was_put_into_the_container_is_reaped(start, how, count):
    """Orphans of processes that entered the PID namespace from outside leave no zombie."""
    program = start(SCRIPT, "entered", "init", str(count), prefix=UNSHARE)
    program.wait_for("entering")
    (init,) = (
        proc.pid
        for proc in descendants(program.pid).values()
        if proc.ppid == program.pid and proc.session == proc.pid
    )
    command = f"({how} sh -c 'exit 5' &)"
    subprocess.run(
        ["nsenter", f"--target={init}", "--pid", "--mount", "sh", "-c", command], check=True
    )
    assert program.wait_for("clean")["zombies"] == []
    assert program.wait() == 0


@both
def test_a_child_from_before_is_left_alone(start, mode):
    """A child that was there before the master is the program's, which gets its status."""
    shell = ("sh", "-c", 'sh -c "exit 5" & exec "$@"', "sh")
    program = start(SCRIPT, "inherited", mode, prefix=(*prefix(mode), *shell))
    assert program.wait_for("code")["code"] == 5
    assert program.wait() == 0


def test_marks_of_masters_below_masters(start):
    """A mark tells whether it descends from a worker, also below another marked master."""
    program = start(SCRIPT, "marks")
    inner = program.wait_for("inner", as_worker=True)
    assert (inner["of_worker"], inner["of_program"]) == (True, False)
    inner = program.wait_for("inner", as_worker=False)
    assert (inner["of_worker"], inner["of_program"]) == (False, True)
    assert program.wait() == 0


def test_a_name_with_parentheses_is_read(tmp_path):
    """A process is seen as it is, whatever its program is called."""
    path = tmp_path / ") Z 1 (x"
    path.symlink_to("/bin/cat")
    with subprocess.Popen([path], stdin=subprocess.PIPE, process_group=0) as child:
        seen = until(lambda: strangers.look(child.pid), "it is seen")
        assert (seen.parent, seen.group) == (os.getpid(), child.pid)
        assert seen.session == os.getsid(0)
        assert child.pid in strangers.children()
    assert strangers.look(child.pid) is None


@needs_root
@needs_unshare
def test_a_manager_as_the_first_process(start):
    """A manager that is the first process reaps its workers' orphans, and not the program's."""
    program = start(SCRIPT, "manager", prefix=UNSHARE)
    program.collect(2, "run")
    (init,) = (p.pid for p in descendants(program.pid).values() if p.ppid == program.pid)

    def below() -> list[str]:
        return [proc.state for proc in descendants(init).values() if proc.ppid == init]

    until(lambda: len(below()) == 3, "only two workers and the guard are left")
    program.signal(signal.SIGHUP, init)
    until(lambda: below().count("Z") == 1, "the program's own child is dead")
    program.signal(signal.SIGTERM, init)
    assert program.wait_for("code")["code"] == 7
    assert program.wait() == 0


# The account of a death -------------------------------------------------------------------


def test_usage(start):
    """The usage of a dead worker includes that of a child that it has waited for."""
    program = start(SCRIPT, "account", "burn")
    account = program.wait_for("account")
    assert (account["code"], account["dumped"]) == (3, False)
    usage = account["usage"]
    assert 0.38 <= usage["user"] + usage["system"] < 10
    assert 1 << 20 < usage["max_rss"] < 1 << 30
    assert usage["major_faults"] >= 0
    assert program.wait() == 0


def test_core_dump(start):
    """A worker that left a core dump is known for it."""
    if not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        pytest.skip("needs core dumps")
    program = start(SCRIPT, "account", "core")
    account = program.wait_for("account")
    assert account["code"] == -signal.SIGSEGV
    if not account["dumped"] and Path("/proc/sys/kernel/core_pattern").read_text()[0] in "|/":
        pytest.skip("needs core dumps")
    assert account["dumped"]
    assert program.wait() == 0


def test_no_core_dump(start):
    """A worker that died of the same signal without leaving a core dump is not."""
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
        pytest.skip("needs core dumps")  # a pipe gets one whatever the limit is
    program = start(SCRIPT, "account", "no-core")
    account = program.wait_for("account")
    assert (account["code"], account["dumped"]) == (-signal.SIGSEGV, False)
    assert program.wait() == 0


def test_a_stolen_status_has_no_usage(start):
    """Of a worker that a foreign wait has reaped nothing is known, and nobody waits for it."""
    program = start(SCRIPT, "account", "stolen")
    account = program.wait_for("account")
    assert (account["code"], account["dumped"], account["usage"]) == (None, False, None)
    assert program.wait() == 0


# Memory -----------------------------------------------------------------------------------


def test_the_kernels_count_is_found():
    """Some file of the kernel's tells how often it has killed for want of memory."""
    watch = OutOfMemory()
    assert watch.source is not None
    assert memory.kills(watch.source) is not None
    assert memory.kills("/proc/vmstat") is not None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 3\noom 5\noom_kill 2\noom_group_kill 1\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n", 4),
        ("oom_kill_disable 0\nunder_oom 0\n", None),
        ("oom_kill many\n", None),
        ("", None),
    ],
)
def test_counts_of_kills(tmp_path, text, count):
    """The count is read in each format that the kernel has, and nothing else is taken for it."""
    path = tmp_path / "count"
    path.write_text(text)
    assert memory.kills(str(path)) == count
    assert memory.kills(str(tmp_path / "missing")) is None


@pytest.fixture
def scarce() -> Iterator[str]:
    """Yield a control group with little memory."""
    for controller, names in (
        ("memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
        ("", ("memory.max", "memory.swap.max")),
    ):
        above = cgroups.own_directory(controller)
        if above is None or not os.access(above, os.W_OK):
            continue
        group = Path(above, f"scarce-{os.getpid()}")
        group.mkdir()
        try:
            if not (group / names[0]).exists():
                continue
            (group / names[0]).write_text(str(64 << 20))
            if (group / names[1]).exists():
                (group / names[1]).write_text(str(64 << 20) if controller else "0")
            yield str(group)
            return
        finally:
            until(cgroups.Cgroup(str(group)).remove, "the group is empty")
    pytest.skip("needs a memory control group")


def test_a_worker_killed_for_want_of_memory(start, scarce):
    """One kill for want of memory explains one death, and a later SIGKILL is not taken for it."""
    enter = ("sh", "-c", f'echo 0 > {scarce}/cgroup.procs && exec "$@"', "sh")
    program = start(SCRIPT, "starved", prefix=enter)
    assert program.wait_for("source")["path"].startswith(scarce)
    died = program.wait_for("died")
    assert (died["code"], died["killed"]) == (-signal.SIGKILL, [True, False])
    died = program.wait_for("died")
    assert (died["code"], died["killed"]) == (-signal.SIGKILL, [False])
    assert program.wait() == 0


def test_shared_memory_is_nobodys_own():
    """What a fork shares with its parent is resident in it, and not its own."""
    hoard = bytearray(b"x") * (64 << 20)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        resident = private(pid, 1 << 60)
        own = private(pid, 1)
        assert resident is not None
        assert own is not None
        assert 0 < own < 32 << 20
        assert resident >= own
        mine = private(os.getpid(), 1)
        assert mine is not None
        assert len(hoard) > own
    finally:
        os.close(writer)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert private(pid, 1) is None  # a zombie
        os.waitpid(pid, 0)
        os.close(reader)
    assert private(pid, 1) is None


def test_own_memory_is_counted():
    """What a process has written to alone is its own."""
    before = private(os.getpid(), 1)
    hoard = bytearray(b"x") * (64 << 20)
    after = private(os.getpid(), 1)
    assert before is not None
    assert after is not None
    assert after - before > len(hoard) * 3 // 4


# Control groups ---------------------------------------------------------------------------

HYBRID = """\
12:memory:/user.slice/a
3:cpu,cpuacct:/user.slice/b
1:name=systemd:/user.slice
0::/user.slice/c
"""
MOUNTS = """\
25 1 8:1 / / rw - ext4 /dev/sda1 rw
32 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 /user.slice /mnt/a\\040b rw - cgroup2 cgroup2 rw,nsdelegate
"""


@pytest.mark.parametrize(
    ("controller", "path", "mounts"),
    [
        ("", "/user.slice/c", [("/user.slice", "/mnt/a b")]),
        ("memory", "/user.slice/a", [("/", "/sys/fs/cgroup/memory")]),
        ("cpuacct", "/user.slice/b", [("/", "/sys/fs/cgroup/cpu,cpuacct")]),
        ("pids", None, []),
    ],
)
def test_where_a_group_is(controller, path, mounts):
    """The group and the mounts of a hierarchy are found among those of the others."""
    assert cgroups._path(HYBRID, controller) == path
    assert list(cgroups._mounts(MOUNTS, controller)) == mounts


@pytest.mark.parametrize(
    ("path", "root", "directory"),
    [
        ("/", "/", "/sys"),
        ("/a/b", "/", "/sys/a/b"),
        ("/a/b", "/a", "/sys/b"),
        ("/a", "/a", "/sys"),
        ("/ab", "/a", None),
        ("/../a", "/", None),
    ],
)
def test_the_directory_of_a_group(path, root, directory):
    """A group's directory is below the mount of a group above it, or nowhere."""
    assert cgroups._below(path, root, "/sys") == directory


def started_with_cgroup(start, situation):
    program = start(SCRIPT, situation, prefix=UNSHARE_MOUNTS)
    program.wait()
    if program.all("needs"):
        pytest.skip("needs cgroup v2")
    return program


@needs_root
@needs_unshare
def test_a_workers_tree_is_killed(start):
    """All that a worker has started dies with its control group, in whatever session it is."""
    program = started_with_cgroup(start, "cgroup_tree")
    pid = program.wait_for("in")
    assert pid["group"].endswith("/7")
    assert program.wait_for("kill")["ok"]
    gone = program.wait_for("gone")
    assert (gone["ok"], gone["code"]) == (True, -signal.SIGKILL)
    assert program.wait_for("again")["ok"]
    swept = program.wait_for("swept")
    assert (swept["ok"], swept["left"]) == (True, [])
    assert program.wait() == 0


@needs_root
@needs_unshare
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_manager_ends_daemons_of_its_workers_where_its_group_is_delegated(start, end):
    """What has left a worker's process group dies with the worker, and with the master."""
    program = start(SCRIPT, "cgroup_manager", prefix=UNSHARE_MOUNTS)
    try:
        master = program.wait_for("master", 10).pid
    except TookTooLong:
        if program.all("needs"):
            pytest.skip("needs cgroup v2")
        raise
    first, second = program.collect(2, "daemon")
    worker = program.wait_for("run", worker=first["worker"]).pid
    program.wait_for("run", worker=second["worker"])
    program.signal(signal.SIGKILL, worker)
    wait_gone(first.pid)
    third = program.wait_for("daemon")
    assert alive(second.pid)
    program.signal(end, master)
    wait_gone(second.pid)
    wait_gone(third.pid)
    program.wait_for("clean")
    assert program.wait() == 0


@needs_root
@needs_unshare
def test_a_group_that_is_not_delegated_is_left_alone(start):
    """Without delegation nothing is made in our control group."""
    program = started_with_cgroup(start, "cgroup_refused")
    assert program.wait_for("found")["groups"] is None
    assert program.wait() == 0


@needs_root
@needs_unshare
def test_what_a_killed_master_has_left_is_swept_away(start):
    """The next master kills and removes what nobody holds any more, and nothing else."""
    program = started_with_cgroup(start, "cgroup_leftovers")
    spared = program.wait_for("spared")
    assert (spared["ok"], spared["masters"]) == (True, 2)
    assert program.wait_for("killed")["ok"]
    program.wait_for("swept")
    assert program.wait() == 0
