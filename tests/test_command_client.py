"""The commands that ask a manager, against real ones: what they print, and their exit statuses."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import shell
from tests.harness import PROGRAMS, until, wait_gone

__all__ = ["shell"]

pytestmark = [pytest.mark.real, pytest.mark.once]

SERVICES = "command_services"
WEB = f"{SERVICES}:Web"


def typed(shell, *args):
    """Start a command that goes on by itself."""
    return subprocess.Popen(
        [sys.executable, "-m", "cotyledon", *args],
        env=shell.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROGRAMS,
    )


def worker_pid(shell, service="Web", worker=0):
    return shell.status()[service]["workers"][worker]["pid"]


# status


def test_status_is_a_table_of_services_and_their_workers(shell):
    program = shell.run(WEB, "-w", "2", name="web")
    program.collect(2, "run")
    head, columns, service, *workers = shell.ask("status").stdout.splitlines()
    assert head.startswith(f"● web  running, pid {program.pid}, up ")
    assert columns.split()[:9] == [
        "SERVICE", "STATE", "READY", "GEN", "UPTIME", "PRIVATE", "SHARED", "RESTARTS", "LAST",
    ]  # fmt: skip
    assert service.split()[:4] == ["Web", "ready", "2/2", "0"]
    assert service.split()[5][-1] in "KM"
    assert [line.split()[:2] for line in workers] == [["0", "ready"], ["1", "ready"]]
    assert "\x1b" not in head + service
    assert len(shell.ask("status", "--no-workers").stdout.splitlines()) == 3
    found = json.loads(shell.ask("status", "--json").stdout)
    assert found["services"][0]["workers"][0]["private"] > 100_000
    assert found["manager"]["pid"] == program.pid
    assert program.stop() == 0


def test_status_is_coloured_on_a_terminal_unless_that_is_unwanted(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    for unwanted in ("", "1"):
        ours, theirs = pty.openpty()
        env = shell.environment(TERM="xterm", COLUMNS="100", NO_COLOR=unwanted)
        subprocess.run(
            [sys.executable, "-m", "cotyledon", "status"], env=env, stdout=theirs, check=True
        )
        os.close(theirs)
        text = b""
        while select.select([ours], [], [], 1)[0]:
            try:
                text += os.read(ours, 1 << 16)
            except OSError:
                break
        os.close(ours)
        assert b"ready" in text
        assert (b"\x1b[32m" in text) == (not unwanted)
    assert program.stop() == 0


def test_memory_that_may_not_be_read_is_a_dash():
    from cotyledon.cli.tables import memory_of
    from cotyledon.cli.words import size

    assert memory_of(None) == memory_of(1 << 30) == (None, None)
    assert size(None) == "-"
    assert size(1536) == "1.5K"


# why, events, stacks, trace


def test_why_tells_the_story_of_a_crash_and_of_the_wait(shell):
    program = shell.run(f"{SERVICES}:Crashing")
    until(lambda: shell.status()["Crashing"]["workers"][0]["state"] == "backing off", "a back-off")
    text = shell.ask("why", "Crashing/0").stdout
    assert text.startswith("Crashing/0 is backing off.")
    assert (
        "The back-off of 1m 40s is that of death number 2 in a row; the next start is in" in text
    )
    assert text.count("exit status 3") == 2
    assert "it ended by itself" in text
    assert "The next one was started at once (the first death)." in text
    assert "It used " in text
    assert program.stop() == 0


def test_why_tells_of_a_signal(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    os.kill(worker_pid(shell), signal.SIGKILL)
    program.wait_for("run")
    text = shell.ask("why", "Web").stdout
    assert ": SIGKILL" in text
    assert "somebody or something sent it a signal" in text
    assert program.stop() == 0


def test_why_without_a_death_says_so(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    assert "No worker has died in this slot (1 start)." in shell.ask("why", "Web/0").stdout
    assert program.stop() == 0


def test_events_are_followed_until_the_manager_ends(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    shell.ask("health", "--ready")
    follower = typed(shell, "events", "-n", "1")
    line = follower.stdout.readline()
    assert "every worker is ready" in line
    os.kill(worker_pid(shell), signal.SIGKILL)
    assert "Web/0          ended after" in follower.stdout.readline()
    assert program.stop() == 0
    out, err = follower.communicate(timeout=20)
    assert "the manager has ended with exit status 0" in out
    assert (follower.returncode, err) == (0, "")


def test_past_events_are_shown_without_following(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    until(lambda: shell.status()["Web"]["ready"] == 1, "ready")
    lines = shell.ask("events", "--json", "--no-follow").stdout.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["worker-started", "worker-ready", "all-ready"]
    assert shell.ask("events", "--no-follow", "-n", "0").stdout == ""
    assert program.stop() == 0


def test_past_events_end_where_a_service_was_the_last_to_say_something(shell):
    """What services say is numbered as any event is, and not among the past ones."""
    program = shell.run(f"{SERVICES}:Saying")
    until(lambda: shell.status()["Saying"]["workers"][0]["status"] == "busy", "it was said")
    lines = shell.ask("events", "--no-follow", "-n", "1").stdout.splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == ["every worker is ready"]
    assert program.stop() == 0


def test_a_manager_that_is_killed_ends_the_followers_with_a_status(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    pid = worker_pid(shell)
    follower = typed(shell, "events", "-n", "1")
    follower.stdout.readline()
    program.signal(signal.SIGKILL)
    program.wait()
    out, _ = follower.communicate(timeout=20)
    assert follower.returncode == 4
    assert "gone without a word" in out
    wait_gone(pid)


def test_stacks_and_trace_show_what_goes_on(shell):
    program = shell.run(f"{SERVICES}:Slow")
    program.wait_for("run")
    text = shell.ask("stacks", "Slow/0").stdout
    assert text.startswith("Slow/0, pid ")
    assert "Thread" in text
    assert "WorkerReady" in shell.ask("trace").stdout
    assert json.loads(shell.ask("trace", "--json").stdout)
    program.open_gate("end")
    assert program.stop() == 0


# scale, reload, restart, signal, stop


def test_scale_waits_until_the_workers_are_ready(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    done = shell.ask("scale", "Web", "3", "--wait")
    assert done.stdout == "Web: 3 of 3 workers are ready\n"
    assert shell.status()["Web"]["ready"] == 3
    assert shell.ask("scale", "Web", "1").stdout == "Web: 1 worker wanted, 3 before\n"
    assert shell.ask("scale", "Web", "0", "--wait").returncode == 0
    assert "paused" in shell.ask("status").stdout
    assert program.stop() == 0


def test_reload_and_restart_wait_until_every_worker_is_new(shell):
    program = shell.run(WEB, "-w", "2")
    program.collect(2, "run")
    before = {one["pid"] for one in shell.status()["Web"]["workers"]}
    assert "every worker is up to date" in shell.ask("reload", "--wait").stdout
    middle = {one["pid"] for one in shell.status()["Web"]["workers"]}
    assert not before & middle
    assert shell.ask("restart", "Web", "--wait").returncode == 0
    after = [one["pid"] for one in shell.status()["Web"]["workers"]]
    assert not middle & set(after)
    assert f"Web/1 is ready: pid {after[1]}" not in shell.ask("restart", "Web/1", "--wait").stdout
    assert worker_pid(shell, worker=0) == after[0]
    assert program.stop() == 0


def test_a_rollout_that_fails_is_status_1(shell):
    program = shell.run(f"{SERVICES}:Wrong")
    program.wait_for("run")
    (program.directory / "wrong").touch()
    assert "failed" in shell.wrong("restart", "Wrong", "--wait", code=1)
    assert program.stop() == 0


def test_what_is_never_ready_is_status_6(shell):
    program = shell.run(f"{SERVICES}:Never")
    program.wait_for("run")
    line = shell.wrong("scale", "Never", "2", "--wait", "--timeout", "0.3", code=6)
    assert "within 0.3 s" in line
    assert "1 ready" not in shell.ask("health", "--ready", code=1).stdout
    assert shell.ask("health").returncode == 0
    assert program.stop() == 0


def test_of_two_commands_that_contradict_each_other_the_first_hears_so(shell):
    program = shell.run(f"{SERVICES}:Never")
    program.wait_for("run")
    first = typed(shell, "scale", "Never", "3", "--wait")
    until(lambda: shell.status()["Never"]["wanted"] == 3, "the first has been taken up")
    shell.ask("scale", "Never", "2")
    _, err = first.communicate(timeout=20)
    assert first.returncode == 5
    assert "scaled to 2 workers meanwhile" in err
    assert program.stop() == 0


def test_a_stop_supersedes_what_others_wait_for(shell):
    program = shell.run(f"{SERVICES}:Never")
    program.wait_for("run")
    first = typed(shell, "scale", "Never", "3", "--wait")
    until(lambda: shell.status()["Never"]["wanted"] == 3, "the first has been taken up")
    assert "exit status 0" in shell.ask("stop", "--wait").stdout
    _, err = first.communicate(timeout=20)
    assert first.returncode in (4, 5), err
    assert len(err.splitlines()) == 1
    assert program.wait() == 0


def test_while_it_stops_a_manager_takes_up_nothing_more(shell):
    program = shell.run(f"{SERVICES}:Slow")
    program.wait_for("run")
    assert "has begun" in shell.ask("stop").stdout
    program.wait_for("terminating")
    shell.wrong("scale", "Slow", "2", code=5)
    assert "the manager is stopping" in shell.ask("health", code=1).stdout
    program.open_gate("end")
    assert program.wait() == 0


def test_a_stop_that_is_not_graceful_is_status_1(shell):
    program = shell.run(f"{SERVICES}:Slow", "--graceful-timeout", "0.5")
    program.wait_for("run")
    assert "exit status 1" in shell.wrong("stop", "--wait", code=1)
    assert program.wait() == 1


def test_a_signal_goes_to_one_worker_or_to_all(shell):
    program = shell.run(WEB, "-w", "2")
    program.collect(2, "run")
    pid = worker_pid(shell, worker=1)
    assert f"pid {pid}" in shell.ask("signal", "Web/1", "sigterm").stdout
    program.wait_for("terminate", worker=1)
    program.wait_for("run", worker=1)
    assert "sent to 2 workers" in shell.ask("signal", "Web", "15").stdout
    shell.wrong("signal", "Web", "NOPE", code=2)
    assert program.stop() == 0


# Mistakes


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("scale", "Nope", "2"), 3, "there is no service 'Nope': there are Web"),
        (("why", "Nope"), 3, "there is no service 'Nope': there are Web"),
        (("why", "Web/7"), 3, "Web has no worker 7"),
        (("restart", "Web/7"), 3, "7"),
        (("stacks", "Web/7"), 3, "7"),
        (("signal", "Web/7", "HUP"), 3, "7"),
        (("reload", "Nope"), 3, "Nope"),
        (("status", "Nope"), 3, "Nope"),
        (("stacks", "Web"), 2, "expected SERVICE/ID"),
        (("restart", "Web/x"), 2, "expected SERVICE or SERVICE/ID"),
        (("scale", "Web", "-1"), 2, "scale"),
        (("scale", "Web", "many"), 2, "'many' is not a valid integer;"),
        (("nothing",), 2, "no such command 'nothing'"),
        (("status", "--frobnicate"), 2, "--frobnicate"),
    ],
)
def test_a_mistake_is_one_line_with_its_status_and_the_manager_is_unharmed(
    shell, args, code, text
):
    program = shell.run(WEB)
    program.wait_for("run")
    assert text in shell.wrong(*args, code=code)
    assert shell.ask("health", "--ready").returncode == 0
    assert program.stop() == 0


def test_no_manager_and_a_stale_socket_are_status_4(shell):
    assert "nobody" in shell.wrong("status", "-m", "nobody", code=4)
    path = shell.folder / "left.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert "a socket has been left there" in shell.wrong("status", "-m", str(path), code=4)
    assert "not there" in shell.wrong("stop", "-m", str(shell.folder / "nowhere"), code=4)
    (shell.folder / "file").touch()
    assert "it is no socket" in shell.wrong("stop", "-m", str(shell.folder / "file"), code=4)
    shell.wrong("health", "-m", "nobody", code=1)


def serve(path: Path, *lines: bytes) -> int:
    """Be something else behind a socket, in a process of its own; return its pid."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    pid = os.fork()
    if pid == 0:
        try:
            end, _ = listener.accept()
            for number, line in enumerate(lines, 1):
                end.sendall(line)
                if number < len(lines):
                    end.recv(1 << 16)
        finally:
            os._exit(0)
    listener.close()
    return pid


