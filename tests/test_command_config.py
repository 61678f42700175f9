"""The configuration file: what is said of mistakes, and what SIGHUP makes of changes."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from cotyledon import Backoff, Policy, Recycle, Rollout
from cotyledon.cli.config import read
from cotyledon.cli.faults import Fault
from tests.command import shell
from tests.harness import HERE, InitSystem, until

__all__ = ["shell"]

pytestmark = pytest.mark.once

DOCS = HERE.parent / "docs"

WEB = """
[services.web]
target = "tests.configured:Web"
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        Path("app.toml").write_text(text)
        return "app.toml"

    return write


def error(written, text):
    with pytest.raises(Fault) as caught:
        read(written(text))
    assert caught.value.status == 2
    assert "\n" not in caught.value.text
    return caught.value.text


# What is wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1 2", "app.toml: line 1, column 7: no TOML: expected newline or end of document"),
        ("x = " + "[" * 5000, "app.toml: no TOML: it is nested too deeply"),
        ("x = " + "1" * 5000, "app.toml: no TOML: exceeds the limit (4300 digits)"),
        ("", "app.toml: services: is missing"),
        ("services = {}", "app.toml: services: there is none, expected at least one"),
        ("services = 3", "app.toml: services: expected a table, got 3"),
        ("services.web = 3", "app.toml: services.web: expected a table, got 3"),
        ("[services.web]", "app.toml: services.web.target: is missing"),
        ("[services.'a b']", "app.toml: services.a b: the name of a service has letters"),
        ("nmae = 'x'\n" + WEB, "app.toml: nmae: unknown key (did you mean 'name'?)"),
        ("name = 3\n" + WEB, "app.toml: name: expected a string, got 3"),
        ("name = 'a b'\n" + WEB, "app.toml: name: expected letters, digits"),
        ("control = 3\n" + WEB, "app.toml: control: expected true or false or a string, got 3"),
        ("control = ''\n" + WEB, "app.toml: control: expected true, false or a path"),
        ("graceful_timeout = -1\n" + WEB, "app.toml: graceful_timeout: expected seconds"),
        ("graceful_timeout = 'soon'\n" + WEB, 'got "soon"'),
        ("graceful_timeout = true\n" + WEB, "a number or a string, got true"),
        ("start_method = 'clone'\n" + WEB, 'app.toml: start_method: "clone" is not among'),
        ("logging.format = 'xml'\n" + WEB, 'app.toml: logging.format: "xml" is not among'),
        ("logging.colour = true\n" + WEB, "app.toml: logging.colour: unknown key"),
        ("environment.PORT = 80\n" + WEB, "app.toml: environment.PORT: expected a string, or"),
        ("environment.'A=B' = ''\n" + WEB, "is no name of a variable"),
        (WEB + "worker = 2", "services.web.worker: unknown key (did you mean 'workers'?)"),
        (WEB + "workers = '2'", 'services.web.workers: expected an integer, got "2"'),
        (WEB + "workers = -2", "services.web.workers: expected at least 0, got -2"),
        (WEB + "workers = 32769", "services.web.workers: expected at most 32768, got 32769"),
        (WEB + "args = 'x'", 'services.web.args: expected an array, got "x"'),
        (WEB + "after = ['dbb']\n[services.db]\ntarget='tests.configured:Db'",
         "app.toml: services.web.after: there is no service 'dbb' (did you mean 'db'?)"),
        (WEB + "after = ['web']", "app.toml: services.web.after: a circle: web after web"),
        (WEB + "after = ['db']\n[services.db]\ntarget='tests.configured:Db'\nafter=['web']",
         "services.db.after: a circle: web after db after web"),
        ("services.web.target = 'shop'", "services.web.target: the target must be 'module:name'"),
        ("services.web.target = 'nowhere:Web'", "services.web.target: there is no module"),
        ("services.web.target = 'tests.configured:Wob'", "did you mean 'Web'?"),
        ("services.web.target = 'tests.configured:make'", "which makes a ServiceManager"),
        (WEB + "policy = 3", "app.toml: services.web.policy: expected a table, got 3"),
        (WEB + "policy.restrat = 'always'", "services.web.policy.restrat: unknown key (did you"),
        (WEB + "policy.restart = 'maybe'", "services.web.policy.restart: expected one of"),
        (WEB + "policy.watchdog = 0", "services.web.policy.watchdog: expected a number of sec"),
        (WEB + "policy.success = [0, 'x']", "services.web.policy.success[1]: expected an int"),
        (WEB + "policy.success = 78", "services.web.policy: exit status 78 is in 'success' and"),
        (WEB + "policy.backoff.cap = '5x'",
         "services.web.policy.backoff.cap: expected a number of seconds, or a number with one"),
        (WEB + "policy.backoff.cap = [1]",
         "services.web.policy.backoff.cap: expected a number or a string, got [1]"),
        (WEB + "policy.backoff.cpa = 1", "services.web.policy.backoff.cpa: unknown key (did you"),
        (WEB + "policy.backoff = {initial = 9, cap = 3}",
         "services.web.policy.backoff: 'cap' (3) is below 'initial' (9)"),
        (WEB + "policy.intensity.failures = 3", "policy.intensity.within: is missing"),
        (WEB + "policy.rollout.max_unavailable = 0",
         "services.web.policy.rollout.max_unavailable: expected at least 1"),
        (WEB + "policy.recycle.memory = '5 apples'", "policy.recycle.memory: expected a number"),
        (WEB + "policy.run_as.limits.nofil = 3", "policy.run_as: 'limits' has no such limit"),
        (WEB + "policy.run_as.umask = 1000", "services.web.policy.run_as.umask: "),
        (WEB + "policy.run_as.environment.A = 3", "policy.run_as.environment.A: expected a st"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_where_and_what(written, text, expected):
    assert expected in error(written, text)


def test_a_file_that_is_not_utf8_or_not_there_is_said_so(written):
    path = written("")
    Path(path).write_bytes(b"name = '\xff'")
    with pytest.raises(Fault, match=r"app.toml: is not UTF-8 at byte 8"):
        read(path)
    with pytest.raises(Fault, match=r"nowhere.toml: cannot be read: No such file"):
        read("nowhere.toml")


# What is right


def test_what_a_file_says_changes_the_class_s_own_policy(written):
    config = read(
        written(
            "[services.db]\ntarget = 'tests.configured:Db'\n"
            "policy.backoff.initial = '500ms'\npolicy.success = [0, 3]\n"
            "policy.rollout = {max_unavailable = '50%', min_ready = '1m'}\n"
            "policy.recycle.memory = '512M'\n"
        )
    )
    assert config.services["db"].policy == Policy(
        backoff=Backoff(initial=0.5, cap=7),
        success=(0, 3),
        rollout=Rollout("50%", min_ready=60),
        recycle=Recycle(memory=512 << 20),
        watchdog=60,
    )


def test_services_come_after_those_that_they_are_after_and_inherit_the_environment(written):
    config = read(
        written(
            "[environment]\nA = '1'\nB = '1'\n[services.web]\ntarget='tests.configured:Web'\n"
            "after = ['db']\nenvironment = {B = '2', C = false}\n"
            "[services.db]\ntarget='tests.configured:Db'\nworkers = 0\n"
        )
    )
    assert list(config.services) == ["db", "web"]
    assert config.services["web"].environment == {"A": "1", "B": "2", "C": None}
    assert config.services["db"].environment == {"A": "1", "B": "1"}
    assert config.name == "app"


def examples():
    text = (DOCS / "configuration.md").read_text()
    return [part.split("```")[0] for part in text.split("```toml\n")[1:]]


def test_the_example_of_the_docs_is_right(written, monkeypatch):
    import sys
    import types

    import cotyledon

    class Web(cotyledon.Service):
        pass

    for name in ("shop", "shop.web", "shop.mail"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name in ("shop.web", "shop.mail"):
        for attribute in ("Web", "Mailer", "Db"):
            setattr(sys.modules[name], attribute, Web)
    assert examples()
    for text in examples():
        assert read(written(text)).services


def test_every_key_is_in_the_docs():
    from cotyledon.cli import schema

    text = (DOCS / "configuration.md").read_text()
    names = {
        *schema.FileShape.__struct_fields__,
        *schema.ServiceShape.__struct_fields__,
        *schema.PolicyShape.__struct_fields__,
        *(f"logging.{name}" for name in schema.Logging.__struct_fields__),
    }
    for kind in schema.PARTS.values():
        names.update(kind.__slots__)  # type: ignore[attr-defined]
    missing = {name for name in names if not re.search(rf"`\.?({name}|{name}\.\w+)`", text)}
    assert not missing


# At work

START = """
graceful_timeout = "20s"
[environment]
GREETING = "hello"
[services.web]
target = "command_services:Web"
args = [1]
kwargs = {{colour = "red"}}
workers = {workers}
[services.db]
target = "command_services:Db"
"""

real = pytest.mark.real


def begin(shell, text, *options):
    path = shell.write(text)
    program = shell.run(path, "--log-format", "text", *options, name="app")
    return path, program


def reread(program, path, text):
    """Change the file, and have it read again."""
    Path(path).write_text(text)
    told = program.stderr().count("read again") + program.stderr().count(
        "everything stays as it was"
    )
    program.signal(signal.SIGHUP)
    until(
        lambda: (
            program.stderr().count("read again")
            + program.stderr().count("everything stays as it was")
            > told
        ),
        "the file was read again",
    )
    return [line for line in program.stderr().splitlines() if "app.toml" in line][-1]


@real
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_have_their_names_arguments_and_environment(shell, method):
    _, program = begin(shell, START.format(workers=2), "--start-method", method)
    for built in program.collect(2, "built"):
        assert built["args"] == [1]
        assert built["kwargs"] == {"colour": "red"}
        assert built["greeting"] == "hello"
    until(lambda: "web/1       | for ever" in program.stderr(), "the worker's line")
    shell.ask("scale", "db", "1", "--wait")
    assert set(shell.status()) == {"web", "db"}
    assert "GREETING" not in Path(f"/proc/{program.pid}/environ").read_text()
    assert program.stop() == 0


@real
def test_a_wrong_file_starts_nothing(shell, start):
    path = shell.write("[services.web]\ntarget = 'command_services:Web'\nworkers = 'x'")
    (shell.folder / "events").touch()
    line = shell.wrong("run", path, code=2, PROGRAM_DIR=str(shell.folder))
    assert line.endswith('app.toml: services.web.workers: expected an integer, got "x"')
    assert "--workers is for" in shell.wrong("run", path, "-w", "2", code=2)


@real
def test_sighup_applies_the_difference_and_nothing_else(shell):
    text = START.format(workers=1)
    path, program = begin(shell, text)
    program.wait_for("built")
    shell.ask("scale", "db", "2", "--wait")
    line = reread(program, path, text)
    assert "nothing has changed" in line
    line = reread(
        program,
        path,
        text.replace("workers = 1", "workers = 3").replace(
            "[services.db]", "[services.new]\ntarget = 'command_services:Slow'\n[services.db]"
        ),
    )
    assert "web has 3 workers" in line
    assert "new added" in line
    until(
        lambda: (
            {n: s["ready"] for n, s in shell.status().items()} == {"web": 3, "db": 2, "new": 1}
        ),
        "the new counts, and db as somebody has scaled it",
    )
    program.open_gate("end")
    line = reread(program, path, text)
    assert "new removed" in line
    until(lambda: set(shell.status()) == {"web", "db"}, "it is gone")
    assert program.stop() == 0


@real
def test_a_reload_that_adds_a_service_is_over_when_that_is_ready(shell):
    text = START.format(workers=1)
    path, program = begin(shell, text)
    Path(path).write_text(text + "[services.new]\ntarget = 'command_services:Never'\n")
    line = shell.wrong("reload", "--wait", "--timeout", "1", code=6)
    assert "new: 0 of 1 workers are ready; new/0 is starting" in line
    assert program.stop() == 0


@real
@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"hello"', '"bye"', "environment"),
        ("args = [1]", "args = [2]", "args"),
        ('"red"', '"blue"', "kwargs"),
        ("command_services:Web", "command_services:factory", "target"),
    ],
)
def test_what_concerns_the_workers_replaces_them(shell, old, new, what):
    text = START.format(workers=2)
    path, program = begin(shell, text)
    before = {built.pid for built in program.collect(2, "built")}
    line = reread(program, path, text.replace(old, new))
    assert f"web is replaced for its {what}" in line
    shell.ask("reload", "--wait")
    after = shell.status()["web"]["workers"]
    assert not before & {one["pid"] for one in after}
    last = next(e for e in program.all("built") if e.pid == after[0]["pid"])
    expected = {
        "environment": ([1], {"colour": "red"}, "bye"),
        "args": ([2], {"colour": "red"}, "hello"),
        "kwargs": ([1], {"colour": "blue"}, "hello"),
    }
    if what in expected:
        assert (last["args"], last["kwargs"], last["greeting"]) == expected[what]
    assert program.stop() == 0


