"""``unit``, ``doctor``, ``completion``, ``top``, words, and the tables of the docs."""

import logging
import os
import re
import shutil
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cotyledon.cli import app as command
from cotyledon.cli import logs, tables, words
from cotyledon.cli.faults import Exit
from cotyledon.cli.telling import event_line, state_of
from cotyledon.cli.unit import Wanted, installed, text
from tests.command import shell
from tests.harness import HERE

__all__ = ["shell"]

DOCS = HERE.parent / "docs" / "command.md"


def wanted(**changes):
    plain = Wanted(
        "web", "/usr/bin/python3 -m cotyledon run a:B", "/srv", 60, None, 255, 30, False
    )
    return plain._replace(**changes)


# unit


def test_a_unit_is_derived_from_what_run_would_be_told(shell):
    path = shell.write("graceful_timeout = '2m'\n[services.a]\ntarget='tests.configured:Web'\n")
    done = shell.ask("unit", path, "--name", "web", "--user", "www", "--systemd", "255")
    lines = done.stdout.splitlines()
    assert "Type=notify-reload" in lines
    assert "TimeoutStopSec=130s" in lines
    assert "User=www" in lines
    assert "KillMode=mixed" in lines
    assert "Delegate=yes" in lines
    [start] = [line for line in lines if line.startswith("ExecStart=")]
    assert start.endswith(f"run {path} --name web --control %t/cotyledon-web/web.sock")
    assert "RuntimeDirectory=cotyledon-web" in lines


def test_an_old_systemd_gets_type_notify_and_execreload():
    lines = text(wanted(version=252, grace=0, watchdog=0)).splitlines()
    assert "Type=notify" in lines
    assert "ExecReload=/bin/sh -c 'kill -HUP $MAINPID; sleep 1'" in lines
    assert "TimeoutStopSec=infinity" in lines
    assert not [line for line in lines if line.startswith("WatchdogSec")]


@pytest.mark.real
@pytest.mark.parametrize("user", [None, "daemon"])
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path, user):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    path = tmp_path / "web.service"
    path.write_text(
        text(
            wanted(
                command=f"{sys.executable} -m cotyledon run a:B",
                directory="/",
                user=user,
                version=installed(),
            )
        )
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    about_us = [line for line in done.stderr.splitlines() if "web.service" in line]
    assert not about_us, done.stderr


def test_a_unit_for_what_cannot_run_is_an_error(shell):
    assert "no module 'nowhere'" in shell.wrong("unit", "nowhere:Web", code=2)
    shell.wrong("unit", "tests.configured:Web", "--name", "a b", code=2)


# doctor


def findings(done):
    return {line[6:24].strip(): line[:5].strip() for line in done.stdout.splitlines()}


@pytest.mark.real
def test_the_doctor_looks_at_the_machine_and_finds_threads_before_the_fork(shell):
    (shell.folder / "events").touch()
    env = {"PROGRAM_DIR": str(shell.folder)}
    done = shell.ask("doctor", "command_services:Web", **env)
    found = findings(done)
    assert found["kernel"] in ("ok", "warn")
    assert found["threads"] == found["setproctitle"] == found["pidfd"] == "ok"
    assert set(found.values()) <= {"ok", "warn"}
    done = shell.ask("doctor", "command_threads:Web", code=1, **env)
    assert findings(done)["threads"] == "fail"
    assert "1 before the fork (early bird)" in done.stdout
    assert "no module 'nowhere'" in shell.wrong("doctor", "nowhere:Web", code=2)


@pytest.mark.real
def test_the_doctor_says_what_to_do_about_the_run_folder_and_limits(shell):
    done = shell.ask("doctor", code=1, XDG_RUNTIME_DIR="/nowhere")
    assert "/nowhere is no folder: create it, or unset it" in done.stdout
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
        "from cotyledon.cli import main; main(['doctor'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=shell.environment(INVOCATION_ID="x", SYSTEMD_EXEC_PID="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert findings(done)["RLIMIT_NOFILE"] == "warn"
    assert findings(done)["NOTIFY_SOCKET"] == "warn"


# completion, top, help


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_completion_is_printed_and_completes(shell, kind):
    script = shell.ask("completion", kind).stdout
    assert "_COTYLEDON_COMPLETE" in script
    done = shell.ask(
        code=None,
        _COTYLEDON_COMPLETE=f"{kind}_complete",
        COMP_WORDS="cotyledon re",
        COMP_CWORD="1" if kind != "fish" else "re",
    )
    assert "reload" in done.stdout
    assert "restart" in done.stdout


@pytest.mark.real
def test_services_are_completed(shell):
    program = shell.run("command_services:Web")
    program.wait_for("run")
    done = shell.ask(
        code=None,
        _COTYLEDON_COMPLETE="bash_complete",
        COMP_WORDS="cotyledon scale W",
        COMP_CWORD="2",
    )
    assert "Web" in done.stdout
    assert program.stop() == 0


def test_every_command_has_a_help_and_a_row_in_the_docs():
    rows = DOCS.read_text()
    for name in command.COMMANDS:
        found = command.app.get_command(click.Context(command.app), name)
        assert found is not None
        assert found.help
        assert re.search(rf"`(cotyledon )?{name}[ `]", rows), name
        shown = CliRunner().invoke(command.app, [name, "--help"])
        assert shown.exit_code == 0


def test_the_exit_statuses_are_those_of_the_docs():
    text = DOCS.read_text()
    for status in Exit:
        assert f"\n| {status.value} | " in text


def test_version_and_help(shell):
    assert shell.ask("--version").stdout.startswith("cotyledon 3.")
    assert "Commands:" in shell.ask("--help").stdout
    assert "Commands:" in shell.ask(code=2).stdout


@pytest.mark.real
def test_top_without_its_extra_says_what_to_install(shell):
    program = shell.run("command_services:Web")
    program.wait_for("run")
    code = (
        "import importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda n, p=None: None if n == 'textual' else real(n, p);"
        "from cotyledon.cli import main; main(['top'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=shell.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith("pip install 'cotyledon[top]'\n")
    assert program.stop() == 0


# Words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"), (0, "0ms"), (0.0042, "4ms"), (0.9999, "1.0s"), (9.94, "9.9s"), (12, "12s"),
        (60, "1m"), (61, "1m 1s"), (3600, "1h"), (3661, "1h 1m"), (90000, "1d 1h"), (86400, "1d"),
        (9.99, "10s"),
    ],
)  # fmt: skip
def test_durations_have_their_two_largest_units(seconds, said):
    assert words.duration(seconds) == said


