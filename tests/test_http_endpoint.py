"""The HTTP endpoint of a real manager: what it answers, to whom, and how it ends."""

import os
import re
import signal
import socket

import pytest

pytest.importorskip("starlette", reason="needs the extra http")

from prometheus_client.parser import text_string_to_metric_families

from cotyledon import control
from tests.harness import alive, until, wait_gone
from tests.http_support import HOSTILE, Browser, Stream, address_of

pytestmark = [pytest.mark.real, pytest.mark.once]
SCRIPT = "site.py"


@pytest.fixture
def site(start):
    """Start a program with the endpoint; return it and a browser."""

    def begin(*args):
        program = start(SCRIPT, *args)
        browser = Browser(*address_of(program))
        until(lambda: browser.ask("/healthz").status == 200, "the endpoint is up")
        return program, browser

    return begin


def samples(browser, name):
    """Return labels -> value of a metric, the service first."""
    text = browser.ask("/metrics").text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                labels = dict(sample.labels)
                service = [labels.pop("service")] if "service" in labels else []
                found[(*service, *labels.values())] = sample.value
    return found


# --- health -------------------------------------------------------------------------------


def test_ready_when_every_service_is(site):
    program, browser = site("late")
    assert browser.ask("/healthz").text == "ok\n"
    answer = browser.ask("/readyz")
    assert answer.status == 503
    assert answer.text == "not ready: Late (0 of 2 workers ready)\n"
    program.open_gate("late")
    until(lambda: browser.ask("/readyz").status == 200, "everything is ready")


def test_the_manager_is_cut_off_and_comes_back(start, tmp_path):
    other = start(SCRIPT, "plain")
    path = other.directory / "control.sock"
    program = start(SCRIPT, "elsewhere", str(path))
    browser = Browser(*address_of(program))
    until(lambda: browser.ask("/healthz").status == 200, "the other manager answers")
    other.signal(signal.SIGKILL)
    other.wait()
    answer = until(lambda: (a := browser.ask("/readyz")).status == 503 and a, "it is cut off")
    assert answer.text.startswith("cut off from the manager: ")
    assert browser.ask("/healthz").status == 503
    assert browser.ask("/api/status").json.keys() == {"error"}
    assert samples(browser, "cotyledon_up") == {(): 0}
    page = browser.ask("/").text
    assert "Cut off from the manager." in page
    assert "serves shard 0" in page  # as it was last seen


# --- metrics and status -------------------------------------------------------------------


def test_metrics_tell_the_services_apart_and_escape_their_names(site):
    _, browser = site("plain")
    wanted = until(lambda: samples(browser, "cotyledon_workers_wanted"), "there are metrics")
    assert wanted == {("HttpService",): 1, ("Web",): 2, ("Web 2",): 1, (HOSTILE,): 1}
    until(lambda: samples(browser, "cotyledon_workers_ready") == wanted, "everything is ready")
    memory = samples(browser, "cotyledon_worker_private_memory_bytes")
    assert len(memory) == 5
    assert all(value > 100_000 for value in memory.values())
    assert set(samples(browser, "cotyledon_worker_cpu_seconds_total")) == set(memory)


def test_deaths_are_counted_by_reason(site):
    _, browser = site("plain")
    os.kill(browser.pid("Web"), signal.SIGKILL)
    until(
        lambda: samples(browser, "cotyledon_worker_deaths_total") == {("Web", "signal"): 1},
        "the death is counted",
    )
    until(
        lambda: samples(browser, "cotyledon_worker_respawn_duration_seconds_count").get(("Web",)),
        "the respawn is counted",
    )
    starts = samples(browser, "cotyledon_worker_starts_total")
    assert starts["Web", "wanted"] == 2
    assert starts["Web", "respawn"] == 1
    buckets = samples(browser, "cotyledon_worker_respawn_duration_seconds_bucket")
    assert buckets["Web", "+Inf"] == 1