@real
def test_policies_and_the_graceful_timeout_change_without_replacing(shell):
    text = START.format(workers=1)
    path, program = begin(shell, text)
    changed = text.replace('"20s"', '"9s"') + 'policy.restart = "never"\n'
    line = reread(program, path, changed)
    assert "graceful_timeout is 9 s" in line
    assert "db has another policy" in line
    until(lambda: shell.status()["db"]["restart"] == "never", "the policy has changed")
    assert program.stop() == 0


@real
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("broken", "no TOML"),
        (START.format(workers='"x"'), "services.web.workers: expected an integer"),
        (START.format(workers=1).replace(":Db", ":Dbb"), "has no 'Dbb'"),
        (START.format(workers=1) + "after = ['nobody']", "there is no service 'nobody'"),
    ],
)
def test_a_file_that_is_broken_is_said_so_and_changes_nothing(shell, text, said):
    path, program = begin(shell, START.format(workers=2))
    program.collect(2, "built")
    before = {one["pid"] for one in shell.status()["web"]["workers"]}
    line = reread(program, path, text)
    assert said in line
    assert "everything stays as it was" in line
    assert said in shell.wrong("reload", "--wait", code=1)
    assert {one["pid"] for one in shell.status()["web"]["workers"]} == before
    assert "nothing has changed" in reread(program, path, START.format(workers=2))
    assert program.stop() == 0


