"""The job as a worker of gunicorn: its settings, and the application that nobody calls."""

from typing import Any

from bench.programs.peers.job import report


def application(environ: Any, start_response: Any) -> list[bytes]:
    """Answer nothing: no request is ever made."""
    start_response("204 No Content", [])
    return []


def post_worker_init(worker: Any) -> None:
    """Report, just before the worker's loop begins."""
    report()
