"""A target whose import starts a thread."""

import threading

from tests.programs.command_services import Web

__all__ = ["Web"]

threading.Thread(target=threading.Event().wait, daemon=True, name="early bird").start()
