"""``cotyledon run``: what can be run, how its lines look, and what is said of mistakes."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys

import pytest

import cotyledon
from cotyledon._checks import known_of, name_of
from cotyledon.cli.worker import Prepared
from tests.command import Shell, shell
from tests.harness import until

__all__ = ["shell"]

pytestmark = [pytest.mark.real, pytest.mark.once]

WEB = "command_services:Web"


def test_a_standard_error_that_nobody_reads_does_not_hold_up_the_master(shell):
    """The master drops its lines, supervises, and says how many when somebody reads again."""
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * size)
    program = shell.run("command_services:Db", "--log-format", "text", stderr=writer)
    pid = program.wait_for("run").pid
    os.kill(pid, signal.SIGKILL)
    pid = program.wait_for("run").pid
    assert os.read(reader, size) == b"x" * size
    os.kill(pid, signal.SIGKILL)
    program.wait_for("run")
    first, second, *_ = os.read(reader, size).decode().splitlines()
    assert re.search(r"WARNING \d+ lines were dropped: nobody read the standard error", first)
    assert "Db worker(0)" in second
    assert program.stop() == 0
    os.close(reader)
    os.close(writer)


# What can be run


def test_a_class_runs_with_its_workers(shell):
    program = shell.run(WEB, "-w", "2", name="web")
    program.collect(2, "built", args=[])
    assert shell.ask("health", "--ready").stdout == "ready\n"
    assert program.stop() == 0


@pytest.mark.parametrize(
    ("target", "event"),
    [("command_services:Loop", "looping"), ("command_services:factory", "built")],
)
def test_an_async_service_and_a_factory_run(shell, target, event):
    program = shell.run(target)
    program.wait_for(event)
    assert program.stop() == 0


def test_a_function_that_makes_a_manager_is_called_in_the_master(start, shell):
    program = start("command.py", "run", "command_services:make", env=shell.env)
    built = program.wait_for("built")
    assert built.pid != program.pid
    shell.name = "made"
    assert shell.ask("health").stdout == "healthy\n"
    assert program.stop() == 0


def test_the_name_follows_from_the_target(start, shell):
    program = start("command.py", "run", WEB, env=shell.env)
    program.wait_for("run")
    shell.name = "command_services"
    assert shell.ask("health").returncode == 0
    assert program.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_under_other_start_methods_workers_have_their_lines_and_names(shell, method):
    program = shell.run(WEB, "--start-method", method, "--log-format", "text")
    program.wait_for("run")
    until(lambda: "Web/0       | for ever" in program.stderr(), "the worker's line")
    assert program.stop() == 0


def test_what_the_class_tells_before_there_is_an_instance_is_not_lost():
    class Mine(cotyledon.Service):
        name = "mine"
        graceful_shutdown_timeout = 3
        policy = cotyledon.Policy(restart="never")

        def reload(self):
            pass

    prepared = Prepared("somewhere:Mine", Mine)
    assert known_of(prepared) == known_of(Mine) == (3_000_000_000, True)
    assert name_of(prepared) == "mine"
    assert prepared.policy is Mine.policy


# What cannot


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("command_services", "must be 'module:name'"),
        ("nowhere:Web", "there is no module 'nowhere'"),
        ("nowhere.at.all:Web", "there is no module 'nowhere.at.all'"),
        ("command_services:Wob", "has no 'Wob' (did you mean 'Web'?)"),
        ("command_services:ANSWER", "is of the type int: neither a Service"),
        ("command_services:NoService", "is the class NoService: neither a Service"),
        ("command_services:needs_two", "a function that needs several arguments"),
        ("command_services:make_nothing", "should return a ServiceManager, but it returned None"),
        ("command_services:make_trouble", "LookupError: no money"),
        ("command_broken:VALUE", "command_broken.py:7: KeyError: 'missing'"),
        ("missing.toml", "missing.toml: cannot be read: No such file or directory"),
    ],
)
def test_a_target_that_cannot_be_run_is_one_line_and_status_2(shell, target, text):
    assert text in _with_events(shell, "run", target)


def _with_events(shell: Shell, *args: str) -> str:
    (shell.folder / "events").touch()
    return shell.wrong(*args, code=2, PROGRAM_DIR=str(shell.folder))


@pytest.mark.parametrize(
    "args",
    [
        ("--workers", "0"),
        ("--name", "a b"),
        ("--graceful-timeout", "soon"),
        ("--log-format", "xml"),
        ("--control", "/tmp/x", "--no-control"),
        ("--start-method", "clone"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(shell, args):
    shell.wrong("run", WEB, *args, code=2)


@pytest.mark.parametrize("option", [("-w", "2"), ("--name", "x"), ("--start-method", "spawn")])
def test_a_manager_of_the_program_s_own_is_not_overruled(shell, option):
    line = _with_events(shell, "run", "command_services:make", *option)
    assert "which decides instead of" in line


def test_a_second_manager_of_a_name_fails_at_once_and_names_the_first(shell, start):
    program = shell.run(WEB, name="web")
    second = start("command.py", "run", WEB, "--name", "web", env=shell.env)
    assert second.wait() == 5
    [line] = second.stderr().splitlines()
    assert f"pid {program.pid}" in line
    assert program.stop() == 0


def test_without_a_run_folder_there_is_a_warning_and_no_control_socket(shell, start):
    if os.geteuid() == 0:
        pytest.skip("root has /run/cotyledon")
    program = start("command.py", "run", WEB, env={"XDG_RUNTIME_DIR": ""})
    program.wait_for("run")
    assert "no control socket" in program.stderr()
    assert program.stop() == 0


def test_no_control_means_no_socket(shell, start):
    program = start("command.py", "run", WEB, "--no-control", env=shell.env)
    program.wait_for("run")
    assert not list((shell.folder / "run").glob("**/*.sock"))
    assert program.stop() == 0


# Without the extra


def test_without_the_extra_one_line_says_what_to_install(shell):
    code = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda n, p=None: None if n == 'rich' else real(n, p);"
        "from cotyledon.cli import main; main(['status'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=shell.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == ("cotyledon: the command needs rich: pip install 'cotyledon[cli]'\n")


def test_importing_the_package_or_probing_health_loads_nothing_of_the_extra(shell):
    code = (
        "import sys; sys.argv[1:] = ['health']\n"
        "import cotyledon.cli\n"
        "try: cotyledon.cli.main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'click', 'rich', 'msgspec', 'logging', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=shell.environment(COTYLEDON_MANAGER="nobody"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n[]\n"


# Lines


def test_piped_lines_are_json_with_the_worker(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    until(lambda: "at work" in program.stderr(), "the worker's line")
    shell.ask("scale", "Web", "1")
    shell.ask("stop", "--wait")
    assert program.wait() == 0
    asked = r"of user \d+ asks for a (.+?)\","
    assert re.findall(asked, program.stderr()) == [
        "scale: {'service': 'Web', 'workers': 1}",
        "stop",
    ]
    lines = [json.loads(line) for line in program.stderr().splitlines()]
    [line] = [one for one in lines if one["logger"] == "shop"]
    assert line["message"] == "at work\nfor ever"
    assert (line["worker"], line["level"]) == ("Web/0", "warning")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    [ready] = [one for one in lines if one["message"].startswith("Web worker(0): ready")]
    assert ready["worker"] is None
    assert ready["pid"] == program.pid


def test_text_has_the_worker_in_front_of_every_line_and_prints_are_left_alone(shell):
    program = shell.run(WEB, "-w", "2", "--log-format", "text")
    until(lambda: program.stderr().count("| for ever") == 2, "both workers' lines")
    assert program.stop() == 0
    text = program.stderr()
    assert re.search(r"^Web/1       \| \d\d:\d\d:\d\d WARNING shop: at work$", text, re.M)
    assert re.search(r"^Web/1       \| for ever$", text, re.M)
    assert re.search(r"^manager     \| \d\d:\d\d:\d\d INFO    Web worker\(0\): ready", text, re.M)
    assert "\x1b" not in text
    assert program.stdout() == "printed\nprinted\n"


def test_under_the_journal_each_line_begins_with_its_level(shell):
    program = shell.run(WEB, "--log-format", "journald")
    until(lambda: "for ever" in program.stderr(), "the worker's line")
    assert program.stop() == 0
    assert "<4>Web/0: shop: at work\n<4>Web/0: for ever\n" in program.stderr()
    assert "<6>manager: Web worker(0): ready after" in program.stderr()


def test_the_level_is_that_which_was_asked_for(shell):
    program = shell.run(WEB, "--log-level", "warning", "--log-format", "text")
    until(lambda: "for ever" in program.stderr(), "the worker's line")
    assert "INFO" not in program.stderr()
    assert program.stop() == 0


def test_an_interrupt_keeps_its_exit_status(shell):
    program = shell.run(WEB)
    program.wait_for("run")
    program.signal(signal.SIGINT)
    assert program.wait() == 1