GREETING = b'{"cotyledon": 1, "version": "3", "name": "web", "pid": 1}\n'


@pytest.mark.parametrize(
    ("lines", "code", "text"),
    [
        ((GREETING,), 4, "the manager has ended"),
        ((GREETING, b'{"id": 1, "ok"'), 4, "the manager has ended"),
        ((b"SSH-2.0-OpenSSH\n",), 4, "something else than JSON"),
        ((b'{"cotyledon": 9, "version": "9", "name": "x", "pid": 1}\n',), 4, "version 9"),
        (
            (b'{"id": null, "error": {"kind": "forbidden", "text": "not yours"}}\n',),
            7,
            "not yours",
        ),
        ((b'{"id": null, "error": {"kind": "busy", "text": "too many"}}\n',), 4, "too many"),
        ((GREETING, b'{"id": 1, "ok": []}\n'), 4, "understand"),
        ((GREETING, b'{"id": 1, "ok": {"manager": {}, "services": [7]}}\n'), 4, "understand"),
    ],
)
def test_what_dies_or_lies_during_the_answer_is_one_line(shell, lines, code, text):
    path = shell.folder / "s.sock"
    pid = serve(path, *lines)
    try:
        assert text in shell.wrong("status", "-m", str(path), code=code)
    finally:
        os.waitpid(pid, 0)


