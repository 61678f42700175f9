"""The files in ``examples/deploy``: they work, and their numbers agree."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from cotyledon.cli import unit
from cotyledon.cli.health import read as read_health
from examples import web
from tests.harness import HERE, SOURCES, TIMEOUT, TookTooLong, until
from tests.systemd_support import ENTER, Systemd, missing
from tests.test_docs import examples

pytestmark = pytest.mark.once

ROOT = HERE.parent
DEPLOY = ROOT / "examples" / "deploy"
PYTHON = "/opt/inbox/venv/bin/python"
PRINTED = [
    "examples.web:manager",
    "--name",
    "inbox",
    "--user",
    "inbox",
    "--graceful-timeout",
    "30",
]


# What the files say


def unit_lines(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit's file; each may be there several times."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, in order."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (one.partition(" ") for one in lines) if word
    ]


def instruction(name: str) -> str:
    [found] = [rest for word, rest in instructions() if word == name]
    return found


def manifests() -> dict[str, Any]:
    """Return the manifests by kind and name."""
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


def pod() -> Any:
    return manifests()["StatefulSet/inbox"]["spec"]["template"]["spec"]


def container() -> Any:
    [found] = pod()["containers"]
    return found


def seconds(text: str) -> int:
    return int(text.removesuffix("s").strip())


class Numbers(NamedTuple):
    """Everything that the page lists, from where it is."""

    keep_alive: int
    graceful: int
    unit_stop: int
    pre_stop: int
    termination: int
    container_stop: int
    watchdog: int
    probes: tuple[int, int, int]
    healthcheck: int
    liveness_period: int
    liveness_patience: int
    startup_patience: int
    makers: int


def numbers() -> Numbers:
    service = unit_lines("inbox.service")
    probes = {name: container()[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    stop = re.search(r"--stop-timeout (\d+)", (DEPLOY / "Dockerfile").read_text())
    timeout = re.search(r"--timeout=(\d+)s", instruction("HEALTHCHECK"))
    assert stop
    assert timeout
    return Numbers(
        web.KEEP_ALIVE,
        web.GRACEFUL,
        seconds(service["TimeoutStopSec"][0]),
        container()["lifecycle"]["preStop"]["sleep"]["seconds"],
        pod()["terminationGracePeriodSeconds"],
        int(stop[1]),
        seconds(service["WatchdogSec"][0]),
        tuple(probe["timeoutSeconds"] for probe in probes.values()),
        int(timeout[1]),
        probes["liveness"]["periodSeconds"],
        probes["liveness"]["periodSeconds"] * probes["liveness"]["failureThreshold"],
        probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"],
        web.MAKERS,
    )


# The numbers


def test_each_number_is_more_than_what_is_in_it():
    """The chain of timeouts holds, from idle connections to the end of a pod."""
    found = numbers()
    assert found.graceful > found.keep_alive
    assert found.unit_stop >= found.graceful + unit.MARGIN
    assert found.container_stop >= found.graceful + 5
    assert found.termination >= found.pre_stop + found.graceful + 5
    (_, _, asked) = read_health([]) or (None, None, 0.0)
    assert asked > 0
    assert all(one > asked for one in (*found.probes, found.healthcheck))
    assert found.liveness_period > found.probes[2]
    assert found.startup_patience >= found.liveness_patience
    command = unit_lines("inbox.service")["ExecStart"][0].split()
    assert int(command[command.index("--graceful-timeout") + 1]) == found.graceful


def test_the_page_has_the_numbers_of_the_files():
    """Each row of the page's table is what the file says, in the table's order."""
    text = (ROOT / "docs" / "deploying.md").read_text()
    rows = re.findall(r"^\| .* \| (\d+)(?: s)? \| `", text, re.MULTILINE)
    found = numbers()
    assert len(set(found.probes)) == 1
    assert list(map(int, rows)) == [*found[:7], found.probes[0], *found[8:]]


def test_no_two_workers_of_the_set_make_the_same_ids():
    """Pods times workers are fewer than the makers that an id has room for, and the environment
    of the manifest is what the program reads."""
    entries = {one["name"]: one for one in container()["env"]}
    workers = int(entries["INBOX_WORKERS"]["value"])
    assert manifests()["StatefulSet/inbox"]["spec"]["replicas"] * workers <= web.MAKERS
    path = entries["INBOX_ORDINAL"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['apps.kubernetes.io/pod-index']"
    docstring = web.__doc__ or ""
    assert all(name in docstring for name in entries)


def test_the_ordinal_makes_worker_ids_unique(monkeypatch):
    """The page's example gives each worker of three pods a number of its own, without a gap."""
    [example] = examples("docs/deploying.md")
    found = []
    for ordinal in range(3):
        monkeypatch.setenv("INBOX_ORDINAL", str(ordinal))
        monkeypatch.setenv("INBOX_WORKERS", "2")
        names: dict[str, Any] = {}
        exec(compile(example, "docs/deploying.md", "exec"), names)
        found += [names["Part"](worker).number for worker in range(2)]
    assert found == list(range(6))


