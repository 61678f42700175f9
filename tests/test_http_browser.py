"""The status page in a real browser."""

import os
import signal
import socket

import pytest

pytest.importorskip("starlette", reason="needs the extra http")

from cotyledon import control
from tests.chromium import Chromium, needs_chromium
from tests.harness import until
from tests.http_support import HOSTILE, Browser, address_of

pytestmark = [pytest.mark.once, pytest.mark.real, needs_chromium, pytest.mark.deadline(120)]
DESKTOP, PHONE, SMALLEST = (1280, 900), (390, 844), (360, 740)
TAB, ESCAPE, ENTER, DOWN = "\ue004", "\ue00c", "\ue007", "\ue015"
ROW = """
const rows = [...document.querySelectorAll(".service[data-name=Web] .worker")];
"""


@pytest.fixture
def chromium(start):
    """A browser that is gone when it is looked at what the program has left behind."""
    with Chromium() as browser:
        yield browser


@pytest.fixture
def site(start):
    """Start a program with the endpoint; return it, a client and the page's address."""
    program = start("site.py", "plain", "64", str(free_port()))
    client = Browser(*address_of(program))
    until(lambda: client.ask("/readyz").status == 200, "everything is ready")
    return program, client, f"http://{client.host}:{client.port}/"


def free_port():
    """Return a port that nobody listens on, for workers one after the other."""
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return end.getsockname()[1]


def open_live(chromium, url, size=DESKTOP, **more):
    chromium.look(*size, **more)
    chromium.open(url)
    chromium.wait("return document.getElementById('link').textContent === 'live'")


def first_pid(chromium):
    """Return the pid that the page shows for the first worker of Web."""
    return int(chromium.run(ROW + "return rows[0].dataset.pid || '0'"))


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_worker_is_seen_killed_and_back(chromium, site, size):
    _, client, url = site
    open_live(chromium, url, size)
    pid = client.pid("Web")
    assert first_pid(chromium) == pid
    shown = chromium.text("#services")
    for text in ("HttpService", "Web 2", "ready", str(pid)):
        assert text in shown
    os.kill(pid, signal.SIGKILL)
    until(lambda: first_pid(chromium) not in (0, pid), "the page shows the new worker")
    assert first_pid(chromium) == client.pid("Web")
    until(lambda: f"died: SIGKILL (pid {pid}" in chromium.text("#log"), "the log has the death")
    row = ".service[data-name=Web] .worker"
    until(lambda: "SIGKILL" in chromium.text(f"{row} .restarts"), "the row has the death")
    assert chromium.complaints() == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE, SMALLEST])
def test_nothing_is_wider_than_the_window(chromium, site, size):
    _, client, url = site
    os.kill(client.pid("Web"), signal.SIGKILL)
    open_live(chromium, url, size)
    chromium.wait("return document.querySelector('.worker details')")
    chromium.run("for (const one of document.querySelectorAll('details')) one.open = true")
    width = chromium.run("return document.documentElement.scrollWidth")
    assert width <= size[0]


def test_what_is_open_and_focused_stays_so(chromium, site):
    _, client, url = site
    os.kill(client.pid("Web"), signal.SIGKILL)
    open_live(chromium, url)
    chromium.wait("return document.querySelector('.worker details')")
    chromium.press("j", ENTER)
    chromium.run("window.seen = document.activeElement")
    os.kill(client.pid("Web", 1), signal.SIGKILL)
    chromium.wait("return document.querySelectorAll('.worker details').length == 2")
    assert chromium.run("return document.activeElement === window.seen")
    assert chromium.run("return document.activeElement.parentElement.open")
    chromium.press("k")
    assert chromium.run("return document.activeElement.tagName") == "SUMMARY"


