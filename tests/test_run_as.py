"""What the workers of a service run as, and what happens if they cannot."""

import grp
import json
import os
import pwd
import signal
from pathlib import Path
from typing import Any

import pytest

import cotyledon
from cotyledon._worker import identity
from tests.harness import Program, alive, title, until, wait_gone

SCRIPT = "run_as.py"
TERM, HUP, KILL = signal.SIGTERM, signal.SIGHUP, signal.SIGKILL

pytestmark = [
    pytest.mark.once,
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

USER = pwd.getpwnam("nobody")
UID, GID = USER.pw_uid, USER.pw_gid
OTHER = next(group for group in grp.getgrall() if group.gr_gid not in (0, GID))


def changed(start: Any, method: str = "fork", *how: str, **fields: Any) -> Program:
    """Start a program with one worker that runs as this."""
    program: Program = start(SCRIPT, "changed", method, json.dumps(fields), *how)
    return program


def told(program: Program) -> Any:
    """Return what the worker says that it is."""
    return program.wait_for("is")


def ids(pid: int) -> dict[str, list[int]]:
    """Return what the kernel shows of a process's users and groups."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, text = line.partition(":")
        if name in {"Uid", "Gid", "Groups"}:
            found[name] = [int(number) for number in text.split()]
    return found


# --- what is applied ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("by", ["name", "number"])
def test_another_user(start, method, by):
    """A worker of another user has all ids and groups of that, before hooks and service."""
    program = changed(start, method, user="nobody" if by == "name" else UID)
    found = told(program)
    assert found["users"] == [UID] * 3
    assert found["main_groups"] == [GID] * 3
    assert found["groups"] == sorted(set(os.getgrouplist("nobody", GID)))
    environment = found["environment"]
    assert environment["HOME"] == USER.pw_dir
    assert environment["USER"] == environment["LOGNAME"] == "nobody"
    assert program.wait_for("hook")["user"] == UID
    program.wait_for("no way back")
    program.wait_for("run")
    shown = ids(found.pid)
    assert shown == {"Uid": [UID] * 4, "Gid": [GID] * 4, "Groups": found["groups"]}
    assert title(found.pid) == "run_as.py: Talker worker(0)"
    assert program.stop() == 0


def test_groups(start):
    """A group, and exactly the supplementary groups that are given."""
    program = changed(start, user="nobody", group=OTHER.gr_name, groups=[4242, OTHER.gr_name])
    found = told(program)
    assert ids(found.pid) == {
        "Uid": [UID] * 4,
        "Gid": [OTHER.gr_gid] * 4,
        "Groups": sorted({4242, OTHER.gr_gid}),
    }
    assert program.stop() == 0


def test_no_groups(start):
    """No supplementary groups at all, and a group alone."""
    program = changed(start, group=GID, groups=[])
    found = told(program)
    assert ids(found.pid) == {"Uid": [0] * 4, "Gid": [GID] * 4, "Groups": []}
    assert program.stop() == 0


def test_a_number_without_account(start):
    """A user that is a mere number needs a group, and has that alone."""
    program = changed(start, user=54321, group=54322)
    found = told(program)
    assert ids(found.pid) == {"Uid": [54321] * 4, "Gid": [54322] * 4, "Groups": [54322]}
    assert program.stop() == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_everything_but_the_user(start, method, tmp_path):
    """Mask, directory, variables, niceness, limits and CPUs are as they were asked for."""
    cpu = min(os.sched_getaffinity(0))
    program = changed(
        start,
        method,
        umask=0o027,
        directory=str(tmp_path),
        environment={"COLOR": "red", "PROGRAM_DIR": None},
        nice=7,
        limits={"nofile": [200, 300], "core": 0},
        cpus=[cpu],
    )
    found = told(program)
    assert found["umask"] == 0o027
    assert found["directory"] == str(tmp_path)
    assert found["environment"]["COLOR"] == "red"
    assert "PROGRAM_DIR" not in found["environment"]
    assert found["nice"] == 7
    assert found["nofile"] == [200, 300]
    assert found["core"] == [0, 0]
    assert found["cpus"] == [cpu]
    assert found["users"] == [0] * 3
    assert program.stop() == 0


def test_the_order_of_privilege(start):
    """What needs privileges is done before they are gone: a negative niceness, for example."""
    program = changed(start, user="nobody", nice=-3, limits={"nofile": 99}, directory="/")
    found = told(program)
    assert (found["nice"], found["nofile"], found["directory"]) == (-3, [99, 99], "/")
    assert program.stop() == 0


def test_variables_of_the_account_can_be_given(start):
    """HOME, USER and LOGNAME that are given are not those of the account."""
    program = changed(start, user="nobody", environment={"HOME": "/srv", "LOGNAME": None})
    environment = told(program)["environment"]
    assert (environment["HOME"], environment["USER"]) == ("/srv", "nobody")
    assert "LOGNAME" not in environment
    assert program.stop() == 0


# --- a master that has not the worker's user ----------------------------------------------


def test_an_unprivileged_worker_obeys(start):
    """A worker of another user reloads, stops and is replaced as any other."""
    program = changed(start, user="nobody")
    run = program.wait_for("run")
    program.signal(HUP)
    program.wait_for("reload", pid=run.pid)
    program.signal(TERM, run.pid)
    program.wait_for("terminate", pid=run.pid)
    assert program.wait_for("dead")["code"] == 0
    again = program.wait_for("run")
    assert again.pid != run.pid
    assert program.stop() == 0
    program.wait_for("terminate", pid=again.pid)


def test_an_unprivileged_worker_is_killed(start):
    """A worker of another user that does not end in time is killed by the master."""
    program = changed(start, "fork", "stuck", user="nobody")
    run = program.wait_for("run")
    program.signal(TERM)
    program.wait_for("terminate", pid=run.pid)
    program.wait()
    assert not alive(run.pid)


def test_an_unprivileged_worker_does_not_outlive_its_master(start):
    """A worker of another user that a killed master leaves behind is killed by the guard."""
    program = changed(start, "fork", "stuck", user="nobody")
    run = program.wait_for("run")
    program.signal(HUP)
    program.wait_for("reload")  # by now the master has heard of the worker's own timeout
    program.signal(KILL)
    program.wait()
    program.wait_for("terminate", pid=run.pid)
    wait_gone(run.pid)


def test_a_master_may_name_its_own_user(start):
    """A master without privileges can run workers as what it is itself."""
    fields = json.dumps({"user": UID, "group": GID, "groups": [GID], "umask": 0o077})
    program = start(SCRIPT, "unprivileged", str(UID), str(GID), fields)
    found = told(program)
    assert ids(found.pid) == {"Uid": [UID] * 4, "Gid": [GID] * 4, "Groups": [GID]}
    assert found["umask"] == 0o077
    assert program.stop() == 0


def test_memory_that_may_not_be_looked_at(start):
    """A master that may not look at the memory of its workers says that it cannot recycle them."""
    policy = "Policy(run_as=RunAs(user='nobody'), recycle=Recycle('1M', min_life=0.1, every=0.1))"
    services = [{"name": "web", "workers": 2, "policy": policy}]
    without = "--bounding-set=-sys_ptrace,-sys_admin,-perfmon"
    program = start("policies.py", json.dumps([services, {}]), prefix=("setpriv", without))
    until(lambda: "that needs CAP_SYS_PTRACE" in program.stderr(), "it says so")
    assert program.stop() == 0
    assert program.stderr().count("CAP_SYS_PTRACE") == 1
    assert {event["death"]["reason"] for event in program.all("notice", kind="WorkerDied")} == {
        "stopped"
    }


def test_no_thread_to_be_had(start):
    """A worker that can have no thread for run() ends as if run() had failed."""
    program = changed(start, user="nobody", limits={"nproc": 1})
    assert program.wait_for("dead")["code"] == 2
    program.stop()


# --- what cannot be applied ---------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "user": ({"user": "nosuchuser"}, "as user 'nosuchuser': there is no such user: create it"),
    "number": ({"user": 54321}, "as user 54321: it has no account that tells its group: give"),
    "last number": (
        {"user": 2**32 - 1, "group": 1},
        "as user 4294967295: ",
    ),
    "group": ({"group": "nosuchgroup"}, "with group 'nosuchgroup': there is no such group: "),
    "large group": ({"group": 2**40}, "with group 1099511627776: "),
    "groups": ({"groups": ["nosuchgroup"]}, "with groups 'nosuchgroup': there is no such group: "),
    "directory": (
        {"directory": "/no/such/directory"},
        "in the directory '/no/such/directory': No such file or directory: ",
    ),
    "closed directory": (
        {"user": "nobody", "directory": "CLOSED"},
        f"Permission denied: uid {UID} must be able to enter it",
    ),
    "cpu": ({"cpus": [4000]}, "with cpus (4000,): Invalid argument: give RunAs(cpus=...) some of"),
    "lost cpu": ({"cpus": [min(os.sched_getaffinity(0)), 4000]}, "there is no [4000]: "),
    "variable": (
        {"environment": {"NAME": "\udfff\ud800"}},
        "with the environment variable 'NAME': ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_applied(start, tmp_path, case):
    """The worker ends with status 1, and one line says what, why, and what to do."""
    fields, expected = REFUSED[case]
    if fields.get("directory") == "CLOSED":
        tmp_path.chmod(0o700)
        fields = {**fields, "directory": str(tmp_path)}
    program = changed(start, **fields)
    assert program.wait_for("dead")["code"] == 1
    (line, *_) = (x for x in program.stderr().splitlines() if "cannot run" in x)
    assert line.startswith("Talker worker(0): cannot run ")
    assert expected in line
    assert "Traceback" not in program.stderr()
    assert not program.all("is")
    assert not program.all("hook")
    program.stop()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"user": 0, "group": 0, "groups": [0]}, "with groups (0,): Operation not permitted: "),
        ({"user": 0, "group": 0, "groups": [GID]}, "with group 0: Operation not permitted: start"),
        ({"user": 1, "group": GID, "groups": [GID]}, "as user 1: Operation not permitted: start"),
        ({"nice": -5}, "with nice -5: Permission denied: it is 0 now; give RunAs(nice=...) at"),
        ({"limits": {"core": [5, -1], "nofile": 1 << 30}}, "with the limit nofile="),
    ],
    ids=["groups", "group", "user", "nice", "limit"],
)
def test_what_only_root_may(start, fields, expected):
    """A master without privileges says what it would need them for."""
    program = start(SCRIPT, "unprivileged", str(UID), str(GID), json.dumps(fields))
    assert program.wait_for("dead")["code"] == 1
    (line, *_) = (x for x in program.stderr().splitlines() if "cannot run" in x)
    assert expected in line
    assert "Traceback" not in program.stderr()
    program.stop()


def test_a_refusal_keeps_its_cause():
    """The error that the kernel gave is the cause of the refusal."""
    with pytest.raises(identity.Refused, match="in the directory '/no'") as caught:
        identity.apply(cotyledon.RunAs(directory="/no"))
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_nothing_to_apply(start):
    """An empty RunAs leaves everything as the master has it."""
    program = changed(start)
    found = told(program)
    assert (found["users"], found["umask"], found["nice"]) == ([0] * 3, 0o022, 0)
    until(lambda: ids(found.pid)["Uid"] == [0] * 4, "it is root's")
    assert program.stop() == 0
