"""The page for those who come from oslo.service: each pair of programs on it does the same.

A program is run as it is on the page. What is there before also runs on oslo.service's backend
of threads, where that has the thing: then its first lines, which choose the backend, are others.
"""

import concurrent.futures
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.harness import InitSystem, Program, alive, until

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "migrating-from-oslo-service.md"
PROGRAMS = ROOT / "docs" / "oslo-service"
EVENTLET = "import eventlet\n\neventlet.monkey_patch()\n"
THREADING = (
    "from oslo_service import backend\n\nbackend.init_backend(backend.BackendType.THREADING)\n"
)

pytestmark = [pytest.mark.real, pytest.mark.once]

everywhere = pytest.mark.parametrize("variant", ["eventlet", "threading", "after"])
only_eventlet = pytest.mark.parametrize("variant", ["eventlet", "after"])


class Running:
    """A program of the page that runs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pid = program.pid

    def says(self, pattern: str, count: int = 1) -> list[Any]:
        """Wait for as many lines; return what is in the parentheses of all of them."""
        lines = rf"(?m)^{pattern}$"

        def heard() -> list[Any]:
            found = re.findall(lines, self.program.stdout())
            return found if len(found) >= count else []

        try:
            return until(heard, f"{count} lines like {pattern!r}")
        except AssertionError as error:
            error.add_note(f"{self.program.stdout()}\n{self.program.describe()}")
            raise

    def ends(self) -> None:
        """Stop it by SIGTERM, which it does gracefully."""
        assert self.program.stop() == 0, self.program.describe()


Runs = Callable[..., Running]


@pytest.fixture
def runs(start: Callable[..., Program], tmp_path: Path) -> Runs:
    """Start one of the programs: a name, and which of the three it is."""

    def run(
        name: str, variant: str, *args: str, change: Mapping[str, str] | None = None, **more: Any
    ) -> Running:
        if variant != "after":
            pytest.importorskip("oslo_service", reason="needs oslo.service", exc_type=ImportError)
        source = PROGRAMS / f"{name}_{'after' if variant == 'after' else 'before'}.py"
        text = source.read_text()
        if variant == "threading":
            assert EVENTLET in text
            text = text.replace(EVENTLET, THREADING)
        for old, new in (change or {}).items():
            assert old in text
            text = text.replace(old, new)
        copy = tmp_path / source.name
        copy.write_text(text)
        for other in PROGRAMS.glob("wsgi_*.py"):  # the programs with TLS import them
            if not (tmp_path / other.name).exists():
                shutil.copy(other, tmp_path)
        return Running(start(str(copy), *args, **more))

    return run


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The configuration file of the program."""
    path = tmp_path / "shop.conf"
    path.write_text("[DEFAULT]\ntask = eggs\n")
    return path


# The page


def test_every_program_is_on_the_page_and_tested() -> None:
    """The page includes each program, the one after next to the one before."""
    included = re.findall(r"^```\{literalinclude\} oslo-service/(\S+)$", PAGE.read_text(), re.M)
    names = [re.sub(r"_(before|after)\.py$", "", name) for name in included]
    assert included == [f"{n}_{w}.py" for n in dict.fromkeys(names) for w in ("before", "after")]
    assert sorted(included) == sorted(path.name for path in PROGRAMS.glob("*.py"))
    tested = re.findall(r'runs\(\s*"(\w+)"', Path(__file__).read_text())
    assert set(tested) == set(names)


def python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this heading."""
    _, _, rest = PAGE.read_text().partition(f"| {heading} |")
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_everything_of_the_api_is_on_the_page() -> None:
    """The first table has each name that oslo.service's backends have, and each module."""
    pytest.importorskip("oslo_service", reason="needs oslo.service")
    asked = (
        "from oslo_service.backend._threading import ThreadingBackend as backend\n"
        "print(*backend.get_service_components())"
    )
    # In a process of its own, for it loads eventlet.
    result = python(asked)
    assert result.returncode == 0, result.stderr
    names = {name for name in result.stdout.split() if not name.startswith("_")}
    names |= {"periodic_task", "wsgi.Server", "wsgi.Router", "wsgi.Loader", "sslutils"}
    names |= {"eventlet_backdoor", "systemd.notify", "fixture.SleepFixture", "init_backend"}
    known = " ".join(row[0] for row in rows("oslo.service"))
    found = {name.removesuffix("()") for name in re.findall(r"`([^`(]+)[^`]*`", known)}
    assert not names - found