# Kubernetes


@pytest.mark.parametrize("version", ["1.30", "1.34", kubernetes_validate.latest_version()])
def test_the_manifests_keep_to_the_published_schemas(version):
    """Every manifest is valid, with no field that the schema does not know."""
    for one in manifests().values():
        kubernetes_validate.validate(one, version, strict=True)
    broken = manifests()["StatefulSet/inbox"]
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 45
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_the_manifests_fit_together():
    """Services, budget and pods select the same labels, ports have names that exist, and what is
    mounted is there."""
    found = manifests()
    stateful = found["StatefulSet/inbox"]["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    assert stateful["selector"]["matchLabels"] == labels
    assert found["PodDisruptionBudget/inbox"]["spec"]["selector"]["matchLabels"] == labels
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    for name in ("Service/inbox", "Service/inbox-pods"):
        assert found[name]["spec"]["selector"] == labels
        assert all(port["targetPort"] in ports for port in found[name]["spec"]["ports"])
    assert stateful["serviceName"] == "inbox-pods"
    there = {one["name"] for one in pod()["volumes"]}
    there |= {one["metadata"]["name"] for one in stateful["volumeClaimTemplates"]}
    mounts = {one["mountPath"]: one["name"] for one in container()["volumeMounts"]}
    assert set(mounts.values()) == there
    # The image's settings are in folders that can be written to, and its port is the manifest's.
    image = environment()
    for name in ("INBOX_DATABASE", "COTYLEDON_CONTROL"):
        assert os.path.dirname(image[name]) in mounts
    assert int(image["INBOX_LISTEN"].rpartition(":")[2]) == ports["http"]
    assert int(instruction("USER")) == pod()["securityContext"]["runAsUser"]
    budget = found["PodDisruptionBudget/inbox"]["spec"]["maxUnavailable"]
    assert budget < stateful["replicas"]


# The image


def environment() -> dict[str, str]:
    return dict(one.split("=", 1) for one in shlex.split(instruction("ENV")))


def build(folder: Path) -> None:
    """Do what the Dockerfile's COPY instructions do, below a folder."""
    for word, rest in instructions():
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                path = ROOT / source
                where = folder / target.lstrip("/")
                if path.is_dir():
                    shutil.copytree(path, where, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    where.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, where)


def test_the_image_installs_what_the_program_needs():
    """The extras exist, what is copied is all that pip needs, and what the program imports is a
    part of what is installed."""
    [command] = [rest for word, rest in instructions() if word == "RUN" and "pip" in rest]
    words = [word for word in shlex.split(command) if not word.startswith("-")]
    assert words[:2] == ["pip", "install"]
    local, *others = words[2:]
    assert local.startswith("/sources[")
    extras = local.removeprefix("/sources[").rstrip("]").split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *others]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    names = {Requirement(one).name for one in wanted}
    assert {"uvicorn", "starlette", "click"} <= names
    copied = {one for word, rest in instructions() if word == "COPY" for one in rest.split()}
    license_files = project.get("license-files", ["LICENSE"])
    assert {project["readme"], "pyproject.toml", "src", *license_files} <= copied
    assert instruction("FROM").startswith("python:3.")


