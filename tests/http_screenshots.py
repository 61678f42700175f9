"""Takes the pictures of the status page that the documentation shows.

    python -m tests.http_screenshots

Starts a program of its own, has something happen to it, and saves what Chromium shows in
``docs/images``.
"""

import os
import select
import signal
import sys
import tempfile
from pathlib import Path

from tests.chromium import BROWSER, DRIVER, Chromium
from tests.harness import Programs, until
from tests.http_support import Browser, address_of

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SECONDS = 45
"""For which the curves are drawn."""
PICTURES = [
    ("status-page.png", 1280, 960, False),
    ("status-page-dark.png", 1600, 640, True),
    ("status-page-phone.png", 390, 844, False),
]


def take(directory: Path, folder: str) -> None:
    """Take all of them.

    Args:
        directory: where they are saved.
        folder: where the program may leave what it has to.
    """
    directory.mkdir(exist_ok=True)
    programs = Programs()
    try:
        # It has a name, and a lock on that.
        program = programs.start("site.py", "show", env={"XDG_RUNTIME_DIR": folder})
        client = Browser(*address_of(program))
        with Chromium() as chromium:
            chromium.look(1280, 900)
            chromium.open(f"http://{client.host}:{client.port}/")
            select.select([], [], [], SECONDS)
            os.kill(client.pid("Web", 1), signal.SIGKILL)
            os.kill(client.pid("Indexer", 2), signal.SIGUSR2)
            died = "return document.querySelectorAll('.worker details').length >= 3"
            chromium.wait(died, what="the deaths are on the page")
            select.select([], [], [], 8)
            chromium.run("document.querySelector('.worker details').open = true")
            for name, width, height, dark in PICTURES:
                chromium.look(width, height, dark=dark)
                until(lambda: chromium.run("return innerWidth"), "the window has its size")
                chromium.picture(directory / name)
                print(f"{directory / name}: {(directory / name).stat().st_size} bytes")
    finally:
        programs.finish(failed=False)


if __name__ == "__main__":
    if BROWSER is None or DRIVER is None:
        sys.exit("This needs Debian's chromium and chromium-driver.")
    with tempfile.TemporaryDirectory() as scratch:
        take(IMAGES, scratch)
