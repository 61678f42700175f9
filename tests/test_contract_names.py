"""Names, signatures, and what is said about bad input at the call."""

import importlib.metadata
import inspect
import multiprocessing
import sys
import threading
import tomllib
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import cotyledon
import cotyledon.types

pytestmark = pytest.mark.usefixtures("fresh")

ROOT = Path(__file__).resolve().parent.parent


class Service(cotyledon.Service):
    pass


# --- names --------------------------------------------------------------------------------


def test_public_names():
    """The names of 2.2.0 are there, and the package is typed."""
    assert inspect.isclass(cotyledon.Service)
    assert inspect.isclass(cotyledon.ServiceManager)
    assert getattr(cotyledon.types.ServiceId, "__supertype__") is uuid.UUID  # noqa: B009
    assert getattr(cotyledon.types.WorkerId, "__supertype__") is int  # noqa: B009
    assert (Path(cotyledon.__file__).parent / "py.typed").exists()


def test_constructor_signature():
    """The three arguments of 2.2.0 may be positional; ours are keyword-only."""
    parameters = list(inspect.signature(cotyledon.ServiceManager).parameters.values())
    assert [(p.name, p.default) for p in parameters[:3]] == [
        ("wait_interval", None),
        ("graceful_shutdown_timeout", 60),
        ("mp_context", None),
    ]
    assert {p.kind for p in parameters[3:]} <= {inspect.Parameter.KEYWORD_ONLY}
    context = multiprocessing.get_context("spawn")
    manager = cotyledon.ServiceManager(0.01, 30, context)
    assert manager.graceful_shutdown_timeout == 30
    assert manager.mp_context is context


def test_method_signatures():
    """The methods take the arguments of 2.2.0 in its order."""

    def of(function) -> list[tuple[str, object]]:
        return [
            (p.name, p.default)
            for p in inspect.signature(function).parameters.values()
            if p.kind is not p.KEYWORD_ONLY
        ][1:]

    empty = inspect.Parameter.empty
    assert of(cotyledon.ServiceManager.add) == [
        ("service", empty),
        ("workers", 1),
        ("args", None),
        ("kwargs", None),
    ]
    # Its default is new: there is more that can be changed.
    assert of(cotyledon.ServiceManager.reconfigure) == [("service_id", empty), ("workers", None)]
    hooks = ("on_terminate", "on_reload", "on_new_worker", "on_dead_worker")
    assert of(cotyledon.ServiceManager.register_hooks) == [(name, None) for name in hooks]
    assert of(cotyledon.ServiceManager.run) == []
    assert of(cotyledon.ServiceManager.shutdown) == []
    assert of(cotyledon.Service.__init__) == [("worker_id", empty)]
    for name in ("run", "terminate", "reload"):
        assert of(getattr(cotyledon.Service, name)) == []


def test_service_names():
    """A subclass without a name gets its own; a subclass of that one inherits it."""

    class Child(Service):
        pass

    class Named(cotyledon.Service):
        name = "named"

    class Heir(Named):
        pass

    assert cotyledon.Service.name is None
    assert cotyledon.Service.graceful_shutdown_timeout is None
    assert (Service.name, Child.name, Named.name, Heir.name) == (
        "Service",
        "Service",
        "named",
        "named",
    )


def test_service_init():
    """The base class's constructor keeps the worker's id; its methods do nothing."""
    service = cotyledon.Service(cotyledon.types.WorkerId(3))
    assert service.worker_id == 3
    service.run()
    service.terminate()