@pytest.mark.real
def test_what_the_image_runs_is_a_healthy_pid_1(tmp_path):
    """The image's command, as PID 1 with the files that are copied and the image's environment,
    gets healthy by the image's own check, and ends with 0 on the image's signal."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    build(tmp_path)
    for folder in ("data", "run/inbox", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    command = tmp_path / "bin" / "cotyledon"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m cotyledon "$@"\n')
    command.chmod(0o755)
    env = {
        **{name: moved(value, tmp_path) for name, value in environment().items()},
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path / "sources" / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    entry = json.loads(instruction("ENTRYPOINT"))
    inside = ["unshare", "--pid", "--fork", "--kill-child", "--net", "--mount-proc"]
    probe = json.loads(instruction("HEALTHCHECK").partition("CMD")[2])
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen(
            [*inside, *entry],
            cwd=tmp_path / instruction("WORKDIR").lstrip("/"), env=env, stdout=log, stderr=log,
        ) as popen,
    ):  # fmt: skip

        def asked(*words: str) -> int:
            return subprocess.run([*probe, *words], env=env, capture_output=True, check=False,
                                  timeout=TIMEOUT).returncode  # fmt: skip

        try:
            until(lambda: popen.poll() is not None or asked("--ready") == 0, "it is ready")
            assert popen.poll() is None, (tmp_path / "log").read_text()
            assert asked() == 0
            children = Path(f"/proc/{popen.pid}/task/{popen.pid}/children").read_text()
            [first] = map(int, children.split())
            status = Path(f"/proc/{first}/status").read_text()
            assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE)
            assert (tmp_path / "data" / "inbox.sqlite3").exists()
            os.kill(first, signal.Signals[instruction("STOPSIGNAL")])
            assert popen.wait(TIMEOUT) == 0, (tmp_path / "log").read_text()
        finally:
            popen.kill()


def moved(value: str, folder: Path) -> str:
    return f"{folder}{value}" if value.startswith("/") else value


# systemd


def test_the_unit_is_what_the_command_prints(monkeypatch, capsys, tmp_path):
    """The unit is, to the letter, what ``cotyledon unit`` prints in /opt/inbox."""
    where = SimpleNamespace(prefix="/opt/inbox/venv", executable=PYTHON)
    monkeypatch.setattr(unit, "sys", where)
    monkeypatch.setattr(os, "getcwd", lambda: "/opt/inbox")
    monkeypatch.setattr(unit, "current_directory_first", lambda: None)
    unit.unit.main([*PRINTED, "--systemd", "253"], standalone_mode=False)
    assert (DEPLOY / "inbox.service").read_text() == capsys.readouterr().out
    page = (ROOT / "docs" / "deploying.md").read_text()
    assert " ".join(PRINTED) in page.replace(" \\\n    ", " ")


def test_a_program_with_a_manager_of_its_own_decides_itself(capsys):
    """The options that such a program would refuse are not printed; its name is for the unit."""
    unit.unit.main(PRINTED, standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    [start] = [line for line in lines if line.startswith("ExecStart=")]
    assert start.endswith("run examples.web:manager --graceful-timeout 30")
    assert "Environment=COTYLEDON_CONTROL=%t/cotyledon-inbox/inbox.sock" in lines
    with pytest.raises(Exception, match="decides instead of --workers"):
        unit.unit.main([*PRINTED, "-w", "3"], standalone_mode=False)


@pytest.mark.real
def test_the_unit_is_hardened(tmp_path):
    """systemd finds nothing wrong with the unit and its drop-in, and calls their exposure low."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    shutil.copytree(DEPLOY, tmp_path / "units")  # the socket as well, which the drop-in needs
    path = tmp_path / "units" / "inbox.service"
    text = path.read_text().replace(PYTHON, sys.executable).replace("User=inbox", "User=daemon")
    # An older systemd than the unit is for.
    path.write_text(text.replace("Type=notify-reload", "Type=notify").replace("/opt/inbox", "/"))
    tool = ["systemd-analyze", "--man=no"]
    done = subprocess.run(
        [*tool, "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert not [line for line in done.stderr.splitlines() if "inbox.service" in line], done.stderr
    security = ["security", "--offline=yes", "--threshold=25", "--no-pager", str(path)]
    done = subprocess.run([*tool, *security], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:]


@pytest.fixture
def systemd():
    if missing():
        pytest.skip(missing())
    try:
        made = Systemd()
    except TookTooLong as error:
        pytest.skip(f"needs a systemd that boots: {error}")
    yield made
    made.close()


class Installed:
    """The unit, its drop-in and its socket under a systemd of the tests."""

    WHERE = "/run/cotyledon-inbox/inbox.sock"

    def __init__(self, systemd: Systemd) -> None:
        self.systemd = systemd
        self.target = ["nsenter", f"--target={systemd.pid}", *ENTER]
        self.path = f"PYTHONPATH={SOURCES}:{ROOT}"
        subprocess.run([*self.target, "mount", "-t", "tmpfs", "tmpfs", "/var/lib"], check=True)
        units = systemd.root("run/systemd/system")
        (units / "inbox.service").write_text(self._service())
        (units / "inbox.socket").write_text(
            (DEPLOY / "inbox.socket")
            .read_text()
            .replace("[Unit]", "[Unit]\nDefaultDependencies=no")
        )
        (units / "inbox.service.d").mkdir()
        shutil.copy(DEPLOY / "inbox.service.d" / "settings.conf", units / "inbox.service.d")
        systemd.systemctl("daemon-reload")

    def _service(self) -> str:
        """Return the unit, for the folder of the sources, this Python and this systemd."""
        text = (DEPLOY / "inbox.service").read_text()
        for old, new in (
            (PYTHON, sys.executable),
            ("/opt/inbox", str(ROOT)),
            ("User=inbox\n", ""),
            ("ProtectHome=yes", "ProtectHome=read-only"),
            ("PrivateTmp=yes\n", ""),
            ("[Unit]", "[Unit]\nDefaultDependencies=no"),
            ("[Service]", f"[Service]\nEnvironment={self.path}\nStandardError=append:/run/log"),
        ):
            assert old in text
            text = text.replace(old, new)
        if self.systemd.version < unit.NOTIFY_RELOAD:
            reload = "ExecReload=/bin/sh -c 'kill -HUP $MAINPID; sleep 1'"
            text = text.replace("Type=notify-reload", f"Type=notify\n{reload}")
        return text

    def told(self, verb: str) -> None:
        """Have systemctl do something, and see that it says that it has."""
        done = self.systemd.systemctl(verb, "inbox.service")
        log = self.systemd.root("run/log")
        said = log.read_text() if log.exists() else ""
        assert done.returncode == 0, done.stderr + said + self.systemd.log()[-2000:]

    def cotyledon(self, *words: str) -> str:
        """Return what the command says."""
        command = [sys.executable, "-m", "cotyledon", *words, "-m", self.WHERE]
        done = subprocess.run(
            [*self.target, "env", self.path, *command],
            capture_output=True, text=True, check=False, timeout=TIMEOUT,
        )  # fmt: skip
        return done.stdout

    def ready(self) -> bool:
        return self.cotyledon("health", "--ready") == "ready\n"

    def pids(self) -> list[int]:
        [service] = json.loads(self.cotyledon("status", "--json"))["services"]
        return [worker["pid"] for worker in service["workers"]]


@pytest.mark.real
def test_the_unit_works(systemd):
    """Under a real systemd the unit, its drop-in and its socket start; a reload and a restart lose
    no request; a worker that is killed is replaced; and a stop is a success."""
    inbox = Installed(systemd)
    inbox.told("start")
    assert inbox.ready()
    assert systemd.root("var/lib/inbox/inbox.sqlite3").exists()
    asking = [sys.executable, "-m", "tests.web_clients", "8000", "/healthz"]
    with subprocess.Popen(
        [*inbox.target, "env", inbox.path, *asking],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as clients:  # fmt: skip
        assert clients.stdin
        assert clients.stdout
        assert clients.stdout.readline() == "asking\n"
        first = inbox.pids()
        inbox.told("reload")
        inbox.cotyledon("reload", "--wait")  # once more, and until it is over
        second = inbox.pids()
        inbox.told("restart")
        assert inbox.ready()
        third = inbox.pids()
        clients.stdin.close()
        outcome = json.loads(clients.stdout.read())
    assert len({*first, *second, *third}) == 12
    assert outcome["failures"] == []
    assert outcome["kept"] + outcome["fresh"] > 50
    subprocess.run([*inbox.target, "kill", "-KILL", str(third[0])], check=True)
    until(lambda: "SIGKILL" in inbox.cotyledon("why", "inbox/0"), "the death is told")
    until(inbox.ready, "it is replaced")
    inbox.told("stop")
    shown = systemd.systemctl("show", "--value", "--property=Result", "inbox.service")
    assert shown.stdout.strip() == "success"
