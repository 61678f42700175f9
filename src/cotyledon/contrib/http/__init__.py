"""One HTTP endpoint for a manager: metrics, health, and a status page that is live.

Responsible for :class:`HttpService`, a service that a program adds like any other. Never does
anything to the manager but read its control socket, and never loads a web framework in the master.

Example:
    ::

        manager = cotyledon.ServiceManager(name="web", control="/run/web/control.sock")
        manager.add(HttpService, kwargs={"control": "/run/web/control.sock"})
"""

from importlib.util import find_spec

_MISSING = [
    name
    for name in ("starlette", "uvicorn", "prometheus_client", "jinja2")
    if find_spec(name) is None
]
if _MISSING:
    raise ImportError(
        f"cotyledon.contrib.http needs {', '.join(_MISSING)}: pip install 'cotyledon[http]'"
    )

from cotyledon.contrib.http.service import HttpService  # noqa: E402  (after the hint)

__all__ = ["HttpService"]
