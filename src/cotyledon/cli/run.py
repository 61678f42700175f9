"""``cotyledon run``: a manager made of a target or of a configuration file.

Responsible for choosing and building the manager, and for how the command ends. Never supervises.
"""

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import click

from cotyledon.cli import logs
from cotyledon.cli.config import default_name, is_name, seconds
from cotyledon.cli.faults import Exit, Fault
from cotyledon.cli.target import build, current_directory_first, resolve
from cotyledon.cli.worker import Prepared, name_after
from cotyledon.types import MOST_WORKERS

LOG = logging.getLogger("cotyledon")


class Choice(NamedTuple):
    """What was chosen on the command line; ``None``: not there."""

    workers: int | None
    name: str | None
    control: bool | str | None
    graceful_timeout: float | None
    log_format: str | None
    log_level: str | None
    start_method: str | None


def _name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_name(value):
        raise click.BadParameter(f"letters, digits and any of . _ - only, not {value!r}")
    return value


def _grace(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    given: Any = value
    try:
        given = float(value)
    except ValueError:
        pass  # with a unit
    return seconds("--graceful-timeout", "", given)


@click.command()
@click.argument("target")
@click.option(
    "-w",
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    metavar="N",
    help="How many (default: 1).",
)
@click.option(
    "--name", callback=_name, metavar="NAME",
    help="Of the manager; one of a name runs at a time (default: that of the module or file).",
)  # fmt: skip
@click.option(
    "--control", "control_path", metavar="PATH", envvar="COTYLEDON_CONTROL",
    help="The control socket (default: NAME.sock in $XDG_RUNTIME_DIR/cotyledon, or, as root, "
    "in /run/cotyledon).",
)  # fmt: skip
@click.option("--no-control", is_flag=True, help="Have no control socket.")
@click.option(
    "--graceful-timeout", callback=_grace, metavar="SECONDS",
    help="How long a stop may take, such as 30 or 5m (default: 60; 0: no limit).",
)  # fmt: skip
@click.option(
    "--log-format", type=click.Choice(logs.FORMATS),
    help="auto: journald under systemd, text on a terminal, or else json.",
)  # fmt: skip
@click.option("--log-level", type=click.Choice(logs.LEVELS), help="Default: info.")
@click.option(
    "--start-method", type=click.Choice(["fork", "spawn", "forkserver"]), help="Default: fork."
)
def run(
    target: str,
    workers: int | None,
    name: str | None,
    control_path: str | None,
    no_control: bool,
    graceful_timeout: float | None,
    log_format: str | None,
    log_level: str | None,
    start_method: str | None,
) -> int:
    """Run TARGET under a manager, in the foreground.

    TARGET is module:name: a Service or AsyncService, a factory of them (a function that takes the
    worker's id), a ServiceManager, or a function without arguments that returns one; or a
    configuration file that ends in .toml.
    """
    source = click.get_current_context().get_parameter_source("control_path")
    by_hand = source is not None and source.name == "COMMANDLINE"
    if by_hand and no_control:
        raise click.UsageError("--control and --no-control contradict each other")
    if control_path == "":
        raise click.UsageError("--control needs a path")
    control: bool | str | None = False if no_control else control_path
    choice = Choice(workers, name, control, graceful_timeout, log_format, log_level, start_method)
    current_directory_first()
    if target.endswith(".toml"):
        return _serve(lambda: _of_file(target, choice))
    return _serve(lambda: _of_target(target, choice))


def _serve(make: Callable[[], Any]) -> int:
    manager = make()
    try:
        manager.run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.BAD
    except (RuntimeError, TypeError) as error:
        if any(one.starts for service in manager.status().services for one in service.workers):
            raise  # a bug, ours or a hook's
        # The name or the socket is taken, or something cannot be sent to a worker.
        conflict = isinstance(error, RuntimeError)
        raise Fault(Exit.CONFLICT if conflict else Exit.USAGE, str(error)) from None
    return Exit.DONE


def _settings(choice: Choice, log_format: str = "auto", level: str = "info") -> logs.Settings:
    settings = logs.decide(choice.log_format or log_format, choice.log_level or level)
    logs.set_up(settings)
    return settings


def new_manager(
    name: str, control: bool | str | None, grace: float, start_method: str | None
) -> Any:
    """Return a manager, with a control socket if it may have one.

    Args:
        name: of the manager.
        control: ``True``: where sockets are; ``None``: there as well, if there is such a place.
        grace: its graceful timeout in seconds.
        start_method: of the workers.

    Raises:
        Fault: it cannot be.
    """
    from cotyledon import ServiceManager

    context = None
    if start_method not in (None, "fork"):
        import multiprocessing

        context = multiprocessing.get_context(start_method)
    title(name)
    make = partial(ServiceManager, graceful_shutdown_timeout=grace, mp_context=context)
    try:
        return make(name=name, control=True if control is None else control)
    except ValueError as error:
        if control:
            raise Fault(Exit.USAGE, str(error)) from None
    LOG.warning(
        "no control socket and no lock on the name: $XDG_RUNTIME_DIR is not set; set it, or give "
        "--control PATH"
    )
    return make()


def title(name: str) -> None:
    """Have the process called so in the process table, once it is a manager."""
    sys.argv[:1] = [f"cotyledon {name}"]


def _of_target(target: str, choice: Choice) -> Any:
    settings = _settings(choice)
    found = resolve(target)
    if found.kind in ("manager", "builder"):
        return _of_manager(target, found.value, found.kind == "builder", choice, settings)
    manager = new_manager(
        choice.name or default_name(target),
        choice.control,
        60 if choice.graceful_timeout is None else choice.graceful_timeout,
        choice.start_method,
    )
    manager.add(Prepared(target, found.value, settings=settings), choice.workers or 1)
    return manager


def _of_manager(
    target: str, value: Any, call: bool, choice: Choice, settings: logs.Settings
) -> Any:
    """Run a manager that the program has made: it decides everything but how lines look."""
    for option, given in (
        ("--workers", choice.workers),
        ("--name", choice.name),
        ("--control", choice.control),
        ("--start-method", choice.start_method),
    ):
        by_environment = option == "--control" and "COTYLEDON_CONTROL" in os.environ
        if given is not None and not by_environment:
            text = f"{target} makes its own ServiceManager, which decides instead of {option}"
            raise Fault(Exit.USAGE, text)
    manager = build(target, value) if call else value
    if choice.graceful_timeout is not None:
        manager.graceful_shutdown_timeout = choice.graceful_timeout
    manager.register_hooks(on_new_worker=partial(name_after, settings))
    return manager


def _of_file(path: str, choice: Choice) -> Any:
    from cotyledon.cli.apply import Applied
    from cotyledon.cli.config import read

    if choice.workers is not None:
        text = "--workers is for module:name; in a file each service has its 'workers'"
        raise Fault(Exit.USAGE, text)
    config = read(path)
    settings = _settings(choice, config.log_format, config.log_level)
    given = choice.graceful_timeout
    manager = new_manager(
        choice.name or config.name,
        # An explicit true in the file is as good as the default: it cannot be told apart.
        choice.control if choice.control is not None else config.control or False,
        config.graceful_timeout if given is None else given,
        choice.start_method or config.start_method,
    )
    applied = Applied(manager, config, settings, keep_grace=given is not None,
                      level=choice.log_level)  # fmt: skip
    manager.register_hooks(on_reload=applied.read_again)
    return manager
