"""Commands that hand over to something else.

Responsible for ``health``, ``top`` and ``completion``. Never does their work.
"""

from importlib.util import find_spec

import click

from cotyledon.cli.app import app, for_manager
from cotyledon.cli.faults import Exit, Fault


@click.command(short_help="Exit with 0 if the manager is healthy, else with 1.")
@for_manager
@click.option("--ready", is_flag=True, help="Also require that every wanted worker is ready.")
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True,
    metavar="SECONDS", help="How long the manager may take to answer.",
)  # fmt: skip
def health(where: str | None, ready: bool, timeout: float) -> int:
    """Exit with 0 if the manager is healthy, else with 1: a probe for containers.

    Healthy: it answers, is not stopping, and has given up no service.
    """
    from cotyledon.cli.health import probe

    return probe(where, ready, timeout)


@click.command()
@for_manager
def top(where: str | None) -> int:
    """Watch the manager on a screen, and operate it by keys."""
    from cotyledon.cli.client import connect
    from cotyledon.contrib.top import main

    if find_spec("textual") is None:
        raise Fault(Exit.USAGE, "top needs Textual: pip install 'cotyledon[top]'")
    with connect(where) as client:  # which one is meant, and whether it is there
        path = client.path
    return main(path)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion for a shell.

    \b
    bash: cotyledon completion bash > ~/.local/share/bash-completion/completions/cotyledon
    zsh:  cotyledon completion zsh > a file _cotyledon in a folder of $fpath
    fish: cotyledon completion fish > ~/.config/fish/completions/cotyledon.fish
    """  # noqa: D301 - click's mark for a paragraph that is not wrapped
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(app, {}, "cotyledon", "_COTYLEDON_COMPLETE").source())