def test_every_option_is_on_the_page() -> None:
    """The table of options has each that oslo.service registers, with its default."""
    options = pytest.importorskip("oslo_service._options", reason="needs oslo.service")
    expected = {
        option.name: option.default
        for group in ("eventlet_backdoor", "periodic", "service", "wsgi", "ssl")
        for option in getattr(options, f"{group}_opts")
    }
    found = {name.strip("`"): default.strip("`") for name, default, _ in rows("option")}
    assert found.keys() == expected.keys()
    for name, default in expected.items():
        if name != "wsgi_log_format":  # a long one
            assert found[name] == ("" if default is None else str(default).lower())


def test_eventlet_is_refused() -> None:
    """A program that is monkey-patched is told why it cannot have a manager."""
    pytest.importorskip("oslo_service", reason="needs oslo.service")
    program = (
        "import eventlet; eventlet.monkey_patch(); import cotyledon; cotyledon.ServiceManager"
    )
    result = python(program)
    assert result.returncode == 1
    assert re.search(r"ImportError: cotyledon needs epoll.*eventlet\.monkey_patch", result.stderr)


# Service, launch(), and the launchers


@everywhere
def test_workers_of_a_service(variant: str, runs: Runs, configuration: Path) -> None:
    """Three workers; a dead one is replaced; HUP brings the new configuration; TERM drains."""
    program = runs("service", variant, "--config-file", str(configuration))
    first = set(program.says(r"(\d+) works on eggs", 3))
    assert len(first) == 3
    victim = min(first)
    os.kill(int(victim), signal.SIGKILL)
    first = set(program.says(r"(\d+) works on eggs", 4)) - {victim}
    configuration.write_text("[DEFAULT]\ntask = ham\n")
    os.kill(program.pid, signal.SIGHUP)
    second = set(program.says(r"(\d+) works on ham", 3))
    assert first == set(program.says(r"(\d+) has finished", 3))
    program.ends()
    assert len(second) == 3
    assert not first & second
    assert first | second == set(program.says(r"(\d+) has finished", 6))


@only_eventlet
def test_a_worker_that_does_not_stop(variant: str, runs: Runs, configuration: Path) -> None:
    """It is killed at the deadline; under eventlet it was left behind, for ever."""
    configuration.write_text("[DEFAULT]\ngraceful_shutdown_timeout = 1\n")
    computing = {"        self.stopping.wait()\n": "        while True:\n            pass\n"}
    program = runs("service", variant, "--config-file", str(configuration), change=computing)
    workers = {int(pid) for pid in program.says(r"(\d+) works on nothing", 3)}
    status = program.program.stop()
    if variant == "after":
        assert status == 1
        assert not any(alive(pid) for pid in workers)
    else:
        assert status == -signal.SIGALRM
        assert all(alive(pid) for pid in workers)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)


@everywhere
def test_services_side_by_side(variant: str, runs: Runs) -> None:
    """Each service has its own number of workers."""
    program = runs("launchers", variant)
    serving = program.says(r"(\d+) has the task: serve", 2)
    collecting = program.says(r"(\d+) has the task: collect", 1)
    assert len({*serving, *collecting}) == 3
    program.ends()


@only_eventlet
def test_services_in_one_process(variant: str, runs: Runs) -> None:
    """Two parts of a program share a queue, because they share a process."""
    program = runs("one_process", variant)
    mailer, shop = program.says(r"(\d+) confirms an order of (\d+)")[0]
    assert mailer == shop
    program.ends()


def test_the_threads_backend_has_a_process_for_each_service(runs: Runs) -> None:
    """Its ServiceLauncher gives each service a process, and they share nothing."""
    order = 'orders.put(f"an order of {os.getpid()}")'
    program = runs("one_process", "threading", change={order: "print(os.getpid(), flush=True)"})
    [shop, *_] = program.says(r"(\d+)")
    assert len(program.program.workers()) == 2
    assert int(shop) in program.program.workers()
    program.ends()


