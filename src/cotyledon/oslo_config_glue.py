"""Options of oslo.config for the manager (extra ``oslo``).

Responsible for two options, and for bringing a changed configuration to the manager and to each
worker on SIGHUP. Never needed by a program that does not use oslo.config.

:func:`setup` is all that most programs need. :func:`link` alone is for programs whose other
libraries have registered options of the same names already.
"""

import copy
import functools
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

if find_spec("oslo_config") is None:
    raise ImportError(
        "cotyledon.oslo_config_glue needs oslo.config: pip install 'cotyledon[oslo]'"
    )

from oslo_config import cfg

from cotyledon._worker.life import BEFORE_RELOAD
from cotyledon.types import ServiceId, WorkerId

LOG = logging.getLogger(__name__)

service_opts = [
    cfg.BoolOpt(
        "log_options",
        default=True,
        mutable=True,
        help="Log the values of all options, at DEBUG level, when the service starts and when "
        "its configuration is reloaded.",
    ),
    cfg.IntOpt(
        "graceful_shutdown_timeout",
        default=60,
        min=0,
        mutable=True,
        help="Seconds that a graceful stop may take before what is left is killed (0: no limit).",
    ),
]

_RELOADS = {"reload": "reload_config_files", "mutate": "mutate_config_files"}


def list_opts() -> list[tuple[None, list[Any]]]:
    """Return the options, in the form of the entry point ``oslo.config.opts``."""
    return [(None, copy.deepcopy(service_opts))]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options with ``conf``."""
    conf.register_opts(service_opts)


def unregister_opts(conf: cfg.ConfigOpts) -> None:
    """Take the options away from ``conf`` again."""
    conf.unregister_opts(service_opts)


def link(service_manager: Any, conf: cfg.ConfigOpts, reload_method: str = "reload") -> None:
    """Let ``conf``, whose two options are registered already, govern the manager.

    The graceful timeout is taken up at once and after each reload. On SIGHUP the configuration
    is reloaded in the master, before later ``on_reload`` hooks, and in each worker that has a
    ``reload()`` of its own, before that is called; other workers restart, and start with it.

    Args:
        service_manager: a :class:`cotyledon.ServiceManager`.
        conf: the configuration.
        reload_method: ``"reload"`` (read all files again) or ``"mutate"`` (change mutable
            options only).

    Raises:
        ValueError: ``reload_method`` is neither.
        oslo_config.cfg.NoSuchOptError: the options are not registered.
    """
    if reload_method not in _RELOADS:
        raise ValueError(f"'reload_method' must be 'reload' or 'mutate', not: {reload_method!r}")
    reload = getattr(conf, _RELOADS[reload_method])
    _take_up(service_manager, conf)
    service_manager.register_hooks(
        on_new_worker=functools.partial(_on_new_worker, conf, reload),
        on_reload=functools.partial(_on_reload, service_manager, conf, reload),
    )


def setup(service_manager: Any, conf: cfg.ConfigOpts, reload_method: str = "reload") -> None:
    """Register the options and :func:`link` them to the manager."""
    register_opts(conf)
    link(service_manager, conf, reload_method)


def _take_up(service_manager: Any, conf: cfg.ConfigOpts) -> None:
    service_manager.graceful_shutdown_timeout = conf.graceful_shutdown_timeout
    _log(conf)


def _log(conf: cfg.ConfigOpts) -> None:
    if conf.log_options:
        conf.log_opt_values(LOG, logging.DEBUG)


def _on_reload(service_manager: Any, conf: cfg.ConfigOpts, reload: Callable[[], Any]) -> None:
    reload()
    _take_up(service_manager, conf)


def _on_new_worker(
    conf: cfg.ConfigOpts,
    reload: Callable[[], Any],
    service_id: ServiceId,
    worker_id: WorkerId,
    service: Any,
) -> None:
    def reload_here() -> None:
        reload()
        _log(conf)

    _log(conf)
    BEFORE_RELOAD.append(reload_here)