@real
def test_what_cannot_change_is_said_so(shell):
    text = START.format(workers=1)
    path, program = begin(shell, text)
    line = reread(program, path, 'name = "other"\ncontrol = false\n' + text)
    assert "'name' holds from the next start of the manager" in line
    assert "'control' holds from the next start of the manager" in line
    assert program.stop() == 0


@real
def test_the_level_changes_at_once(shell):
    text = START.format(workers=1)
    path, program = begin(shell, text)
    line = reread(program, path, text + '[logging]\nlevel = "debug"\n')
    assert "logging.level is debug" in line
    assert program.stop() == 0


@real
def test_a_service_that_others_came_after_is_paused_when_it_is_removed(shell):
    text = START.format(workers=1)
    path, program = begin(shell, text.replace("\nargs", "\nafter = ['db']\nargs"))
    until(lambda: shell.status()["web"]["ready"] == 1, "web is ready")
    line = reread(program, path, text[: text.index("[services.db]")])
    assert "db paused" in line
    until(lambda: shell.status()["db"]["workers"] == [], "its workers have ended")
    line = reread(program, path, text)
    assert "db goes on after its pause" in line
    until(lambda: shell.status()["db"]["ready"] == 1, "it is back")
    assert program.stop() == 0


@real
def test_a_pipe_in_the_place_of_the_file_holds_up_nobody(shell):
    path, program = begin(shell, START.format(workers=1))
    os.unlink(path)
    os.mkfifo(path)
    line = shell.wrong("reload", code=1)
    assert "app.toml: is no regular file; everything stays as it was" in line
    assert program.stop() == 0


