"""Services that run as something else than their master."""

import json
import multiprocessing
import os
import resource
from typing import Any

import cotyledon
from tests.programs.support import Reloader, event, hang_in_c, main, run


class Teller(Reloader):
    """Tells what it runs as, and when it has to."""

    def __init__(self, worker_id: int, how: str = "") -> None:
        super().__init__(worker_id)
        self.how = how
        self.say(
            "is",
            users=os.getresuid(),
            main_groups=os.getresgid(),
            groups=sorted(os.getgroups()),
            umask=self.umask(),
            directory=os.getcwd(),
            environment={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            nice=os.getpriority(os.PRIO_PROCESS, 0),
            nofile=resource.getrlimit(resource.RLIMIT_NOFILE),
            core=resource.getrlimit(resource.RLIMIT_CORE),
            cpus=sorted(os.sched_getaffinity(0)),
        )

    @staticmethod
    def umask() -> int:
        mask = os.umask(0)
        os.umask(mask)
        return mask

    def run(self) -> None:
        try:
            os.setuid(0)
        except PermissionError:
            self.say("no way back")
        self.say("run")

    def terminate(self) -> None:
        super().terminate()
        if self.how == "stuck":
            hang_in_c()


def new_worker(service_id: Any, worker_id: int, service: Any) -> None:
    event("hook", user=os.geteuid())


def dead_worker(service_id: Any, worker_id: int, code: int) -> None:
    event("dead", code=code)


def changed(method: str, fields: str, how: str = "") -> None:
    """A service that runs as it was said in JSON."""
    kwargs: dict[str, Any] = json.loads(fields)
    manager = cotyledon.ServiceManager(
        mp_context=multiprocessing.get_context(method), graceful_shutdown_timeout=1000
    )
    manager.register_hooks(on_new_worker=new_worker, on_dead_worker=dead_worker)
    if how == "stuck":
        Teller.graceful_shutdown_timeout = 0.2
    policy = cotyledon.Policy(
        run_as=cotyledon.RunAs(**kwargs), backoff=cotyledon.Backoff(initial=1000, cap=1000)
    )
    manager.add(Teller, args=(how,), policy=policy)
    event("master", nofile=resource.getrlimit(resource.RLIMIT_NOFILE))
    run(manager)


def unprivileged(user: str, group: str, fields: str) -> None:
    """The master itself is not root."""
    import grp  # noqa: F401 - now: the library's directory may be closed to that user
    import pwd  # noqa: F401

    os.setgroups([int(group)])
    os.setresgid(int(group), int(group), int(group))
    os.setresuid(int(user), int(user), int(user))
    changed("fork", fields)


if __name__ == "__main__":
    main(globals())
