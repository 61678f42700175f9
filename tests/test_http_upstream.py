"""The endpoint and its manager: what it asks, how often, and what it makes of odd answers."""

import time
from contextlib import ExitStack

import pytest

pytest.importorskip("starlette", reason="needs the extra http")

from tests.harness import until
from tests.http_support import Browser, FakeManager, Stream, address_of, made_up_status

pytestmark = [pytest.mark.real, pytest.mark.once]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "other.sock")


@pytest.fixture
def fake(path):
    manager = FakeManager(path)
    yield manager
    manager.close()


@pytest.fixture
def browser(start, path):
    program = start("site.py", "elsewhere", path)
    return Browser(*address_of(program))


def healthy(browser):
    until(lambda: browser.ask("/healthz").status == 200, "the manager answers")


def test_the_manager_may_come_later(browser, path):
    answer = browser.ask("/healthz")
    assert answer.status == 503
    assert answer.text == f"cut off from the manager: {path}: No such file or directory\n"
    assert "Nothing has been heard of the manager yet." in browser.ask("/").text
    fake = FakeManager(path)
    try:
        healthy(browser)
        until(lambda: fake.followers == 1, "the events are followed")
    finally:
        fake.close()


def test_nobody_looks_and_nothing_is_asked(fake, browser):
    until(lambda: fake.followers == 1, "the events are followed")
    asked = len(fake.asked)
    with Stream(browser) as stream:
        next(iter(stream))
        for worker in range(50):
            fake.tell(kind="worker-ready", service="1", name="Web", worker=worker, took=0.1)
        fake.tell(kind="all-ready")
        stream.wait_for("all-ready")
    assert len(fake.asked) == asked


def test_ten_browsers_are_one(fake, browser):
    healthy(browser)
    until(lambda: fake.followers == 1, "the events are followed")
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(browser, "/live")) for _ in range(10)]
        for number in range(3):
            fake.tell(kind="worker-ready", service="1", name="Web", worker=number, took=0.1)
            for stream in streams:
                next(sent for sent in stream if sent.event == "log")
                next(sent for sent in stream if sent.event == "status")
        for _ in range(5):
            assert browser.ask("/").status == 200
    assert fake.connections == 2
    gaps = [after - before for before, after in zip(fake.asked, fake.asked[1:], strict=False)]
    # Never more than one per second, but for what a scrape may ask for in between.
    assert len([gap for gap in gaps if gap < 0.5]) == 0


def test_those_who_ask_at_the_same_time_share_an_answer(fake, browser):
    healthy(browser)
    begin, asked = time.monotonic(), len(fake.asked)
    for _ in range(30):
        assert browser.ask("/metrics").status == 200
    seconds = time.monotonic() - begin
    assert len(fake.asked) - asked <= seconds + 1


def test_another_manager_begins_anew(browser, path):
    first = FakeManager(path, pid=1)
    with Stream(browser) as stream:
        until(lambda: first.followers == 1, "the first is followed")
        for _ in range(5):
            first.tell(kind="all-ready")
        stream.wait_for("all-ready")
        first.close()
        second = FakeManager(path, pid=1)  # as in a container
        try:
            until(lambda: second.followers == 1, "the second is followed")
            second.tell(kind="stopping", why="a test")
            number, event = stream.wait_for("stopping")
        finally:
            second.close()
    assert (number, event["why"]) == (1, "a test")


def test_a_manager_that_hangs_is_one_that_is_cut_off(fake, browser):
    healthy(browser)
    fake.silent = True

    def hung():
        answer = browser.ask("/healthz")
        return answer.status == 503 and answer.text

    assert "no answer within 5 s" in until(hung, "the manager hangs")


def test_texts_that_are_no_text(fake, browser):
    """Half of a surrogate pair is a string in JSON, and cannot be sent to anybody."""
    fake.answer = made_up_status("W\ud800eb")
    healthy(browser)
    for page in ("/", "/metrics", "/readyz", "/api/status"):
        answer = browser.ask(page)
        assert answer.status == 200
        assert "W?eb" in answer.text or page == "/readyz"


def test_fields_and_kinds_that_are_new(fake, browser):
    fake.answer = made_up_status(brand_new=[1, {"a": None}])
    healthy(browser)
    until(lambda: fake.followers == 1, "the events are followed")
    with Stream(browser, "/live?after=0") as stream:
        fake.tell(kind="something-new", colour="<b>green</b>")
        sent = next(one for one in stream if one.event == "log")
    assert "something-new" in sent.data
    assert browser.ask("/api/status").json["services"][0]["brand_new"] == [1, {"a": None}]


def test_a_browser_that_does_not_read_costs_little(fake, browser):
    """What waits for it is bounded, and it is told what it has missed."""
    until(lambda: fake.followers == 1, "the events are followed")
    text = "x" * 20_000
    with Stream(browser) as slow, Stream(browser) as quick:
        for number in range(1000):
            fake.tell(kind="worker-status", name="Web", worker=number, status=text)
            if number % 20 == 19:
                quick.wait_for("worker-status")
        fake.tell(kind="all-ready")
        quick.wait_for("all-ready")
        number, lost = slow.wait_for("lost")
        assert number == 0  # it is none of the manager's
        assert lost["count"] > 0
        slow.wait_for("all-ready")


def test_the_worker_outlives_its_listeners(fake, browser):
    """A browser that vanishes in the middle of an answer hurts nobody."""
    healthy(browser)
    for _ in range(20):
        stream = Stream(browser, "/live")
        assert stream.status == 200
        stream.__exit__()
    until(lambda: "cotyledon_http_followers 0.0" in browser.ask("/metrics").text, "all have left")


def test_not_ready_says_what_is_missing(fake, browser):
    fake.answer = made_up_status(wanted=4, ready=1)
    healthy(browser)
    assert browser.ask("/readyz").text == "not ready: Web (1 of 4 workers ready)\n"
    fake.answer = made_up_status(wanted=4, ready=1, gave_up=True)
    expected = "not ready: Web has given up (1 of 4 workers ready)\n"
    until(lambda: browser.ask("/readyz").text == expected, "it has given up")
    fake.answer = done = made_up_status(wanted=1, ready=0)
    done["services"][0]["workers"][0]["state"] = "done"
    until(lambda: browser.ask("/readyz").status == 200, "what is done is not missing")
    done["manager"]["state"] = "stopping"
    until(lambda: browser.ask("/readyz").text == "not ready: the manager is stopping\n", "stop")
