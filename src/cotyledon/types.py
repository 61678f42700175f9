"""The identifiers that programs use to name services and workers, and what a hook can raise.

Responsible for the two public type names of cotyledon 2.2.0, for how many workers a service can
have, and for :class:`ReloadRefused`. Never holds behaviour.
"""

import uuid
from typing import NewType

ServiceId = NewType("ServiceId", uuid.UUID)
"""Names a service that was given to :meth:`cotyledon.ServiceManager.add`."""

WorkerId = NewType("WorkerId", int)
"""Names a worker of a service: a dense, stable index from 0 to ``workers - 1``."""

MOST_WORKERS = 1 << 15
"""How many workers a service can have: as many as a master can clean up after."""


class ReloadRefused(Exception):
    """Raised by an ``on_reload`` hook: nothing is reloaded, and the text says why.

    What runs goes on as before. The text is logged in one line, and told to a client of the
    control socket that has asked for the reload.
    """