def test_the_keyboard_is_enough(chromium, site):
    _, _, url = site
    open_live(chromium, url)
    chromium.press(TAB)
    assert chromium.run("return document.activeElement.className") == "skip"
    assert chromium.run("return document.activeElement.getBoundingClientRect().top") >= 0
    chromium.press("/")
    assert chromium.run("return document.activeElement.id") == "filter"
    chromium.press(*"script")
    chromium.wait("return document.getElementById('found').value === '1 worker'")
    assert chromium.text("#services").startswith("Hostile") is False
    assert "<script>alert(1)</script>" in chromium.text("#services")
    chromium.press(ESCAPE)
    assert "HttpService" in chromium.text("#services")
    chromium.press("?")
    assert chromium.run("return document.getElementById('help').open")
    chromium.press(ESCAPE)
    assert not chromium.run("return document.getElementById('help').open")
    chromium.press("e")
    assert chromium.run("return document.activeElement.id") == "log"
    outline = chromium.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_names_run_nothing(chromium, site):
    _, _, url = site
    open_live(chromium, url)
    chromium.wait("return document.body.innerText.includes('onerror=alert(2)')")
    names = chromium.run("return [...document.querySelectorAll('h2')].map((h) => h.textContent)")
    assert HOSTILE in names
    assert chromium.run("return document.querySelectorAll('main img, main script').length") == 0
    assert chromium.complaints() == []


def test_the_page_outlives_its_server(chromium, site):
    """Nothing is shown twice, and nothing is missed, when the worker is replaced."""
    program, client, url = site
    open_live(chromium, url)
    chromium.run("window.mine = true")
    before = client.pid("HttpService")
    with control.Client(str(program.directory / "control.sock")) as manager:
        # On the same port, so that the page finds the next one.
        os.kill(client.pid("Web"), signal.SIGKILL)
        os.kill(before, signal.SIGKILL)
        until(
            lambda: manager.status()["services"][0]["workers"][0]["pid"] not in (None, before), ""
        )
    other = Browser(*address_of(program))
    assert other.port == client.port
    chromium.wait("return document.querySelectorAll('#log .bad').length === 2")
    numbers = chromium.run(
        "return [...document.getElementById('log').children].map((e) => e.dataset.key)"
    )
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers, key=int, reverse=True)
    assert chromium.run("return window.mine")  # it was not loaded again


def test_the_end_of_the_manager_is_seen(chromium, start, site):
    program, _, _ = site
    other = start("site.py", "elsewhere", str(program.directory / "control.sock"))
    client = Browser(*address_of(other))
    until(lambda: client.ask("/readyz").status == 200, "it has reached the manager")
    open_live(chromium, f"http://{client.host}:{client.port}/")
    assert program.stop() == 0
    until(lambda: "Cut off from the manager." in chromium.text("main"), "the page says so")
    assert chromium.run("return document.title").endswith(": cut off")
    assert chromium.text("#link") == ""
    assert "has ended with status 0" in chromium.text("#log")
    assert chromium.complaints() == []


def test_the_end_of_the_server_is_seen(chromium, site):
    program, _, url = site
    open_live(chromium, url)
    assert program.stop() == 0
    until(lambda: "This page is not live." in chromium.text("main"), "the page says so")
    assert chromium.run("return document.getElementById('link').textContent") == ""


CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const color = parse(getComputedStyle(one).backgroundColor);
    if (color.length < 4 || color[3] === 1) return color;
  }
  return parse(getComputedStyle(document.body).backgroundColor);
};
const bad = [];
for (const one of document.querySelectorAll("body *")) {
  const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !one.checkVisibility()) continue;
  const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) bad.push(`${one.tagName}.${one.className}: ${ratio.toFixed(2)}`);
}
return bad;
"""


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read(chromium, site, dark):
    """The contrast of every text is that of WCAG's level AA, by day and by night."""
    _, client, url = site
    os.kill(client.pid("Web"), signal.SIGKILL)
    open_live(chromium, url, dark=dark)
    chromium.wait("return document.querySelector('.worker details')")
    paper = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(16, 20, 15)") is dark
    assert chromium.run(CONTRAST) == []


def test_without_scripts_the_page_is_whole_and_refreshes_itself(site):
    _, client, url = site
    with Chromium(scripts=False) as plain:
        plain.look(*PHONE)
        plain.open(url)
        pid = client.pid("Web")
        # The driver's own scripts run in a world of their own.
        assert str(pid) in plain.text("#services")
        assert plain.run("return document.getElementById('tools').hidden")
        os.kill(pid, signal.SIGKILL)
        until(lambda: f"died: SIGKILL (pid {pid}" in plain.text("#log"), "it was loaded again")
        assert str(client.pid("Web")) in plain.text("#services")
        assert plain.run("return document.documentElement.scrollWidth") <= PHONE[0]
