"""A real systemd under test: PID 1 of namespaces of its own, and the units that it runs there.

It has a process table, mounts, a ``/run``, a loopback and a control group of its own, and knows no
unit but those of the test: nothing of the machine's own systemd, if there is one, is touched. It
speaks to ``systemctl`` without a bus, and keeps no journal. Nothing of it outlives :meth:`close`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cotyledon._posix.cgroups import own_directory
from tests.harness import HERE, PROGRAMS, SOURCES, Program, TookTooLong, title, until

BOOT = """
set -eu
echo $$ > "$1/cgroup.procs"
exec setpriv --pdeathsig KILL unshare --fork --kill-child --pid --mount-proc \
    --mount --uts --ipc --net --cgroup sh -eu -c '
mount --make-rprivate /
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/system
cd /run/systemd/system
# What units depend on by default would start the machine.
for one in sysinit basic multi-user shutdown; do ln -s /dev/null $one.target; done
printf "[Unit]\\nDefaultDependencies=no\\n" > tests.target
container=tests exec "$1" --system --unit=tests.target --log-target=console --log-level=info
' sh "$2"
"""
PLACES = ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")
ENTER = ("--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup")


def missing() -> str:
    """Return what a systemd under test needs and is not there; an empty string: nothing."""
    if os.geteuid() != 0:
        return "needs root"
    for command in ("unshare", "nsenter", "setpriv", "systemctl"):
        if shutil.which(command) is None:
            return f"needs {command}"
    if not any(os.access(place, os.X_OK) for place in PLACES):
        return "needs systemd"
    above = own_directory()
    if above is None or not os.access(above, os.W_OK):
        return "needs a control group (v2) that can be written to"
    return ""


class Systemd:
    """A systemd that has booted.

    Raises:
        TookTooLong: it has not.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="systemd-"))
        self.cgroup = Path(f"{own_directory()}/cotyledon-tests-{os.getpid()}")
        self.cgroup.mkdir(exist_ok=True)
        place = next(place for place in PLACES if os.access(place, os.X_OK))
        with open(self.directory / "log", "wb") as log:
            self._popen = subprocess.Popen(
                ["sh", "-c", BOOT, "sh", str(self.cgroup), place],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = 0
        try:
            until(self._booted, "systemd has booted")
        except TookTooLong as error:
            log_text = self.log()
            self.close()
            raise TookTooLong(f"{error}\n{log_text}") from None
        text = self.systemctl("--version").stdout
        self.version = int(text.split()[1])

    def _booted(self) -> bool:
        if self._popen.poll() is not None:
            raise TookTooLong("systemd has ended")
        children = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children")
        pids = children.read_text().split()
        if not pids:
            return False
        self.pid = int(pids[0])
        return self.root("run/systemd/private").exists()

    def root(self, path: str) -> Path:
        """Return a path as systemd sees it."""
        return Path(f"/proc/{self.pid}/root/{path}")

    def log(self) -> str:
        """Return what systemd has said."""
        return (self.directory / "log").read_text(errors="replace")

    def command(self, *words: str) -> list[str]:
        """Return the command that runs ``systemctl`` beside it."""
        return ["nsenter", f"--target={self.pid}", *ENTER, "systemctl", "--no-pager", *words]

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``systemctl`` beside it."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=40, check=False
        )

    def close(self) -> None:
        """End it, and everything that it runs."""
        if self._popen.poll() is None:
            self._popen.kill()  # what it has forked dies with it, and so does the namespace
        self._popen.wait()
        until(self._is_removed, "its control groups are removed")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _is_removed(self) -> bool:
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass  # something in it is on its way out
        return not self.cgroup.exists()


class Unit(Program):
    """A program of ``tests/programs`` as a service of a systemd under test.

    Its processes tell numbers of their own namespace; :meth:`pids` returns ours.

    Args:
        systemd: runs it.
        name: of the unit, without ``.service``.
        script: the program.
        args: its arguments, without blanks.
        command: in the place of the program; ``{}`` is the program.
        **settings: more lines of the section ``[Service]``.
    """

    def __init__(
        self,
        systemd: Systemd,
        name: str,
        script: str,
        *args: str,
        command: str = "{}",
        **settings: str,
    ) -> None:
        self.systemd = systemd
        self.name = f"{name}.service"
        self.directory = Path(tempfile.mkdtemp(prefix="unit-"))
        self.directory.chmod(0o777)
        self._events = self._fifo("events")
        self._gates = {}
        self._pending = b""
        self.events = []
        self._taken = set()
        path = f"{SOURCES}:{HERE.parent}"
        program = " ".join((sys.executable, str(PROGRAMS / script), *args))
        lines = {
            "Type": "notify",
            "LimitCORE": "0",
            "ExecStart": command.format(program),
            "StandardOutput": f"append:{self.directory}/stdout",
            "StandardError": f"append:{self.directory}/stderr",
            "Environment": f"PYTHONPATH={path} PROGRAM_DIR={self.directory}",
            **settings,
        }
        self.write(
            self.name,
            "[Unit]\nDefaultDependencies=no\n[Service]\n"
            + "".join(f"{key}={value}\n" for key, value in lines.items()),
        )
        self.systemd.systemctl("daemon-reload")

    def write(self, name: str, text: str) -> None:
        """Write the file of a unit."""
        self.systemd.root(f"run/systemd/system/{name}").write_text(text)

    # systemctl

    def systemctl(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Have ``systemctl`` do something to it, and wait until that is done."""
        return self.systemd.systemctl(verb, *words, self.name)

    def begin(self, verb: str) -> subprocess.Popen[bytes]:
        """Have ``systemctl`` begin something."""
        return subprocess.Popen(self.systemd.command(verb, self.name))

    def show(self, what: str) -> str:
        """Return a property."""
        return self.systemctl("show", "--value", f"--property={what}").stdout.strip()

    def wait_show(self, what: str, value: str) -> None:
        """Wait until a property has a value."""
        until(lambda: self.show(what) == value, f"{what} is {value}")

    # What runs

    @property
    def cgroup(self) -> Path:
        """Its control group, as we see it."""
        return self.systemd.cgroup / "system.slice" / self.name

    def pids(self) -> list[int]:
        """Return the processes in its control group, and below that."""
        found: list[int] = []
        for folder, _, _ in os.walk(self.cgroup):
            try:
                text = Path(folder, "cgroup.procs").read_text()
            except OSError:
                continue  # it has just been removed
            found += map(int, text.split())
        return sorted(found)

    def titled(self, text: str) -> list[int]:
        """Return those of its processes whose title has this in it."""
        return [pid for pid in self.pids() if text in title(pid)]

    def describe(self) -> str:
        self._read(0)
        status = self.systemctl("status").stdout
        said = "\n".join(f"  {e.pid} {e.name} {e.fields}" for e in self.events[-30:])
        return f"{status}\n{said}\n{self.stderr()[-2000:]}\n{self.systemd.log()[-2000:]}"

    def stderr(self) -> str:
        path = self.directory / "stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def dispose(self) -> None:
        for fd in (self._events, *self._gates.values()):
            os.close(fd)
        shutil.rmtree(self.directory, ignore_errors=True)