def test_openmetrics_for_those_who_ask(site):
    _, browser = site("plain")
    answer = browser.ask("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_the_status_has_memory_and_cpu(site):
    program, browser = site("plain")
    status = browser.ask("/api/status").json
    assert status["manager"]["pid"] == program.pid
    for process in (status["manager"], status["services"][0]["workers"][0]):
        assert process["memory"]["private"] > 0
        assert process["cpu"]["seconds"] >= 0


# --- events -------------------------------------------------------------------------------


def test_events_arrive_and_are_replayed(site):
    _, browser = site("plain")
    pid = browser.pid("Web")
    with Stream(browser) as stream:
        next(iter(stream))  # the greeting
        os.kill(pid, signal.SIGKILL)
        number, died = stream.wait_for("worker-died")
        assert died["death"]["pid"] == pid
        assert died["seq"] == number
        stream.wait_for("worker-ready")
    with Stream(browser, last_event_id=str(number - 1)) as again:
        assert again.wait_for("worker-died") == (number, died)
    with Stream(browser, "/api/events?after=0") as whole:
        assert whole.wait_for("worker-started")[1]["reason"] == "wanted"
    with Stream(browser, last_event_id=str(number + 1000)) as other:
        assert other.wait_for("worker-died") == (number, died)


def test_as_many_follow_as_may(site):
    _, browser = site("plain", "2")
    with Stream(browser) as one, Stream(browser, "/live") as two:
        assert one.status == two.status == 200
        refused = browser.ask("/api/events")
        assert refused.status == 503
        assert refused.headers["retry-after"] == "10"
    until(lambda: samples(browser, "cotyledon_http_followers") == {(): 0}, "both have left")
    with Stream(browser) as three:
        assert three.status == 200


def test_streams_end_with_the_worker(site):
    program, browser = site("plain")
    pid = browser.pid("HttpService")
    with Stream(browser) as one, Stream(browser, "/live") as two:
        next(iter(one)), next(iter(two))
        os.kill(pid, signal.SIGTERM)
        assert all(sent.event for stream in (one, two) for sent in stream)  # until their ends
        wait_gone(pid)
    assert program.stop() == 0
    deaths = [line for line in program.stderr().splitlines() if "exit status" in line]
    assert not [line for line in deaths if "HttpService" in line and "status 0" not in line]


def test_a_request_that_does_not_come_keeps_no_place(site):
    """A connection with half a request is closed; one that is being answered is not."""
    program, browser = site("plain")
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    half = whole[:-4]
    with Stream(browser) as following:
        for begun in (half, whole + half):
            with socket.create_connection((browser.host, browser.port)) as end:
                end.settimeout(60)
                end.sendall(begun)
                while end.recv(4096):
                    pass
        os.kill(browser.pid("Web"), signal.SIGKILL)
        following.wait_for("worker-died")
    assert program.stop() == 0


def test_a_request_that_never_ends_does_not_hold_up_the_stop(site):
    program, browser = site("plain")
    with socket.create_connection((browser.host, browser.port)) as half:
        half.sendall(b"GET / HTTP/1.1\r\nHost: local")
        with Stream(browser, "/live"):  # and one that is never read
            assert program.stop() == 0
    assert not alive(program.pid)


# --- strictness ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(site, method):
    _, browser = site("plain")
    for path in ("/", "/metrics", "/api/status", "/nowhere"):
        answer = browser.ask(path, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_the_text(site):
    _, browser = site("plain")
    paths = ("/", "/metrics", "/healthz", "/readyz", "/api/status", "/api/events", "/live")
    for path in (*paths, "/static/page.js"):
        answer = browser.ask(path, "HEAD")
        assert (answer.status, answer.text) == (200, "")


def test_other_names_are_refused(site):
    """A page elsewhere may have its name point here: it must not read what is here."""
    _, browser = site("plain")
    for name in ("evil.example", "evil.example:8006", "localhost.evil.example", "[::1", "a:b"):
        for path in ("/", "/api/status", "/live"):
            assert browser.ask(path, host=name).status == 421
    for name in ("localhost", "LOCALHOST:1", "127.0.0.1:8006", "[::1]:8006", "10.1.2.3"):
        assert browser.ask("/healthz", host=name).status == 200


def test_answers_keep_browsers_strict(site):
    _, browser = site("plain")
    for path in ("/", "/metrics", "/nowhere", "/static/page.css"):
        headers = browser.ask(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
    tag = browser.ask("/static/page.css").headers["etag"]
    assert browser.ask("/static/page.css", if_none_match=tag).status == 304


def test_names_and_texts_are_only_text(site):
    _, browser = site("plain")
    page = until(
        lambda: "onerror" in (text := browser.ask("/").text) and text, "the worker says it"
    )
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script") == 1  # our own
    with Stream(browser, "/live?after=0") as stream:
        for sent in stream:
            assert "<script" not in sent.data
            assert "<img" not in sent.data
            if sent.event == "status":
                break


def test_the_page_loads_nothing_from_outside(site):
    _, browser = site("plain")
    for path in ("/", "/static/page.css", "/static/page.js"):
        text = browser.ask(path).text
        for link in re.findall(r"""(?:src|href)=["'](.)(.)""", text):
            assert link[0] == "#" or (link[0] == "/" and link[1] != "/")
        assert "url(" not in text
        assert "@import" not in text
        assert "style=" not in text


# --- as a worker --------------------------------------------------------------------------


def test_the_master_loads_none_of_it(site):
    program, _ = site("plain")
    program.signal(signal.SIGHUP)
    names = program.wait_for("modules")["names"]
    for package in ("starlette", "uvicorn", "prometheus_client", "jinja2", "asyncio"):
        assert package not in names


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(site, method):
    program, browser = site("method", method)
    assert browser.ask("/readyz").status == 200
    assert program.stop() == 0


def test_it_is_reloaded_like_any_other(site):
    program, browser = site("plain")
    before = browser.pid("HttpService")
    with control.Client(str(program.directory / "control.sock")) as client:
        outcome = client.reload("HttpService", wait=20)
    assert outcome.ok, outcome.text
    browser = Browser(*address_of(program))
    assert until(lambda: browser.pid("HttpService"), "it answers again") != before


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("port", "70000", "'port' must be a number from 0 to 65535, not: 70000"),
        ("host", "192.0.2.1", "cannot listen on 192.0.2.1 port 8006: "),
        ("host", "no such host", "cannot listen on 'no such host': "),
        ("control", "", "'control' must be a path or a manager's name, not: ''"),
        ("allowed_hosts", "example", "'allowed_hosts' must be a list of names, not: 'example'"),
    ],
)
def test_an_argument_that_cannot_be_is_one_line(start, name, value, text):
    program = start(SCRIPT, "wrong", name, value)
    assert program.wait() != 0
    assert f"HttpService: {text}" in program.stderr()
    assert "Traceback" not in program.stderr()