def test_states_of_services_are_the_worst_that_is_true():
    def service(*states, **more):
        ready = sum(state == "ready" for state in states)
        return {
            "gave_up": False, "rollout_failed": False, "reloading": False, "ready": ready,
            "wanted": len(states), "workers": [{"state": one} for one in states], **more,
        }  # fmt: skip

    assert state_of(service("ready", "ready")) == "ready"
    assert state_of(service("ready", "backing off")) == "backing off"
    assert state_of(service("ready", "starting")) == "starting"
    assert state_of(service("blocked", "blocked")) == "blocked"
    assert state_of(service("done")) == "done"
    assert state_of(service()) == "paused"
    assert state_of(service("ready", reloading=True)) == "reloading"
    assert state_of(service("ready", gave_up=True)) == "given up"
    assert state_of(service("ready", "waiting")) == "degraded"


def test_what_a_worker_says_is_not_taken_for_a_death():
    """The last column begins with a death, if there was one, and marks what the worker says."""
    worker = {
        "id": 0, "state": "ready", "pid": 7, "next_start_in": None, "status": "at work",
        "deaths": [], "generation": 0, "uptime": 1.0, "private": None, "shared": None,
    }  # fmt: skip
    assert tables._worker_row(worker)[-1][0] == "says: at work"


def test_an_event_of_a_kind_that_is_not_known_is_told_all_the_same():
    event = {"seq": 1, "at": 0.0, "kind": "moon-rose", "name": "web", "worker": 1, "over": "sea"}
    assert event_line(event)[0].endswith("web/1          moon rose: over sea")


# Formats


def record(message, level=logging.ERROR, **more):
    return logging.LogRecord("shop", level, "file", 1, message, (), None, **more)


def test_a_traceback_has_the_worker_in_front_of_each_line_and_in_json_a_field():
    try:
        raise LookupError("no stock")
    except LookupError:
        info = sys.exc_info()
    found = logging.LogRecord("shop", logging.ERROR, "file", 1, "failed", (), info)
    lines = logs.Text(False).format(found).splitlines()
    assert all(line.startswith("manager     |") for line in lines)
    assert lines[-1] == "manager     | LookupError: no stock"
    assert all(line.startswith("<3>") for line in logs.Journal().format(found).splitlines())
    assert '"exception": "Traceback' in logs.Json().format(found)


def test_colours_are_put_around_and_not_into_the_text():
    line = logs.Text(True).format(record("x"))
    assert line.startswith("\x1b[1mmanager     |\x1b[0m ")
    assert line.endswith("\x1b[0m shop: x")


def test_the_format_follows_from_what_stderr_is(monkeypatch, tmp_path):
    with open(tmp_path / "log", "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        assert logs.decide("auto", "info") == logs.Settings("json", "info", False)
        found = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert logs.decide("auto", "info").format == "journald"
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert logs.decide("auto", "info").format == "json"
        assert logs.decide("text", "info") == logs.Settings("text", "info", False)
        ours, theirs = os.openpty()
        with open(theirs, "w") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            monkeypatch.delenv("NO_COLOR", raising=False)
            assert logs.decide("auto", "info") == logs.Settings("text", "info", True)
            monkeypatch.setenv("NO_COLOR", "1")
            assert not logs.decide("auto", "info").colour
        os.close(ours)


@pytest.mark.real
def test_the_library_has_no_handlers_of_its_own():
    code = "import logging, cotyledon.manager; print(logging.getLogger('cotyledon').handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