# Restart methods


@only_eventlet
def test_mutate(variant: str, runs: Runs, configuration: Path) -> None:
    """HUP changes the configuration in the workers that run."""
    program = runs("mutate", variant, "--config-file", str(configuration))
    workers = set(program.says(r"(\d+) works on eggs", 2))
    configuration.write_text("[DEFAULT]\ntask = ham\n")
    os.kill(program.pid, signal.SIGHUP)

    def told() -> bool:
        return set(program.says(r"(\d+) goes on with ham")) >= workers

    until(told, "both workers have been told")
    assert all(alive(int(pid)) for pid in workers)
    program.ends()


def test_the_threads_backend_does_not_reset(runs: Runs, configuration: Path) -> None:
    """It restarts workers on HUP, whatever the restart method, and never calls reset()."""
    program = runs("mutate", "threading", "--config-file", str(configuration))
    workers = set(program.says(r"(\d+) works on eggs", 2))
    configuration.write_text("[DEFAULT]\ntask = ham\n")
    os.kill(program.pid, signal.SIGHUP)
    assert not workers & set(program.says(r"(\d+) works on ham", 2))
    program.ends()
    assert "goes on" not in program.program.stdout()


# Step by step


@only_eventlet
def test_a_class_that_is_not_changed_yet(variant: str, runs: Runs) -> None:
    """It is started, reset and stopped in each worker."""
    program = runs("stepwise", variant)
    workers = set(program.says(r"(\d+) starts", 2))
    os.kill(program.pid, signal.SIGHUP)
    until(lambda: workers <= set(program.says(r"(\d+) is reset")), "both are reset")
    program.ends()
    assert workers <= set(program.says(r"(\d+) has stopped", 2))


# Threads, timers, loops


@everywhere
def test_threads_and_timers(variant: str, runs: Runs) -> None:
    """A thread, a timer and a dynamic timer run in each worker, and a stop waits for them."""
    program = runs("threads", variant)
    program.says(r"a book in a parcel", 6)
    program.says(r"\d+ orders wait", 6)
    program.ends()
    assert len(program.says(r"all is packed", 2)) == 2


def test_an_exception_in_a_thread_is_handed_on(runs: Runs) -> None:
    """The worker ends with status 2, and another one takes its place."""
    program = runs(
        "threads",
        "after",
        change={
            'self.orders.put("book")': 'raise ValueError("no books")',
            "    manager.add": "    manager.register_hooks(on_dead_worker=print)\n    manager.add",
            "workers=2": "workers=1",
        },
    )
    errors = program.program.stderr
    until(lambda: errors().count("ValueError: no books") >= 2, "the second worker has failed too")
    program.ends()
    assert re.search(r"(?m)^\S+ 0 2$", program.program.stdout())


@everywhere
def test_loops(variant: str, runs: Runs) -> None:
    """A fixed and a dynamic loop go on until they are stopped, and a back-off until it is done."""
    program = runs("looping", variant)
    workers = set(program.says(r"(\d+) beats", 8))
    assert len(workers) == 2
    program.says("polled", 6)
    assert program.says(r"attempt (\d)", 8).count("4") == 2
    program.says("connected", 2)
    program.ends()
    assert workers <= set(program.says(r"(\d+) has ended its loops", 2))


@everywhere
def test_periodic_tasks(variant: str, runs: Runs) -> None:
    """A task runs again and again in each worker, whatever happens to others."""
    program = runs("periodic", variant)
    collected = program.says(r"(\d+) collects", 8)
    assert len(set(collected)) == 2
    program.ends()
    assert "never" not in program.program.stdout()
    assert "ValueError: nothing there" in program.program.stderr()


@everywhere
@pytest.mark.parametrize("failures", [2, 9])
def test_retries(variant: str, failures: int, runs: Runs) -> None:
    """A function is called again after three failures at most; then its error is raised."""
    program = runs("retry", variant, str(failures))
    status = program.program.wait()
    output = program.program.stdout()
    if failures == 2:
        assert (status, output) == (0, "attempt\n" * 3 + "fetched\n")
    else:
        assert (status, output) == (1, "attempt\n" * 4)
        assert "ConnectionError: refused\n" in program.program.stderr()


