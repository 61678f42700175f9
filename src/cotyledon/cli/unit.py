"""``unit``: a hardened systemd unit for a target.

Responsible for its text, derived from what ``run`` would be told. Never installs it.
"""

import os
import shlex
import subprocess
import sys
from typing import NamedTuple

import click

from cotyledon.cli.config import default_name, is_name, read, seconds
from cotyledon.cli.faults import Exit, Fault
from cotyledon.cli.target import current_directory_first, resolve

NOTIFY_RELOAD = 253
"""The version of systemd that knows ``Type=notify-reload``."""
MARGIN = 10
"""Seconds that systemd waits beyond the manager's own deadline."""


class Wanted(NamedTuple):
    """What the unit is for."""

    name: str
    command: str
    directory: str
    grace: float
    user: str | None
    version: int
    watchdog: int
    file: bool
    makes_manager: bool = False
    """Whether the program makes its manager itself, and so decides where its socket is."""


@click.command(short_help="Print a systemd unit that runs TARGET.")
@click.argument("target")
@click.option("-w", "--workers", type=click.IntRange(min=1), metavar="N", help="As for run.")
@click.option("--name", metavar="NAME", help="As for run, or what the program calls itself.")
@click.option("--graceful-timeout", metavar="SECONDS", help="As for run.")
@click.option("--user", metavar="USER", help="Who runs it (default: root).")
@click.option(
    "--watchdog", type=click.IntRange(min=0), default=30, show_default=True, metavar="SECONDS",
    help="After how long a stuck manager is killed; 0: never.",
)  # fmt: skip
@click.option(
    "--systemd", type=click.IntRange(min=1), metavar="VERSION",
    help="Of the machine that it is for (default: this one's).",
)  # fmt: skip
def unit(
    target: str,
    workers: int | None,
    name: str | None,
    graceful_timeout: str | None,
    user: str | None,
    watchdog: int,
    systemd: int | None,
) -> int:
    """Print a systemd unit that runs TARGET from the current directory."""
    current_directory_first()
    is_file = target.endswith(".toml")
    makes_manager = False
    grace, default = 60.0, default_name(target)
    command = [sys.executable, "-m", "cotyledon", "run"]
    if is_file:
        if workers is not None:
            raise Fault(Exit.USAGE, "--workers is for module:name; the file has its 'workers'")
        config = read(target)
        grace, default = config.graceful_timeout, config.name
        command.append(config.path)
    else:
        makes_manager = resolve(target).kind in ("manager", "builder")
        command.append(target)
    if workers is not None:
        if makes_manager:
            found = f"{target} makes its own ServiceManager, which decides instead of --workers"
            raise Fault(Exit.USAGE, found)
        command += ["-w", str(workers)]
    if name is not None:
        if not is_name(name):
            raise Fault(Exit.USAGE, f"--name: letters, digits and any of . _ - only, not {name!r}")
        if not makes_manager:  # or else run refuses it: the program decides
            command += ["--name", name]
    if graceful_timeout is not None:
        grace = seconds("--graceful-timeout", "", _number(graceful_timeout))
        command += ["--graceful-timeout", graceful_timeout]
    called = name or default
    if user is not None and not makes_manager:
        command += ["--control", f"%t/{folder(called, user)}/{called}.sock"]
    version = systemd if systemd is not None else installed() or NOTIFY_RELOAD
    wanted = Wanted(
        called,
        " ".join(map(_quoted, command)),
        os.getcwd(),
        grace,
        user,
        version,
        watchdog,
        is_file,
        makes_manager,
    )
    click.echo(text(wanted), nl=False)
    return Exit.DONE


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _quoted(part: str) -> str:
    """Quote an argument for ExecStart=; specifiers of ours (%t) are meant as such."""
    safe = part if part.startswith("%t/") else part.replace("%", "%%")
    return shlex.quote(safe.replace("$", "$$")) if " " in part else safe.replace("$", "$$")


def folder(name: str, user: str | None) -> str:
    """Return the unit's folder below /run: root's is shared by all managers."""
    return "cotyledon" if user is None else f"cotyledon-{name}"


def installed() -> int | None:
    """Return the version of systemd that is installed here."""
    try:
        asked = subprocess.run(
            ["systemctl", "--version"], capture_output=True, text=True, timeout=5, check=False
        )
        return int(asked.stdout.split()[1])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


def _is_below(wanted: Wanted, *folders: str) -> bool:
    """Whether the program or its Python is somewhere below one of some folders."""
    needed = (wanted.directory, sys.prefix, os.path.realpath(sys.executable))
    return any(f"{path}/".startswith(f"{folder}/") for path in needed for folder in folders)


def text(wanted: Wanted) -> str:
    """Return the unit."""
    reloads = wanted.version >= NOTIFY_RELOAD
    stop = f"{round(wanted.grace) + MARGIN}s" if wanted.grace else "infinity"
    where = folder(wanted.name, wanted.user)
    lines = [
        f"# To install: save as /etc/systemd/system/{wanted.name}.service, then",
        f"#   systemctl daemon-reload && systemctl enable --now {wanted.name}",
    ]
    reach = wanted.name if wanted.user is None else f"/run/{where}/{wanted.name}.sock"
    lines += [
        f"# To operate: cotyledon -m {reach} status",
        "",
        "[Unit]",
        f"Description={wanted.name}, run by cotyledon",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=notify-reload" if reloads else "Type=notify",
        f"ExecStart={wanted.command}",
        f"WorkingDirectory={wanted.directory}",
        "Environment=PYTHONUNBUFFERED=1",
    ]
    if wanted.makes_manager and wanted.user is not None:
        lines += [
            '# For the program\'s ServiceManager(control=os.environ.get("COTYLEDON_CONTROL")).',
            f"Environment=COTYLEDON_CONTROL=%t/{where}/{wanted.name}.sock",
        ]
    if not reloads:
        # A bare kill would have ended before the manager has said that it reloads.
        lines.append("ExecReload=/bin/sh -c 'kill -HUP $MAINPID; sleep 1'")
    if wanted.user is not None:
        lines.append(f"User={wanted.user}")
    lines += [
        "",
        "# Workers are respawned by the manager; this is for the manager itself. A wrong",
        "# command line or file (2) is not cured by trying again.",
        "Restart=on-failure",
        "RestartSec=1s",
        "RestartPreventExitStatus=2",
    ]
    if wanted.watchdog:
        lines.append(f"WatchdogSec={wanted.watchdog}s")
    lines += [
        "",
        "# The manager stops its workers; what is left after its own deadline is killed.",
        "KillMode=mixed",
        f"TimeoutStopSec={stop}",
        "Delegate=yes",
        "LimitNOFILE=65536",
        "",
        f"RuntimeDirectory={where}",
        "RuntimeDirectoryMode=0700",
    ]
    if wanted.user is None:
        lines.append("RuntimeDirectoryPreserve=yes")
    lines += ["", *HARDENING]
    home = _is_below(wanted, "/home", "/root", "/run/user")
    lines.append(f"ProtectHome={'read-only' if home else 'yes'}")
    if not _is_below(wanted, "/tmp", "/var/tmp"):
        lines.append("PrivateTmp=yes")
    lines += [
        f"# Where it may write: StateDirectory={wanted.name} for /var/lib/{wanted.name}, or",
        "# ReadWritePaths=",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


HARDENING = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "PrivateDevices=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "UMask=0027",
)
