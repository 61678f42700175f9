"""The name of a manager, its lock, and the file of its socket."""

import os
import signal
import socket
import stat
import subprocess
import sys
from typing import Any

import pytest

import cotyledon
from cotyledon._control.place import Place
from cotyledon._version import VERSION
from tests.control_support import Managed
from tests.harness import HERE, alive, until, wait_gone

SERVICE = {"name": "web", "workers": 2}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "cotyledon"


def test_the_version_is_that_of_the_package():
    """What the greeting tells is what the package is built as."""
    text = (HERE.parent / "pyproject.toml").read_text()
    assert f'\nversion = "{VERSION}"\n' in text


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".web", "a/b", "a b", "ä", "a\n", "x" * 65, 7, b"a"]
)
def test_what_is_no_name(fresh, name):
    """A name is of a few characters that no path and no shell takes amiss."""
    with pytest.raises((TypeError, ValueError), match="'name' must"):
        cotyledon.ServiceManager(name=name)


def test_a_socket_needs_a_place(fresh, monkeypatch):
    """control=True needs a name and a folder, and says which one is missing."""
    with pytest.raises(ValueError, match="needs a name="):
        cotyledon.ServiceManager(control=True)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for more in ({"control": True}, {}):
        with pytest.raises(ValueError, match=r"\$XDG_RUNTIME_DIR is not set; .*give a path"):
            cotyledon.ServiceManager(name="web", **more)


@pytest.mark.parametrize("path", [7, b"/tmp/x", "/tmp/" + "x" * 103, "/tmp/a\0b"])
def test_what_is_no_path(fresh, path):
    """The path of a socket is a string that the kernel can take."""
    with pytest.raises((TypeError, ValueError), match=r"control"):
        cotyledon.ServiceManager(control=path)


def test_a_wrong_argument_costs_nothing(fresh):
    """After an error of the constructor another manager can be built."""
    with pytest.raises(ValueError, match="'name'"):
        cotyledon.ServiceManager(name="")
    cotyledon.ServiceManager()


def test_the_longest_path(tmp_path):
    """A path of 107 bytes is one."""
    path = str(tmp_path / "x")
    path += "x" * (107 - len(path))
    place = Place(None, path)
    place.take()
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
    place.leave()
    assert not os.path.exists(path)


def test_what_is_made_is_private(folder):
    """The folder, the lock and the socket are the user's alone, whatever the umask."""
    before = os.umask(0)
    try:
        place = Place("web", True)
        place.take()
        modes = [
            stat.S_IMODE(os.stat(path).st_mode)
            for path in (folder, folder / "web.lock", folder / "web.sock")
        ]
        place.leave()
    finally:
        os.umask(before)
    assert modes == [0o700, 0o600, 0o600]


def test_a_second_one_is_told_who_has_the_name(folder):
    """While the lock is held nobody else gets it; the error names the holder."""
    place, second = Place("web", None), Place("web", str(folder / "other"))
    place.take()
    with pytest.raises(RuntimeError, match=f"'web' is running already: pid {os.getpid()} holds"):
        second.take()
    other = Place("web-2", None)
    other.take()
    other.leave()
    place.leave()
    second.take()
    second.leave()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    """A socket that nobody listens at is replaced; one that has a listener is an error."""
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path)
        end.listen()
        with pytest.raises(RuntimeError, match="another process listens at"):
            Place(None, path).take()
    place = Place(None, path)
    place.take()
    with pytest.raises(RuntimeError, match="another process listens at"):
        Place(None, path).take()
    place.leave()


def test_what_is_no_socket_is_left_alone(tmp_path):
    """A file that happens to be there is not removed."""
    path = tmp_path / "control"
    path.write_text("precious")
    with pytest.raises(RuntimeError, match="is no socket"):
        Place(None, str(path)).take()
    assert path.read_text() == "precious"


def test_a_folder_that_cannot_be_made(tmp_path):
    """What the file system refuses is told in one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match="cannot make the control socket"):
        Place(None, str(tmp_path / "file" / "control")).take()


def test_a_socket_that_is_somebody_elses_is_not_removed(tmp_path):
    """At the end the file is removed if it is the one that was made."""
    path = str(tmp_path / "control")
    place = Place(None, path)
    place.take()
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path)
        place.leave()
        assert os.path.exists(path)


def test_nothing_is_left_open(folder):
    """Whether it has come to something or not, no descriptor is left."""
    before = os.listdir("/proc/self/fd")
    for path in (str(folder / "a"), "/proc/none/b"):
        place = Place("web", path)
        try:
            place.take()
        except RuntimeError:
            pass
        place.leave()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.real
def test_managers_that_start_at_once(tmp_path):
    """Of many that want the same name, or the same stale socket, exactly one gets it."""
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path)
    code = (
        "import sys; from cotyledon._control.place import Place\n"
        "sys.stdin.read(1)\n"
        "place = Place(None, sys.argv[1])\n"
        "try: place.take()\n"
        "except RuntimeError: print('no', flush=True)\n"
        "else: print('yes', flush=True); sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, path]
    those = [subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) for _ in range(8)]
    for one in those:
        assert one.stdin
        one.stdin.write("g")
        one.stdin.flush()
    said = [one.stdout.readline().strip() for one in those if one.stdout]
    for one in those:
        one.communicate(timeout=20)
    assert sorted(said) == ["no"] * 7 + ["yes"]


@pytest.mark.real
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_second_manager_fails_at_once(start, tmp_path, method):
    """run() of a second manager of a name fails before it starts anything."""
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    hanging: dict[str, Any] = {"name": "web", "workers": 2, "does": [["hang_in_c"]]}
    first = Managed(start, hanging, name="web", control=True, env=env)
    for _ in range(2):
        first.wait_for("hangs")
    second = Managed(start, SERVICE, name="web", control=True, env=env, ready=False)
    assert "RuntimeError" in str(second.wait_for("raised")["kinds"])
    assert second.program.wait() == 1
    assert f"pid {first.program.pid} holds" in second.program.stderr()
    assert not second.program.all("init")
    # The lock and the socket end with the master, though workers and the guard live on.
    workers = first.program.workers()
    first.program.signal(signal.SIGKILL)
    first.program.wait()
    assert all(alive(pid) for pid in workers)
    third = Managed(start, SERVICE, name="web", control=True, env=env)
    assert third.program.stop() == 0
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)


@pytest.mark.real
def test_what_a_manager_without_control_imports():
    """A manager that has neither name nor socket loads neither the package for it nor json."""
    code = (
        "import sys, cotyledon\n"
        "manager = cotyledon.ServiceManager()\n"
        "manager.add(cotyledon.Service)\n"
        "manager.register_hooks(on_event=lambda notice: manager.shutdown())\n"
        "manager.run()\n"
        "bad = [name for name in sys.modules if '_control' in name or 'json' in name]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.real
def test_a_run_that_fails_leaves_no_socket(start, tmp_path):
    """After a stop that was not graceful the socket is gone, too."""
    it = Managed(start, SERVICE)
    it.program.signal(signal.SIGINT)
    assert it.program.wait() == 1
    until(lambda: not os.path.exists(it.path), "it is gone")