@pytest.mark.parametrize(("variant", "attempts"), [("threading", 5), ("after", 6)])
def test_retries_of_the_next_call(variant: str, attempts: int, runs: Runs) -> None:
    """oslo.service counts the retries of all calls together; now each call has its own."""
    program = runs(
        "retry",
        variant,
        "2",
        change={"    print(fetch())": "    print(fetch())\n    failures = 2\n    print(fetch())"},
    )
    program.program.wait()
    assert program.program.stdout().count("attempt\n") == attempts


# The back door


@only_eventlet
def test_looking_into_a_worker(variant: str, runs: Runs, tmp_path: Path) -> None:
    """Somebody who may connect sees in which function a worker waits."""
    configuration = tmp_path / "shop.conf"
    configuration.write_text(f"[DEFAULT]\nbackdoor_socket = {tmp_path}/{{pid}}.sock\n")
    args = () if variant == "after" else ("--config-file", str(configuration))
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    program = runs("backdoor", variant, *args, env=environment)
    program.says("waiting", 2)
    if variant == "after":
        result = subprocess.run(
            [sys.executable, "-m", "cotyledon", "-m", "shop", "stacks", "Worker/1"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        shown = result.stdout
    else:
        sockets = until(lambda: list(tmp_path.glob("*.sock")), "there is a back door")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(sockets[0]))
            client.sendall(b"pgt()\n")
            shown = ""
            while "in wait_for_godot" not in shown:
                piece = client.recv(1 << 16)
                assert piece, shown
                shown += piece.decode()
    assert "wait_for_godot" in shown
    program.ends()


# systemd


@pytest.mark.parametrize("variant", ["before", "after"])
def test_systemd_is_told_when_it_is_warm(variant: str, runs: Runs, tmp_path: Path) -> None:
    """READY=1 is sent when the program has warmed up, and not before."""
    prices = tmp_path / "prices"
    os.mkfifo(prices)  # who reads it waits until something is written
    systemd = InitSystem(tmp_path)
    with systemd.socket:
        program = runs(
            "systemd",
            variant,
            change={"/run/shop/prices": str(prices)},
            env={"NOTIFY_SOCKET": systemd.address},
        )
        program.says("warming up")
        assert "READY=1" not in systemd.heard()
        prices.write_text("tea 2")
        until(lambda: "READY=1" in systemd.heard(), "systemd is told that it is ready")


# Web


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def get(url: str, context: ssl.SSLContext | None = None) -> str:
    """Make one request, on a connection of its own."""
    with urllib.request.urlopen(url, timeout=20, context=context) as response:
        assert response.status == 200
        return str(response.read().decode().strip())


@only_eventlet
def test_a_web_server_answers_what_it_has_begun(variant: str, runs: Runs) -> None:
    """Two workers answer on one port, and a stop lets them finish their answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    program = runs("wsgi", variant, change={"8000": str(port)})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:

        def listens() -> bool:
            try:
                return bool(get(url))
            except OSError:
                return False

        until(listens, "the server listens")
        workers: set[str] = set()
        while len(workers) < 2:
            workers |= set(pool.map(get, [url] * 8))
        begun = len(program.says(r"(\d+) answers"))
        answers = [pool.submit(get, url) for _ in range(4)]
        program.says(r"(\d+) answers", begun + 4)
        program.ends()
        assert {answer.result() for answer in answers} <= workers


@only_eventlet
def test_a_web_server_with_tls(variant: str, runs: Runs, tmp_path: Path) -> None:
    """The server shows the certificate of its configuration file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl (of the distribution)")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key),
        ],
        capture_output=True,
        check=True,
    )
    configuration = tmp_path / "shop.conf"
    configuration.write_text(f"[ssl]\ncert_file = {certificate}\nkey_file = {key}\n")
    port = free_port()
    program = runs("tls", variant, "--config-file", str(configuration), change={"8000": str(port)})
    context = ssl.create_default_context(cafile=certificate)

    def answer() -> str:
        try:
            return get(f"https://127.0.0.1:{port}/", context)
        except OSError:
            return ""

    assert int(until(answer, "the server answers")) != program.pid
    program.ends()
