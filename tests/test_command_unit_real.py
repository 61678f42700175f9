"""The unit that ``cotyledon unit`` prints, under a real systemd."""

import subprocess
import sys

import pytest

from cotyledon.cli.unit import Wanted, installed, text
from tests.harness import HERE, SOURCES, TookTooLong
from tests.systemd_support import ENTER, Systemd, missing

pytestmark = [
    pytest.mark.once,
    pytest.mark.real,
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]


@pytest.fixture
def systemd():
    try:
        made = Systemd()
    except TookTooLong as error:
        pytest.skip(f"needs a systemd that boots: {error}")
    yield made
    made.close()


@pytest.mark.parametrize("user", [None, "root"])
def test_the_printed_unit_starts_reloads_and_stops(systemd, user):
    where = "web" if user is None else "/run/cotyledon-web/web.sock"
    command = f"{sys.executable} -m cotyledon run tests.configured:Web --name web"
    if user is not None:
        command += " --control %t/cotyledon-web/web.sock"
    unit = text(Wanted("web", command, str(HERE.parent), 5, user, installed() or 252, 30, False))
    path = f"PYTHONPATH={SOURCES}:{HERE.parent}"
    unit = unit.replace("[Unit]", "[Unit]\nDefaultDependencies=no").replace(
        "[Service]", f"[Service]\nEnvironment={path}\nStandardError=append:/run/log"
    )
    systemd.root("run/systemd/system/web.service").write_text(unit)
    systemd.systemctl("daemon-reload")

    def told(verb):
        done = systemd.systemctl(verb, "web.service")
        log = systemd.root("run/log")
        said = log.read_text() if log.exists() else ""
        assert done.returncode == 0, done.stderr + said + systemd.log()[-2000:]

    told("start")
    health = subprocess.run(
        ["nsenter", f"--target={systemd.pid}", *ENTER, "env", path, sys.executable, "-m",
         "cotyledon", "health", "--ready", "-m", where],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (health.stdout, health.returncode) == ("ready\n", 0), health.stderr
    told("reload")
    told("stop")
    shown = systemd.systemctl("show", "--value", "--property=Result", "web.service")
    assert shown.stdout.strip() == "success"