@real
def test_a_name_means_the_service_that_stays(shell):
    text = START.format(workers=1)
    path, program = begin(shell, text)
    until(lambda: shell.status()["db"]["ready"] == 1, "db is ready")
    os.kill(shell.status()["db"]["workers"][0]["pid"], signal.SIGSTOP)  # it is long in leaving
    reread(program, path, text[: text.index("[services.db]")])
    reread(program, path, text)
    answer = shell.ask("restart", "db", "--wait").stdout
    assert "db (1 of 1 workers are ready)" in answer
    assert "0 of 0" not in shell.ask("reload", "--wait").stdout
    found = json.loads(shell.ask("status", "--json").stdout)["services"]
    assert sorted(one["removed"] for one in found if one["name"] == "db") == [False, True]
    program.signal(signal.SIGINT)
    assert program.wait() == 1


@real
def test_systemd_hears_that_a_refused_reload_is_over(shell):
    init = InitSystem(shell.folder)
    try:
        path = shell.write(START.format(workers=1))
        program = shell.run(path, name="app", env={"NOTIFY_SOCKET": init.address})
        init.wait_for("READY=1")
        Path(path).write_text("broken")
        program.signal(signal.SIGHUP)
        heard = init.wait_for("RELOADING=1")
        if "READY=1" not in heard[heard.index("RELOADING=1") :]:  # both may come at once
            init.wait_for("READY=1")
        assert len(program.all("built")) == 1
        assert program.stop() == 0
    finally:
        init.close()
