"""uvicorn in workers: no request is lost while they are replaced, and they end in good order."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from tests.harness import alive, until, wait_gone
from tests.web_clients import Clients

pytestmark = [pytest.mark.real, pytest.mark.once]


def begin(start, *args):
    program = start("web.py", *args)
    port = program.wait_for("listening")["port"]
    program.wait_for("AllReady")
    return program, port


def connect(port):
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20))


def ask(connection, path="/"):
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"ok")
    return answer


@pytest.mark.parametrize(("way", "workers"), [("shared", 4), ("by_name", 1), ("fast", 2)])
def test_a_rolling_reload_loses_no_request(start, way, workers):
    """While all workers are replaced, twice, every request of twelve clients is answered, under
    fork and spawn, with asyncio's loop and with uvloop."""
    program, port = begin(start, way, str(workers))
    before = set(program.workers())
    clients = Clients(port)
    for _ in range(2):
        clients.wait_for(100)
        program.signal(signal.SIGHUP)
        program.wait_for("RolloutFinished")
        program.collect(workers, "WorkerDied")  # the last one may still be finishing
    clients.wait_for(100)
    outcome = clients.stop()
    assert not outcome.failures
    assert outcome.kept > 100
    assert outcome.fresh > 100
    assert not before & set(program.workers())
    assert program.stop() == 0
    assert all("exit_code=0" in died["death"] for died in program.all("WorkerDied"))


def test_an_idle_connection_has_its_next_request_answered(start):
    """A worker that is told to end answers on a connection that was idle, and says that it closes
    it; meanwhile it accepts nothing any more."""
    program, port = begin(start, "shared", "1", "60", "30")
    with connect(port) as connection:
        answer = ask(connection)
        assert answer.headers["Connection"] is None
        first = int(answer.headers["X-Pid"])
        program.signal(signal.SIGHUP)
        program.collect(2, "WorkerReady")  # the successor as well: now the first is told to end
        until(lambda: closes(connection, first), "the first worker closes")
    wait_gone(first)
    with connect(port) as connection:
        assert int(ask(connection).headers["X-Pid"]) != first


def closes(connection, pid):
    """Ask once more; tell whether the connection is to be closed."""
    answer = ask(connection)
    assert int(answer.headers["X-Pid"]) == pid
    return answer.headers["Connection"] == "close"


def test_a_new_connection_is_not_closed_before_its_request(start):
    """A connection that was accepted, and on which nothing was asked yet, is served by the worker
    that is told to end meanwhile."""
    program, port = begin(start, "shared", "1", "60", "30")
    (worker,) = program.workers()
    address = ("127.0.0.1", port)
    with socket.create_connection(address, timeout=20) as connection, connect(port) as another:
        ask(another)  # the worker's loop has been round: it has accepted both
        program.signal(signal.SIGTERM, worker)
        until(lambda: closes(another, worker), "the worker is about to end")
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert f"x-pid: {worker}".encode() in answer
    assert b"connection: close" in answer


def test_requests_in_flight_are_finished(start):
    """A request that is being answered when everything is to stop is answered."""
    program, port = begin(start, "shared", "1")
    with connect(port) as connection:
        connection.request("GET", "/slow")
        program.wait_for("asked")
        program.signal(signal.SIGTERM)
        program.wait_for("Stopping")
        program.open_gate("slow")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok")
    assert program.wait() == 0
    assert program.all("lifespan", what="shutdown")


def test_the_graceful_timeout_bounds_a_request(start):
    """A request that is never answered delays a stop for no longer than the graceful timeout."""
    program, port = begin(start, "shared", "1", "2", "0.5")
    (worker,) = program.workers()
    with connect(port) as connection:
        connection.request("GET", "/slow")
        program.wait_for("asked")
        program.signal(signal.SIGTERM)
        program.wait()
        assert not alive(worker)
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.getresponse()


