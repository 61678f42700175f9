"""Real servers under test, each on free loopback ports, with its files in a folder of its own.

Responsible for starting, ending, freezing and starting again; never for what is asked of them.
A server that is not installed is said by :meth:`Server.missing`, in the words of a skip that
``.ci/run`` does not allow. Ports stay the same when a server is started again, so that clients
find it. Nothing of the machine's own servers is touched.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from tests.harness import SERVERS, until

ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
"""In front of a command: the kernel ends it when the tests have ended, even by SIGKILL."""
STARTS_IN = 60.0
"""Seconds that a server may take to answer."""


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server and its folder.

    Args:
        port: where it listens; 0: a free one.
    """

    PROGRAM: ClassVar[str]
    """The file that is started; it is there if the server is installed."""

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """Return why there is no such server here; empty: there is one."""
        return "" if shutil.which(cls.PROGRAM) else f"needs {Path(cls.PROGRAM).name}"

    @property
    def url(self) -> str:
        """Where its clients find it."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def command(self) -> list[str]:
        """Return what starts it."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return the variables that it needs on top."""
        return {}

    def answers(self) -> bool:
        """Tell whether it serves its clients."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, with what it had before, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [*ENDS_WITH_US, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment()},
                cwd=self.folder,
                process_group=0,
            )
        SERVERS.add(process.pid)
        with suppress(AssertionError):
            until(lambda: process.poll() is not None or self.answers(), "it answers", STARTS_IN)
            if process.poll() is None:
                return
        end = self.log.read_text(errors="replace")[-3000:]
        self.kill()
        raise AssertionError(f"{self.PROGRAM} does not serve:\n{end}")

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self._process.wait()
            SERVERS.discard(self._process.pid)
            self._process = None

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STARTS_IN)
            self.kill()

    def restart(self, *, empty: bool = False) -> None:
        """Kill it and start it again.

        Args:
            empty: whether it has forgotten all it knew.
        """
        self.kill()
        if empty:
            self.forget()
        self.start()

    def forget(self) -> None:
        """Remove what it has stored."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it accept connections and answer nothing for a while."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, request: bytes, wanted: bytes) -> bool:
        """Tell whether a request of one line is answered as it should be."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(request)
                return wanted in connection.recv(4096)
        except OSError:
            return False


class Redis(Server):
    """``redis-server``; what it knows survives a restart unless it is to be empty."""

    PROGRAM = "redis-server"

    def __init__(self, port: int = 0, password: str = "") -> None:
        super().__init__(port)
        self.password = password

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        words = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        words += ["--appendonly", "yes", "--appendfsync", "no", "--save", ""]
        if self.password:
            words += ["--requirepass", self.password]
        return [self.PROGRAM, *words]

    def answers(self) -> bool:
        login = f"AUTH {self.password}\r\n" if self.password else ""
        return self.ask(f"{login}PING\r\n".encode(), b"+OK" if login else b"+PONG")


class Etcd(Server):
    """``etcd``, one node, with its JSON gateway."""

    PROGRAM = "etcd"

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self._peers = free_port()

    @property
    def url(self) -> str:
        return f"etcd3+http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        here, peers = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._peers}"
        return [
            self.PROGRAM,
            *("--name", "it", "--data-dir", str(self.folder / "data")),
            *("--listen-client-urls", here, "--advertise-client-urls", here),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"it={peers}", "--log-level", "error", "--unsafe-no-fsync"),
        ]

    def environment(self) -> dict[str, str]:
        return {"ETCD_UNSUPPORTED_ARCH": os.uname().machine.replace("aarch64", "arm64")}

    def answers(self) -> bool:
        return self.ask(b"GET /health HTTP/1.0\r\n\r\n", b'"health":"true"')


class ZooKeeper(Server):
    """``zookeeper``, one node."""

    PROGRAM = "/usr/share/zookeeper/bin/zkServer.sh"

    @property
    def url(self) -> str:
        return f"zookeeper://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        (self.folder / "zoo.cfg").write_text(
            f"tickTime=500\ndataDir={self.folder}/data\nclientPort={self.port}\n"
            "clientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
            "4lw.commands.whitelist=ruok\n"
        )
        return [
            "java",
            "-cp",
            "/etc/zookeeper/conf:/usr/share/java/*:/usr/share/zookeeper/zookeeper.jar",
            "org.apache.zookeeper.server.ZooKeeperServerMain",
            str(self.folder / "zoo.cfg"),
        ]

    def answers(self) -> bool:
        return self.ask(b"ruok", b"imok")


class RabbitMQ(Server):
    """``rabbitmq-server`` with a name server of its own; user ``guest``, password ``guest``."""

    PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self._names_port = free_port()
        self._between_port = free_port()
        self._names: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        if self._names is None:
            self._names = subprocess.Popen(
                [*ENDS_WITH_US, "epmd", "-address", "127.0.0.1", "-port", str(self._names_port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            SERVERS.add(self._names.pid)
        super().start()

    def command(self) -> list[str]:
        # The port is given here: RabbitMQ would bind it on all addresses otherwise.
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
            "vm_memory_high_watermark.relative = 0.6\ndisk_free_limit.absolute = 10MB\n"
        )
        return [self.PROGRAM]

    def environment(self) -> dict[str, str]:
        here = str(self.folder)
        return {
            "HOME": here,
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"r{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._between_port),
            "RABBITMQ_MNESIA_BASE": f"{here}/data",
            "RABBITMQ_LOG_BASE": f"{here}/logs",
            "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/plugins",
            "RABBITMQ_PID_FILE": f"{here}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def answers(self) -> bool:
        return self.ask(b"AMQP\x00\x00\x09\x01", b"RabbitMQ")

    def control(self, *words: str) -> str:
        """Run ``rabbitmqctl``; return what it prints."""
        return subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", *words],
            env={**os.environ, **self.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
            timeout=STARTS_IN,
        ).stdout.decode()

    def close(self) -> None:
        super().close()
        if self._names is not None:
            self._names.kill()
            self._names.wait()
            SERVERS.discard(self._names.pid)
            self._names = None
