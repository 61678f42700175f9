"""What a worker runs as: its policy's ``RunAs``, applied to this process.

Responsible for the order, which is that of privilege: what needs the master's comes before the
user is changed, for good; the directory comes after, because that user must be able to enter
it. Never goes on half done: the first thing that cannot be applied ends the worker.

What is applied is looked at afterwards, where the kernel may do less than it was asked for. What
holds already is left alone, so that a master without privileges can name its own user.

A process that has given up a user stays closed to others of its new user: the kernel writes no
core dump of it, and lets no debugger in but root's, because its memory may hold what only the
old user may know.
"""

import os
from collections.abc import Callable
from typing import Any, NoReturn

from cotyledon.run_as import RunAs

AS_ROOT = "start the program as root"


class Refused(Exception):
    """Something cannot be applied; the text says what, why, and what to do."""


def apply(run_as: RunAs) -> None:
    """Make this process what it is to run as.

    Raises:
        Refused: that is not possible. The process is in no state to go on.
    """
    account = _Account(run_as)  # first: it may have to read files
    for name, bounds in run_as.limits:
        _set_limit(name, bounds)
    if run_as.nice is not None:
        _set_nice(run_as.nice)
    if run_as.cpus is not None:
        _set_cpus(run_as.cpus)
    if run_as.umask is not None:
        os.umask(run_as.umask)
    for variable, text in (*account.environment.items(), *run_as.environment):
        _set_variable(variable, text)
    account.become()
    if run_as.directory is not None:
        where = run_as.directory
        _try(
            lambda: os.chdir(where),
            f"in the directory {where!r}",
            f"uid {os.geteuid()} must be able to enter it, or give another RunAs(directory=...)",
        )


def _refuse(
    what: str, reason: object, remedy: str, cause: BaseException | None = None
) -> NoReturn:
    raise Refused(f"{what}: {reason}: {remedy}") from cause


def _try(action: Callable[[], Any], what: str, remedy: str) -> None:
    try:
        action()
    except (OSError, ValueError, OverflowError) as error:
        _refuse(what, getattr(error, "strerror", None) or error, remedy, error)


class _Account:
    """The user and the groups to become, as numbers.

    Raises:
        Refused: they do not exist.
    """

    def __init__(self, run_as: RunAs) -> None:
        self._asked = run_as
        self.environment: dict[str, str] = {}
        self._uid: int | None = None
        name: str | None = None
        gid: int | None = None
        if run_as.user is not None:
            self._uid, gid, name = self._find_user(run_as.user)
        if run_as.group is not None:
            gid = _find_group("group", run_as.group)
        elif run_as.user is not None and gid is None:
            _refuse(
                f"as user {run_as.user!r}",
                "it has no account that tells its group",
                "give RunAs(group=...), too",
            )
        self._gid = gid
        self._groups: list[int] | None = None
        if run_as.groups is not None:
            self._groups = [_find_group("groups", group) for group in run_as.groups]
        elif name is not None and gid is not None:
            self._groups = os.getgrouplist(name, gid)
        elif run_as.user is not None and gid is not None:
            self._groups = [gid]

    def _find_user(self, user: str | int) -> tuple[int, int | None, str | None]:
        import pwd

        try:
            found = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
        except (KeyError, ValueError, OverflowError):
            if isinstance(user, int):
                return user, None, None
            _refuse(
                f"as user {user!r}",
                "there is no such user",
                "create it, or give another RunAs(user=...)",
            )
        self.environment = {
            "HOME": found.pw_dir,
            "USER": found.pw_name,
            "LOGNAME": found.pw_name,
        }
        return found.pw_uid, found.pw_gid, found.pw_name

    def become(self) -> None:
        """Change the groups, then the user: in the other order neither could be changed."""
        asked = self._asked
        groups, gid, uid = self._groups, self._gid, self._uid
        if groups is not None and set(groups) != set(os.getgroups()):
            what = "groups" if asked.groups is not None else "the groups of the user"
            given = asked.groups if asked.groups is not None else asked.user
            _try(
                lambda: os.setgroups(groups),
                f"with {what} {given!r}",
                f"{AS_ROOT}, or leave RunAs(groups=...) out",
            )
        if gid is not None and os.getresgid() != (gid,) * 3:
            what = f"with group {gid if asked.group is None else asked.group!r}"
            remedy = f"{AS_ROOT}, or leave RunAs(group=...) out"
            _try(lambda: os.setresgid(gid, gid, gid), what, remedy)
            if os.getresgid() != (gid,) * 3:
                _refuse(what, "the kernel knows no such number", "give another RunAs(group=...)")
        if uid is not None and os.getresuid() != (uid,) * 3:
            what = f"as user {asked.user!r}"
            remedy = f"{AS_ROOT}, or leave RunAs(user=...) out"
            _try(lambda: os.setresuid(uid, uid, uid), what, remedy)
            if os.getresuid() != (uid,) * 3:
                _refuse(what, "the kernel knows no such number", "give another RunAs(user=...)")


def _find_group(field: str, group: str | int) -> int:
    import grp

    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        _refuse(
            f"with {field} {group!r}",
            "there is no such group",
            f"create it, or give another RunAs({field}=...)",
        )


def _set_limit(name: str, bounds: tuple[int, int]) -> None:
    import resource

    number = getattr(resource, f"RLIMIT_{name.upper()}")
    _, hard = resource.getrlimit(number)
    _try(
        lambda: resource.setrlimit(number, bounds),
        f"with the limit {name}={bounds!r}",
        f"the hard limit is {hard}; ask for less in RunAs(limits=...), or {AS_ROOT}",
    )


def _set_nice(nice: int) -> None:
    now = os.getpriority(os.PRIO_PROCESS, 0)
    _try(
        lambda: os.setpriority(os.PRIO_PROCESS, 0, nice),
        f"with nice {nice}",
        f"it is {now} now; give RunAs(nice=...) at least that, or {AS_ROOT}",
    )


def _set_cpus(cpus: tuple[int, ...]) -> None:
    what = f"with cpus {cpus!r}"
    there = sorted(os.sched_getaffinity(0))
    remedy = f"give RunAs(cpus=...) some of {there!r}, which the program may use"
    _try(lambda: os.sched_setaffinity(0, cpus), what, remedy)
    lost = sorted(set(cpus) - os.sched_getaffinity(0))
    if lost:  # the kernel takes what there is of them
        _refuse(what, f"there is no {lost!r}", remedy)


def _set_variable(name: str, text: str | None) -> None:
    if text is None:
        os.environ.pop(name, None)
        return
    _try(
        lambda: os.environ.__setitem__(name, text),
        f"with the environment variable {name!r}",
        "give another RunAs(environment=...)",
    )
