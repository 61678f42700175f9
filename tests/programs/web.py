"""Web servers: one function for each way of serving, ``web.py WAY [WORKERS]``."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
import uvloop

import cotyledon
from cotyledon import Policy, Rollout, Start
from cotyledon.contrib.uvicorn import UvicornService
from tests.programs.looping import passing
from tests.programs.support import event, main, run

ONE_MORE = Policy(start=Start(ready="told"), rollout=Rollout(max_unavailable=0, max_surge=1))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer at once, at ``/slow`` only when the test opens the gate, and tell of the lifespan."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            kind = message["type"].removeprefix("lifespan.")
            event("lifespan", what=kind)
            await send({"type": f"lifespan.{kind}.complete"})
            if kind == "shutdown":
                return
    await asyncio.sleep(0.005)
    if scope["path"] == "/slow":
        event("asked")
        await passing("slow")
    headers = [(b"content-length", b"2"), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """Fail to start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def starting(scope: Any, receive: Any, send: Any) -> None:
    """Start when the test opens the gate."""
    await receive()
    event("starting")
    await passing("start")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def tell(notice: Any) -> None:
    fields = {name: str(value) for name, value in notice._asdict().items()}
    event(type(notice).__name__, **fields)


def manager(grace: float = 30) -> cotyledon.ServiceManager:
    made = cotyledon.ServiceManager(graceful_shutdown_timeout=grace)
    made.register_hooks(on_event=tell)
    return made


def listen(*, reuse: bool = False) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256, reuse_port=reuse)
    event("listening", port=listener.getsockname()[1])
    return listener


class PerWorker(UvicornService):
    """Each worker listens by itself."""

    def __init__(self, worker_id: int, port: int) -> None:
        listener = socket.create_server(("127.0.0.1", port), backlog=256, reuse_port=True)
        super().__init__(worker_id, app, listener)


class Fast(UvicornService):
    loop_factory = uvloop.new_event_loop


class Plain(cotyledon.AsyncService):
    """uvicorn as it is, but for the signals."""

    policy = ONE_MORE

    def __init__(self, worker_id: int, port: int, listener: socket.socket | None) -> None:
        super().__init__(worker_id)
        self.listener = listener or socket.create_server(
            ("127.0.0.1", port), backlog=256, reuse_port=True
        )
        self.server = PlainServer(uvicorn.Config(app, log_config=None))
        self.server.tell = self.ready
        self.ended = asyncio.Event()

    async def run(self) -> None:
        await self.server.serve([self.listener])
        self.ended.set()

    async def terminate(self) -> None:
        self.server.should_exit = True
        await self.ended.wait()


class PlainServer(uvicorn.Server):
    tell: Any

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.tell()


def tell_figures(made: cotyledon.ServiceManager) -> None:
    """Tell at SIGUSR1 what the workers have said."""

    def handle(signum: int, frame: object) -> None:
        [service] = made.status().services
        [worker] = service.workers
        event("said", text=worker.status, figures=dict(worker.figures or {}))

    signal.signal(signal.SIGUSR1, handle)


def shared(workers: str = "4", grace: str = "30", keep_alive: str = "5") -> None:
    made = manager(float(grace))
    made.add(
        UvicornService,
        workers=int(workers),
        args=(app, listen()),
        kwargs={"timeout_keep_alive": float(keep_alive)},
        policy=ONE_MORE,
    )
    tell_figures(made)
    run(made)


def by_name(workers: str = "2") -> None:
    made = manager()
    made.mp_context = multiprocessing.get_context("spawn")
    made.register_hooks(on_new_worker=new_worker)
    made.add(UvicornService, workers=int(workers), args=("tests.programs.web:app", listen()))
    run(made)


def new_worker(service_id: Any, worker_id: int, service: Any) -> None:
    """Be something that a spawned worker can import."""


def reuse(workers: str = "4") -> None:
    held = listen_not()
    made = manager()
    made.add(PerWorker, workers=int(workers), args=(held.getsockname()[1],), policy=ONE_MORE)
    run(made)


def listen_not() -> socket.socket:
    """Hold a port that workers listen on."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    event("listening", port=held.getsockname()[1])
    return held


def fast(workers: str = "2") -> None:
    made = manager()
    made.add(Fast, workers=int(workers), args=(app, listen()), policy=ONE_MORE)
    run(made)


def plain_shared(workers: str = "4") -> None:
    made = manager()
    made.add(Plain, workers=int(workers), args=(0, listen()))
    run(made)


def plain_reuse(workers: str = "4") -> None:
    held = listen_not()
    made = manager()
    made.add(Plain, workers=int(workers), args=(held.getsockname()[1], None))
    run(made)


def unix() -> None:
    path = os.path.join(os.environ["PROGRAM_DIR"], "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    event("listening", path=path)
    made = manager()
    made.add(UvicornService, args=(app, listener))
    run(made)


def failing() -> None:
    made = manager()
    made.add(UvicornService, args=(refusing, listen()))
    run(made)


def slow_start() -> None:
    made = manager()
    made.add(UvicornService, args=(starting, listen()))
    run(made)


def wrong(what: str) -> None:
    listener = listen()
    arguments: tuple[Any, ...] = (app, listener)
    options: dict[str, Any] = {}
    if what == "app":
        arguments = (17, listener)
    elif what == "listener":
        arguments = (app, "127.0.0.1:80")
    elif what == "deaf":
        arguments = (app, socket.socket())
    elif what == "module":
        arguments = ("tests.programs.web:nothing", listener)
    else:
        options = {what: 1}
    made = manager()
    made.add(UvicornService, args=arguments, kwargs=options)
    run(made)


if __name__ == "__main__":
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    main(
        {
            name.__name__: name
            for name in (
                *(shared, by_name, reuse, fast, plain_shared, plain_reuse),
                *(unix, failing, slow_start, wrong),
            )
        }
    )