def test_a_manager_that_does_not_answer_is_status_6(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    program.pause(program.pid)
    began = time.monotonic()
    shell.wrong("health", "--timeout", "0.3", code=1)
    assert time.monotonic() - began < 20
    shell.wrong("status", code=6)
    program.signal(signal.SIGCONT)
    assert program.stop() == 0


def test_somebody_else_s_socket_is_status_7(shell):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    program = shell.run(WEB)
    program.wait_for("run")
    code = (
        "import difflib, locale, os, sys, cotyledon.cli.look, cotyledon.cli.app as app;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "sys.exit(app.call(sys.argv[1:]))"
    )
    path = shell.folder / "run/cotyledon/services.sock"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "-m", str(path)],
        env=shell.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done
    assert len(done.stderr.splitlines()) == 1
    assert program.stop() == 0


def test_with_several_managers_one_has_to_be_named(shell):
    first = shell.run(WEB, name="one")
    second = shell.run(WEB, name="two")
    line = shell.wrong("status", code=2, COTYLEDON_MANAGER="")
    assert "one" in line
    assert "two" in line
    assert "choose one with -m NAME" in line
    assert shell.ask("-m", "one", "status", COTYLEDON_MANAGER="").stdout.startswith("● one")
    assert shell.ask("status", "-m", "one").stdout.startswith("● one")
    assert first.stop() == 0
    assert second.stop() == 0


def test_a_manager_that_does_not_answer_may_be_the_one_that_is_meant(shell):
    """A command without a name goes to nobody while one of two managers hangs."""
    first = shell.run(WEB, name="one")
    second = shell.run(WEB, name="two")
    first.pause(first.pid)
    assert "choose one with -m NAME" in shell.wrong("stop", code=2, COTYLEDON_MANAGER="")
    first.signal(signal.SIGCONT)
    assert first.stop() == 0
    assert second.stop() == 0


def test_a_reader_that_has_seen_enough_ends_the_output_in_silence(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "cotyledon", "status"],
        env=shell.environment(), stdout=writing, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.stderr == b""
    assert program.stop() == 0
