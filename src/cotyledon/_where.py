"""Where the sockets and the locks of managers are.

Responsible for the names of managers and for the folders that belong to them. Never makes or opens
anything.
"""

import os
import re

LONGEST_PATH = 107
"""Bytes that the address of a Unix socket can have (``unix(7)``)."""
_SYSTEM = "/run/cotyledon"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def check_name(name: object) -> str:
    """Return the name of a manager; raise what is wrong with it.

    Raises:
        TypeError: it is no string.
        ValueError: it is not of letters, digits, ``.``, ``_`` and ``-`` alone, begins with a dot,
            or has more than 64 of them.
    """
    if not isinstance(name, str):
        raise TypeError(f"'name' must be a string, not: {name!r}")
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise ValueError(
            "'name' must consist of 1 to 64 letters, digits, '.', '_' and '-', and begin with "
            f"no '.', not: {name[:80]!r}"
        )
    return name


def folders() -> list[str]:
    """Return the folders in which sockets may be found; a new one is made in the first."""
    found = []
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base):
        found.append(os.path.join(base, "cotyledon"))
    if os.geteuid() == 0 or os.path.isdir(_SYSTEM):
        found.append(_SYSTEM)
    return found


def own_folder() -> str | None:
    """Return the folder for this user's new sockets and locks; ``None``: there is none."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base):
        return os.path.join(base, "cotyledon")
    return _SYSTEM if os.geteuid() == 0 else None


def check_path(path: str) -> str:
    """Return a socket's path; raise ``ValueError`` if the kernel could not take it."""
    length = len(os.fsencode(path))
    if length > LONGEST_PATH:
        raise ValueError(
            f"the path of the control socket has {length} bytes, and {LONGEST_PATH} are allowed: "
            f"{path!r}; give a shorter one as control="
        )
    if "\0" in path:
        raise ValueError(f"the path of the control socket has a zero byte in it: {path!r}")
    return path
