"""A real browser, headless: Debian's Chromium, by way of its driver.

Responsible for the few commands of WebDriver that the tests need, and for the end of the browser.
"""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import pytest

from tests.harness import descendants, until, wait_gone

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="needs Debian's chromium and chromium-driver"
)
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",  # the tests may be root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
    "--no-first-run",
    "--lang=en",
]
SECONDS = 40


class Chromium:
    """One browser with one window; a context manager.

    Args:
        scripts: whether it runs JavaScript.
    """

    def __init__(self, *, scripts: bool = True) -> None:
        self._directory = tempfile.mkdtemp(prefix="chromium-")
        log = os.path.join(self._directory, "driver.log")
        with open(log, "wb") as out:
            self._driver = subprocess.Popen(
                [str(DRIVER), "--port=0"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "HOME": self._directory},
            )
        try:
            self._port = int(until(lambda: self._find_port(log), "the driver listens"))
            self._session = self._begin(scripts)
        except BaseException:
            self._end()
            raise

    @staticmethod
    def _find_port(log: str) -> str | None:
        found = re.search(r"started successfully on port (\d+)", Path(log).read_text())
        return found[1] if found else None

    def _begin(self, scripts: bool) -> str:
        profile = os.path.join(self._directory, "profile")
        options: dict[str, Any] = {
            "binary": BROWSER,
            "args": [*ARGUMENTS, f"--user-data-dir={profile}"],
        }
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        body = {"capabilities": {"alwaysMatch": wanted}}
        return str(self._ask("POST", "/session", body)["sessionId"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._ask("DELETE", f"/session/{self._session}")
        finally:
            self._end()

    def _end(self) -> None:
        left = [self._driver.pid, *descendants(self._driver.pid)]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._driver.wait()
        for pid in left:
            wait_gone(pid)
        shutil.rmtree(self._directory, ignore_errors=True)

    # Commands

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{method} {path}: {value['error']}: {value['message']}")
        return value

    def do(self, command: str, **fields: Any) -> Any:
        """Give the window a command of WebDriver."""
        return self._ask("POST", f"/session/{self._session}/{command}", fields)

    def devtools(self, command: str, **fields: Any) -> Any:
        """Give it a command of the developer tools."""
        return self.do("goog/cdp/execute", cmd=command, params=fields)

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Have a window of this size, by day or by night."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme, still])

    def open(self, url: str) -> None:
        """Load a page."""
        self.do("url", url=url)

    def run(self, script: str, *args: Any) -> Any:
        """Run a script in the page, and return what it returns."""
        return self.do("execute/sync", script=script, args=args)

    def text(self, selector: str = "body") -> str:
        """Return the visible text of an element."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return str(self.run(script, selector))

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.do("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def wait(self, script: str, *args: Any, what: str = "") -> Any:
        """Wait until a script returns what is true."""
        return until(lambda: self.run(script, *args), what or script)

    def complaints(self) -> list[str]:
        """Return what the browser has logged, such as what the page's policy forbids."""
        return [entry["message"] for entry in self.do("se/log", type="browser")]

    def picture(self, path: Path) -> None:
        """Save what the window shows."""
        image = self._ask("GET", f"/session/{self._session}/screenshot")
        path.write_bytes(base64.b64decode(image))
