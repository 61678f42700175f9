"""What is measured: the times, the cells, and what a subject is told.

Responsible for the numbers that subjects and bench must agree on. Imports nothing but the
standard library: subjects read it, too.
"""

import json
from typing import NamedTuple

INTERVAL = 0.5
"""Seconds from one beat to the next."""
MEMBERSHIP = 3
"""Seconds without a beat after which the server forgets a member."""
AMQP = 1
"""The setting ``heartbeat_timeout_threshold``: RabbitMQ closes a connection that has been silent
for two to three times as many seconds."""
BURST = 5.0
"""Seconds for which the main job is busy without a break."""
PAUSE = 1.0
"""Seconds between two bursts."""
PATIENCE = 2.0
"""Seconds within which an RPC ping must be answered."""

MAIN, APART = "main", "apart"
"""Where an RPC server is: with the main job, or in a process of its own."""

JOBS = ("compute", "release", "hold", "sleep")
SERVERS = ("redis", "etcd")


class Task(NamedTuple):
    """What a subject is told."""

    url: str  # of the coordination server
    group: str
    broker: str  # the URL of RabbitMQ; empty: serve no RPC
    job: str  # one of JOBS; empty: none at all
    burst: float  # seconds
    folder: str  # where to write the beats, and where the word to begin appears

    def to_json(self) -> str:
        """Return it for a command line."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Return it from a command line."""
        return cls(*json.loads(text))