def test_entry_point():
    """oslo's generators find the options; the extra ``oslo`` brings oslo.config."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["oslo.config.opts"]
    assert points == {"cotyledon": "cotyledon.oslo_config_glue:list_opts"}
    assert any("oslo.config" in need for need in project["optional-dependencies"]["oslo"])
    for point in importlib.metadata.entry_points(group="oslo.config.opts", name="cotyledon"):
        assert point.value == points["cotyledon"]


# --- the seatbelt -------------------------------------------------------------------------


def test_a_second_manager_is_refused():
    """There is one manager per program."""
    cotyledon.ServiceManager()
    with pytest.raises(
        RuntimeError, match=r"^Only one instance of ServiceManager per application is allowed$"
    ):
        cotyledon.ServiceManager()


def test_the_seatbelt_can_be_reset():
    """Tests of programs reset the class attribute and build another manager."""
    cotyledon.ServiceManager()
    cotyledon.ServiceManager._process_runner_already_created = False
    cotyledon.ServiceManager()
    assert cotyledon.ServiceManager._process_runner_already_created is True


@pytest.mark.parametrize("bad", [-1, "soon", None, float("nan"), float("inf"), True])
def test_a_failed_constructor_locks_nothing(bad):
    """A constructor that fails leaves the way free for another."""
    with pytest.raises((TypeError, ValueError), match="graceful_shutdown_timeout"):
        cotyledon.ServiceManager(graceful_shutdown_timeout=bad)
    cotyledon.ServiceManager()


def test_the_name_can_be_patched():
    """A test that patches ``cotyledon.ServiceManager`` replaces what programs call."""
    with mock.patch("cotyledon.ServiceManager") as patched:
        assert cotyledon.ServiceManager() is patched.return_value
    with mock.patch.object(cotyledon.ServiceManager, "run") as run:
        cotyledon.ServiceManager().run()
    run.assert_called_once_with()


# --- add ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [None, "service", 3, object(), Service(cotyledon.types.WorkerId(0))]
)
def test_add_wants_a_callable(bad):
    """What is not callable is no service."""
    with pytest.raises(TypeError, match=r"^'service' must be a callable$"):
        cotyledon.ServiceManager().add(bad)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (0, "0 (int)"),
        (-2, "-2 (int)"),
        ("3", "3 (str)"),
        (1.5, "1.5 (float)"),
        (None, "None (NoneType)"),
        (False, "False (bool)"),
    ],
)
def test_add_wants_one_worker_or_more(bad, text):
    """The text says what the count was, and of which type."""
    with pytest.raises(ValueError, match="must be an int") as raised:
        cotyledon.ServiceManager().add(Service, workers=bad)
    assert str(raised.value) == f"'workers' must be an int >= 1, not: {text}"


def test_add_takes_true_for_one():
    """True counts as an int."""
    manager = cotyledon.ServiceManager()
    manager.add(Service, workers=True)
    assert manager.status().services[0].wanted == 1


def test_add_returns_an_id():
    """Each service has an id of its own, a UUID."""
    manager = cotyledon.ServiceManager()
    ids = [manager.add(Service), manager.add(Service, 2, ("x",), {"y": 1})]
    assert all(isinstance(each, uuid.UUID) for each in ids)
    assert ids[0] != ids[1]
    assert [service.id for service in manager.status().services] == ids


@pytest.mark.parametrize("bad", [5, True])
def test_add_wants_arguments_that_can_be_unpacked(bad):
    """args that are no sequence and kwargs that are no mapping are refused at the call."""
    manager = cotyledon.ServiceManager()
    with pytest.raises(TypeError):
        manager.add(Service, args=bad)
    with pytest.raises((TypeError, ValueError)):
        manager.add(Service, kwargs=bad)
    assert not manager.status().services


def test_add_is_thread_safe():
    """Services that many threads add at once are all there, each with its own count."""
    manager = cotyledon.ServiceManager()
    added: dict[uuid.UUID, int] = {}
    barrier = threading.Barrier(8)

    def add(first: int) -> None:
        barrier.wait()
        for workers in range(first, first + 50):
            added[manager.add(Service, workers=workers)] = workers

    threads = [threading.Thread(target=add, args=(1 + 50 * i,)) for i in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert {service.id: service.wanted for service in manager.status().services} == added
    assert len(added) == 400


# --- reconfigure --------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [uuid.UUID(int=0), None, "x"])
def test_reconfigure_wants_a_known_id(bad):
    """An id that add() has not returned is refused."""
    manager = cotyledon.ServiceManager()
    manager.add(Service)
    with pytest.raises(ValueError, match="service id doesn't exists") as raised:
        manager.reconfigure(bad, 1)
    assert str(raised.value) == f"{bad} service id doesn't exists"


@pytest.mark.parametrize(
    ("bad", "text"), [(-1, "-1 (int)"), ("2", "2 (str)"), (2.0, "2.0 (float)"), (None, "None (No")]
)
def test_reconfigure_wants_a_count(bad, text):
    """A count that is negative or no int is refused, and changes nothing."""
    manager = cotyledon.ServiceManager()
    service = manager.add(Service, workers=3)
    with pytest.raises(ValueError, match="must be an int") as raised:
        manager.reconfigure(service, bad)
    assert str(raised.value).startswith(f"'workers' must be an int >= 0, not: {text}")
    assert manager.status().services[0].wanted == 3


def test_a_count_that_no_machine_has_room_for():
    """More workers than a master can clean up after are refused, and take no memory."""
    manager = cotyledon.ServiceManager()
    service = manager.add(Service, workers=3)
    with pytest.raises(ValueError, match="at most 32768, not: 10000000000"):
        manager.reconfigure(service, 10**10)
    with pytest.raises(ValueError, match="at most 32768, not: 32769"):
        manager.add(Service, workers=32769)
    assert [one.wanted for one in manager.status().services] == [3]


def test_reconfigure_before_run():
    """A count that is changed before run() holds, 0 included."""
    manager = cotyledon.ServiceManager()
    service = manager.add(Service, workers=3)
    manager.reconfigure(service, 0)
    assert manager.status().services[0].wanted == 0


# --- hooks and context --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["on_terminate", "on_reload", "on_new_worker", "on_dead_worker"])
def test_hooks_must_be_callable(name):
    """A hook that is not callable is refused by its name, and none of the call is kept."""
    not_callable: dict[str, Any] = {name: 3}
    manager = cotyledon.ServiceManager()
    with pytest.raises(TypeError, match=f"^'{name}' must be a callable$"):
        manager.register_hooks(**not_callable)
    manager.register_hooks()
    manager.register_hooks(print, print, print, print)


def test_mp_context():
    """The context is fork's by default, and can be assigned until workers start."""
    manager = cotyledon.ServiceManager()
    assert manager.mp_context.get_start_method() == "fork"
    manager.add(Service)
    context = multiprocessing.get_context("forkserver")
    manager.mp_context = context
    assert manager.mp_context is context


