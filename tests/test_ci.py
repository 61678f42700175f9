"""What ``.ci/run`` makes of the fates of its steps, with a ``make`` that does nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "run"
pytestmark = pytest.mark.once

MAKE = """#!/bin/sh
case $1 in test) echo "=========== 3 passed in 0.10s ===========" ;; esac
case " $FAILING " in *" $1 "*) exit 2 ;; esac
"""
DPKG_QUERY = "#!/bin/sh\necho installed\n"  # so that nothing is installed


@pytest.fixture
def ci(tmp_path):
    copy = tmp_path / "project" / ".ci" / "run"
    copy.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, copy)
    programs = tmp_path / "bin"
    programs.mkdir()
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for name, text in {
        "make": MAKE,
        "dpkg-query": DPKG_QUERY,
        f"python{version}": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(failing="", version=version):
        return subprocess.run(
            ["bash", copy, version],
            env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "FAILING": failing}
            | {k: v for k, v in os.environ.items() if k == "TMPDIR"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_all_steps_passed(ci):
    """If every step passes, ``.ci/run`` says so, last the words of pytest, and exits with 0."""
    done = ci()
    assert (done.returncode, done.stderr) == (0, "")
    *_, verdict, turn, once, servers, planted = done.stdout.splitlines()
    assert verdict == "all passed"
    assert turn == once == servers == planted == "=========== 3 passed in 0.10s ==========="


@pytest.mark.parametrize(("failing", "named"), [("docs", "docs"), ("check demo", "check demo")])
def test_a_step_failed(ci, failing, named):
    """If a step fails the others run all the same, and ``.ci/run`` names it and exits with 1."""
    done = ci(failing)
    assert done.returncode == 1
    assert f"\nFAILED: {named}\n" in done.stdout
    for step in ("install", "once", "servers", "planted", "check", "docs", "demo"):
        assert f"--- {step} begins" in done.stdout


def test_no_interpreter(ci):
    """Where none of the versions is installed nothing is tested, which is a failure."""
    done = ci(version="3.1")
    assert done.returncode == 1
    assert "None of Python 3.1 is installed" in done.stderr
