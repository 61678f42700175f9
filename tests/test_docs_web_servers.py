"""What the page on web servers shows serves, and is reloaded under load."""

import http.client
import signal
import socket
from contextlib import closing

import pytest

from tests.test_docs import examples
from tests.web_clients import Clients

pytestmark = [pytest.mark.once, pytest.mark.real]

FIRST, PER_WORKER, FAST, WSGI, STANDARD, GRANIAN = examples("docs/web-servers.md")
SHOP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
"""
HEAD = "\n".join(line for line in FIRST.splitlines() if "import" in line) + "\n"
LISTENED = "from tests.programs.web import tell\nmanager.register_hooks(on_event=tell)\n"


def serve(start, tmp_path, source, port):
    """Start what a page shows."""
    assert "8000" in source
    assert source.count("manager.run()") == 1
    text = source.replace("8000", str(port)).replace("manager.run()", LISTENED + "manager.run()")
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "program.py").write_text(text)
    program = start(str(tmp_path / "program.py"))
    program.wait_for("AllReady")
    return program


@pytest.fixture
def port():
    with socket.socket() as held:
        # Another socket with both options may listen on it, and nobody else takes it meanwhile.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize(
    ("source", "safe"),
    [
        pytest.param(FIRST, True, id="uvicorn"),
        pytest.param(HEAD + FAST + FIRST.replace("UvicornService, ", "Fast, "), True, id="uvloop"),
        pytest.param(HEAD + WSGI, True, id="a2wsgi"),
        pytest.param(STANDARD, True, id="wsgiref"),
        pytest.param(HEAD + PER_WORKER, False, id="reuse-port"),
        pytest.param(GRANIAN, False, id="granian"),
    ],
)
def test_what_the_page_shows_serves_through_a_reload(start, tmp_path, port, source, safe):
    """Each program serves while its workers are replaced; with one socket for all no request is
    lost, without one only those on new connections."""
    program = serve(start, tmp_path, source, port)
    before = set(program.workers())
    assert len(before) == 4
    clients = Clients(port)
    clients.wait_for(50)
    program.signal(signal.SIGHUP)
    program.wait_for("RolloutFinished", timeout=40)
    program.collect(4, "WorkerDied", timeout=40)  # the last one may still be finishing
    if safe:
        clients.wait_for(50)
    outcome = clients.stop()
    assert outcome.kept + outcome.fresh > 100
    lost = [text for text in outcome.failures if safe or text.startswith("used")]
    assert not lost
    assert not before & set(program.workers())
    assert program.stop() == 0


def test_a_reload_brings_new_code(start, tmp_path, port):
    """An application that is given by its name is imported by each new worker: as it is then."""
    program = serve(start, tmp_path, FIRST, port)
    assert body(port) == b"ok"
    (tmp_path / "shop.py").write_text(SHOP.replace('b"2"', 'b"5"').replace('b"ok"', 'b"fresh"'))
    program.signal(signal.SIGHUP)
    program.wait_for("RolloutFinished", timeout=40)
    program.collect(4, "WorkerDied", timeout=40)
    assert body(port) == b"fresh"
    assert program.stop() == 0


def body(port):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read()
