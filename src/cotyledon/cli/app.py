"""The commands, and how each of them ends.

Responsible for the command line, with one line for every error, and for loading a command only
when it is used. Never does what a command does.
"""

import errno
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from cotyledon.cli.faults import Exit, Fault

COMMANDS = {
    "run": "run",
    "status": "look",
    "why": "story",
    "events": "look",
    "scale": "act",
    "reload": "act",
    "restart": "act",
    "stop": "act",
    "signal": "act",
    "stacks": "look",
    "trace": "look",
    "health": "small",
    "top": "small",
    "doctor": "doctor",
    "unit": "unit",
    "completion": "small",
}
"""In which module each one is; in the order in which they are listed."""


class Commands(click.Group):
    """Loads a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cotyledon.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"cotyledon {version('cotyledon')}")
        ctx.exit()


@click.group(
    cls=Commands,
    name="cotyledon",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit statuses: 0 done, 1 the outcome is bad, 2 wrong command line or file, 3 no such "
    "service or worker, 4 no manager, 5 somebody else was in the way, 6 not in time, 7 forbidden, "
    "8 the output cannot be written.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.option(
    "-m", "--manager", metavar="NAME|PATH", shell_complete=lambda *_: _managers(),
    help="Which manager: its name or its socket (default: $COTYLEDON_MANAGER, or the only one).",
)  # fmt: skip
@click.pass_context
def app(ctx: click.Context, manager: str | None) -> None:
    """Run services, and operate those that run."""
    ctx.obj = manager


def _managers() -> list[str]:
    from cotyledon.control import managers

    return managers()


def for_manager(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option ``--manager`` and pass it on as ``where``."""

    def chosen(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
        root = ctx.find_root().params.get("manager")
        return value if value is not None else root

    return click.option(
        "-m", "--manager", "where", metavar="NAME|PATH", callback=chosen,
        shell_complete=lambda *_: _managers(),
        help="Which manager: its name or its socket.",
    )(command)  # fmt: skip


def complete_services(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Return the names of services that begin so, for the shell."""
    try:
        from cotyledon.cli.client import connect

        with connect(None, timeout=0.5) as client:
            names = [service["name"] for service in client.status()["services"]]
    except Exception:  # a shell wants no errors while somebody types
        return []
    return [name for name in names if name.startswith(begun)]


def call(args: Sequence[str]) -> int:
    """Run a command line and return its exit status."""
    # The shell asks for completions through this variable, with the words in others.
    if os.environ.get("_COTYLEDON_COMPLETE"):
        app.main(list(args), prog_name="cotyledon")
    own = list(args[:1]) in (["run"], ["unit"], ["doctor"])  # they run code of the program
    _open_output(lenient=not own)
    try:
        # Not through main(): for click, a reader that has gone is a failure.
        with app.make_context("cotyledon", list(args)) as context:
            result = app.invoke(context)
        sys.stdout.flush()
    except Fault as fault:
        return _end(fault.status, fault.text)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return Exit.USAGE
    except click.UsageError as error:
        return _end(Exit.USAGE, _one_line(error))
    except click.Abort:
        return 130
    except click.ClickException as error:
        return _end(Exit.USAGE, error.format_message())
    except KeyboardInterrupt:
        return 130
    except click.exceptions.Exit as end:
        return end.exit_code
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if own:
            raise
        from cotyledon.cli.target import innermost

        text = f"an answer that this version does not understand: {innermost(error)}"
        return _end(Exit.NO_MANAGER, text)
    except BrokenPipeError:
        _drop_output()  # whoever read it has seen enough
        return Exit.DONE
    except OSError as error:
        if own and error.errno != errno.ENOSPC:
            raise
        _drop_output()
        return _end(Exit.OUTPUT, f"the output cannot be written: {error.strerror}")
    return result if isinstance(result, int) else Exit.DONE


def _open_output(*, lenient: bool) -> None:
    """Have somewhere to write to, and lose no output for a character that it cannot show."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends
    if lenient and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _drop_output() -> None:
    """See that the interpreter does not try once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _one_line(error: click.UsageError) -> str:
    text = " ".join(error.format_message().split())
    text = text.replace("is not a valid integer range", "is not a valid integer")
    path = error.ctx.command_path if error.ctx is not None else "cotyledon"
    name = path.removeprefix("cotyledon").strip()
    front = f"{name}: " if name else ""
    return f"{front}{text[:1].lower()}{text[1:].rstrip('.')}; see '{path} --help'"


def _end(status: int, text: str) -> int:
    print(f"cotyledon: {text}", file=sys.stderr)
    return status