def test_shutdown_before_run_and_again():
    """shutdown() can be called at any time, any number of times."""
    manager = cotyledon.ServiceManager()
    manager.shutdown()
    manager.shutdown()


# --- what we add --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"initial": -1},
        {"initial": "1"},
        {"initial": True},
        {"factor": 0.5},
        {"jitter": 2},
        {"jitter": -0.1},
        {"cap": 0.1, "initial": 0.5},
        {"forgive": 0},
        {"cap": float("nan")},
        {"cap": float("inf")},
    ],
)
def test_bad_backoff(values):
    """A back-off that is out of range, or contradicts itself, is refused and named."""
    with pytest.raises((TypeError, ValueError), match=next(iter(values))):
        cotyledon.Backoff(**values)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None, "", "25", "0%", "101%", "a%", "%", "-5%"])
def test_bad_rollout(bad):
    """A rollout that would allow nothing, or more than everything, is refused."""
    with pytest.raises((TypeError, ValueError), match="max_unavailable"):
        cotyledon.Rollout(bad)


def test_bad_policy():
    """A policy is made of a Backoff and a Rollout, and add() takes nothing else."""
    bad: Any = "25%"
    with pytest.raises(TypeError, match="backoff"):
        cotyledon.Policy(backoff=bad)
    with pytest.raises(TypeError, match="rollout"):
        cotyledon.Policy(rollout=bad)
    with pytest.raises(TypeError, match="policy"):
        cotyledon.ServiceManager().add(Service, policy=bad)


@pytest.mark.parametrize("bad", [-1, "1", True, float("nan"), float("inf")])
def test_bad_wait_interval(bad):
    """A pause between spawns is a number of seconds."""
    with pytest.raises((TypeError, ValueError), match="wait_interval"):
        cotyledon.ServiceManager(wait_interval=bad)


@pytest.mark.parametrize("bad", [-1, "1", None, float("nan")])
def test_bad_timeout_later(bad):
    """The graceful timeout can be changed later, to a number of seconds."""
    manager = cotyledon.ServiceManager()
    with pytest.raises((TypeError, ValueError), match="graceful_shutdown_timeout"):
        manager.graceful_shutdown_timeout = bad
    assert manager.graceful_shutdown_timeout == 60