def test_it_is_ready_when_the_application_has_started(start):
    """Before the lifespan's startup has completed the worker is not ready."""
    program = start("web.py", "slow_start")
    program.wait_for("starting")
    assert not program.all("WorkerReady")
    program.open_gate("start")
    program.wait_for("WorkerReady")
    assert program.stop() == 0


def test_a_stop_during_the_start_waits_for_it(start):
    """A worker that is told to end while its application is starting ends well when it has."""
    program = start("web.py", "slow_start")
    program.wait_for("starting")
    program.signal(signal.SIGTERM)
    program.wait_for("Stopping")
    program.open_gate("start")
    assert program.wait() == 0
    assert "exit_code=0" in program.wait_for("WorkerDied")["death"]


def test_an_application_that_does_not_start_is_a_failure(start):
    """A lifespan that fails ends the worker with status 3, and it was never ready."""
    program = start("web.py", "failing")
    died = program.wait_for("WorkerDied")
    assert "exit_code=3" in died["death"]
    assert not program.all("WorkerReady")
    until(lambda: "no database" in program.stderr(), "the reason is in the log")


@pytest.mark.once
def test_figures_are_told(start):
    """The manager hears how many requests a worker has answered, and how many connections it
    has."""
    program, port = begin(start, "shared", "1")
    with connect(port) as connection:
        for _ in range(3):
            ask(connection)

        def told():
            program.signal(signal.SIGUSR1)
            said = program.wait_for("said")
            return said if said["figures"] == {"requests": 3, "connections": 1} else None

        assert until(told, "the figures are told")["text"] == f"listens on 127.0.0.1:{port}"


@pytest.mark.once
def test_a_unix_socket_will_do(start):
    """A listener may be a Unix socket; what is asked there is answered."""
    program = start("web.py", "unix")
    path = program.wait_for("listening")["path"]
    program.wait_for("AllReady")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(path)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert program.stop() == 0


@pytest.mark.once
def test_an_application_that_cannot_be_imported_is_a_failure(start):
    """A name that is not there ends the worker with status 3, and it is tried again: the module
    may be on its way."""
    program = start("web.py", "wrong", "module")
    died = program.collect(2, "WorkerDied")
    assert "exit_code=3" in died[0]["death"]
    until(lambda: 'Attribute "nothing" not found' in program.stderr(), "the reason is in the log")


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("app", "'app' must be an ASGI application or 'module:name', not: 17"),
        ("listener", "'listener' must be a socket, not: '127.0.0.1:80'"),
        ("deaf", "'listener' does not listen"),
        ("port", "'port' is not for uvicorn here: bind the socket"),
        ("workers", "'workers' is not for uvicorn here: give it to the manager's add()"),
        ("limit_max_requests", "use Policy(recycle=...)"),
        ("colour", "unexpected keyword argument 'colour'"),
    ],
)
@pytest.mark.once
def test_what_is_wrong_is_told_and_not_tried_again(start, what, text):
    """Arguments that cannot be right end the worker with status 78, and a line says why."""
    program = start("web.py", "wrong", what)
    died = program.wait_for("WorkerDied")
    assert "exit_code=78" in died["death"]
    until(lambda: text in program.stderr(), "the reason is in the log")


def test_the_master_stays_small():
    """Importing the service imports neither uvicorn nor asyncio."""
    code = (
        "import sys, cotyledon.contrib.uvicorn\n"
        "print([name for name in ('uvicorn', 'h11', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_a_missing_extra_is_named():
    """Without uvicorn the import says what to install."""
    code = (
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'uvicorn' else real(name)\n"
        "try: import cotyledon.contrib.uvicorn\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == (
        "cotyledon.contrib.uvicorn needs uvicorn: pip install 'cotyledon[uvicorn]'\n"
    )


def test_small_writes_are_not_delayed():
    """Accepted connections send at once what is written: TCP_NODELAY is inherited."""
    from cotyledon.contrib.uvicorn._server import Server

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Server({"app": None, "log_config": None}, listener, print, print)
        with socket.create_connection(listener.getsockname()) as _, listener.accept()[0] as end:
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
