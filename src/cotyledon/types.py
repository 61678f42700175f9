"""The identifiers that programs use to name services and workers.

Responsible for the two public type names of cotyledon 2.2.0. Never holds behaviour.
"""

import uuid
from typing import NewType

ServiceId = NewType("ServiceId", uuid.UUID)
"""Names a service that was given to :meth:`cotyledon.ServiceManager.add`."""

WorkerId = NewType("WorkerId", int)
"""Names a worker of a service: a dense, stable index from 0 to ``workers - 1``."""
