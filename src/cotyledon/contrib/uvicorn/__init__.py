"""ASGI applications in workers, served by uvicorn, without losing a request when they end.

Responsible for :class:`UvicornService`, a service that a program adds like any other. Never
imports uvicorn before it is built in a worker: the master, which has imported this, stays small.

Example:
    ::

        listener = socket.create_server(("127.0.0.1", 8000), backlog=1024)
        manager = cotyledon.ServiceManager(graceful_shutdown_timeout=30)
        manager.add(UvicornService, workers=4, args=("shop:app", listener))
"""

from importlib.util import find_spec

if find_spec("uvicorn") is None:
    raise ImportError("cotyledon.contrib.uvicorn needs uvicorn: pip install 'cotyledon[uvicorn]'")

from cotyledon.contrib.uvicorn._service import UvicornService

__all__ = ["UvicornService"]
