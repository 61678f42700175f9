"""Each policy, shown once from end to end with real processes."""

import json
import select
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import Program, title, until

pytestmark = pytest.mark.real

KILL, HUP, USR1 = signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1


class Play:
    """A running program of ``tests/programs/policies.py``."""

    def __init__(self, start: Callable[..., Program], *services: Any, **settings: Any) -> None:
        self.program = start("policies.py", json.dumps([services, settings]))
        self.wait_for = self.program.wait_for
        self.stop = self.program.stop

    def notice(self, kind: str, **fields: Any) -> Any:
        """Take the next notice of a kind."""
        return self.wait_for("notice", kind=kind, **fields)

    def count(self, kind: str, **fields: Any) -> int:
        return len(self.program.all("notice", kind=kind, **fields))

    def command(self, text: str) -> Any:
        """Have the master evaluate something."""
        (self.program.directory / "command").write_text(text)
        self.program.signal(USR1)
        return self.wait_for("obeyed")["result"]

    def change(self, name: str, *does: Any) -> None:
        """Have later workers of a service do something else."""
        (self.program.directory / f"does-{name}").write_text(json.dumps(does))

    def state(self, service: int = 0, worker: int = 0) -> Any:
        """Return a few fields of a worker's status."""
        return self.command(f"manager.status().services[{service}].workers[{worker}]._asdict()")


@pytest.fixture
def play(start: Callable[..., Program]) -> Callable[..., Play]:
    return lambda *services, **settings: Play(start, *services, **settings)


def lapse(seconds: float) -> None:
    """Let time pass, to see that nothing happens in it."""
    select.select([], [], [], seconds)


def service(name: str = "web", **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


# --- restart ------------------------------------------------------------------------------


def test_on_failure_leaves_a_success_alone_and_restarts_a_failure(play):
    """Under on-failure a worker that ends with a success is not followed by another."""
    it = play(
        service("good", policy='Policy(restart="on-failure")', does=[["exit", 0]]),
        service("bad", policy='Policy(restart="on-failure")', does=[["exit", 3]]),
    )
    assert it.notice("WorkerDied", service="good")["death"]["next_start_in"] is None
    assert it.notice("WorkerDied", service="bad")["death"]["next_start_in"] == 0
    it.notice("BackingOff", service="bad")
    assert it.state(0)["state"] == "done"
    assert it.count("WorkerStarted", service="good") == 1
    assert it.stop() == 0


def test_never_runs_each_worker_once_until_a_restart(play):
    """Under never nothing follows an end, a reload included, but restart() runs it again."""
    it = play(service("job", policy='Policy(restart="never")', does=[["exit", 0]]))
    it.notice("WorkerDied")
    it.program.signal(HUP)
    it.notice("RolloutFinished")
    assert it.count("WorkerStarted") == 1
    it.command("manager.restart(job)")
    it.notice("WorkerDied")
    assert it.stop() == 0


def test_a_configuration_error_is_not_retried_until_a_reload(play):
    """Status 78 leaves the slot empty whatever the policy, and SIGHUP tries again."""
    it = play(service(does=[["exit", 78]]), service("other"))
    assert it.notice("GaveUp")["exit_code"] == 78
    assert it.state()["state"] == "failed"
    assert "not started again until a reload" in it.program.stderr()
    it.change("web")
    it.program.signal(HUP)
    it.notice("RolloutFinished", service="web")
    assert it.state()["state"] == "ready"
    assert it.count("WorkerStarted", service="web") == 2
    assert it.stop() == 0


# --- intensity, significance --------------------------------------------------------------


def test_too_many_failures_give_up_on_the_service_alone(play):
    """A service that fails too often is given up, and its neighbour works on."""
    policy = "Policy(backoff=Backoff(initial=0, cap=0), intensity=Intensity(3, '1m'))"
    it = play(service("bad", policy=policy, does=[["exit", 1]]), service("good"))
    assert it.notice("GaveUp", service="bad")["worker_id"] is None
    assert it.count("WorkerStarted", service="bad") == 4
    assert it.state(0)["state"] == "given up"
    assert it.count("WorkerStarted", service="good") == 1
    it.change("bad")
    it.command("manager.reconfigure(bad, 1)")
    it.notice("WorkerStarted", service="bad", reason="respawn")
    assert it.stop() == 0


def test_too_many_failures_may_stop_the_manager_with_status_1(play):
    """An escalation ends everything gracefully, calls the hooks, and has exit status 1."""
    policy = "Policy(intensity=Intensity(0, 60, 'stop'))"
    it = play(service("good"), service("bad", policy=policy, does=[["gate", "go"], ["exit", 1]]))
    it.wait_for("run", service="good")
    it.program.open_gate("go")
    assert it.program.wait() == 1
    assert "too many failures" in it.notice("Stopping")["why"]
    it.wait_for("terminate", service="good")
    assert it.count("Stopping") == 1


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (5, 1)])
def test_a_significant_service_that_is_done_ends_the_manager(play, status, ends):
    """When each worker of it has ended for good, the manager ends as they did."""
    policy = 'Policy(restart="never", significant=True)'
    it = play(service("job", workers=3, policy=policy, does=[["exit", status]]), service("helper"))
    assert it.program.wait() == ends
    assert it.count("WorkerDied", service="job") == 3
    assert "significant" in it.notice("Stopping")["why"]


def test_a_crash_loop_costs_its_neighbour_nothing(play):
    """Next to a service that crashes without a pause, a healthy one lives, and is respawned."""
    policy = "Policy(backoff=Backoff(initial=0, cap=0))"
    it = play(service("good", workers=2), service("bad", policy=policy, does=[["exit", 1]]))
    pids = [it.notice("WorkerReady", service="good", worker_id=i)["of"] for i in range(2)]
    until(lambda: it.count("WorkerDied", service="bad") > 50, "it crashes and crashes")
    assert not it.count("WorkerDied", service="good")
    it.program.signal(KILL, pids[1])
    it.notice("WorkerReady", service="good", worker_id=1)
    crashes = it.count("WorkerDied", service="bad")
    until(lambda: it.count("WorkerDied", service="bad") > crashes + 20, "and goes on crashing")
    assert it.count("WorkerDied", service="good") == 1
    assert it.stop() == 0


# --- rollouts -----------------------------------------------------------------------------


def test_with_surge_the_successor_is_ready_before_the_old_worker_goes(play):
    """A reload with surge and nothing unavailable never has fewer workers than wanted."""
    policy = "Policy(rollout=Rollout(max_unavailable=0, max_surge=1))"
    it = play(service(workers=3, policy=policy))
    for _ in range(3):
        it.notice("WorkerReady")
    it.program.signal(HUP)
    it.notice("RolloutFinished")
    living = 0
    least = 3
    for event in it.program.all("notice"):
        living += (event["kind"] == "WorkerReady") - (event["kind"] == "WorkerDied")
        if it.program.all("notice", kind="RolloutFinished") and event["kind"] == "WorkerDied":
            least = min(least, living)
    assert least >= 3
    assert it.count("WorkerStarted", reason="successor") == 3
    assert it.stop() == 0


def test_a_rollout_that_fails_keeps_what_runs_old_and_the_next_one_tries_again(play):
    """A new generation that never gets ready is given up in time, and said to have failed."""
    policy = (
        "Policy(backoff=Backoff(initial=0.05, cap=0.1), "
        "rollout=Rollout(max_unavailable=1, progress_deadline=1))"
    )
    it = play(service(workers=3, policy=policy))
    for _ in range(3):
        it.notice("WorkerReady")
    it.change("web", ["init_exit", 3])
    it.command("manager.reload(web)")
    assert it.notice("RolloutFailed")["behind"] == 2
    status = it.command("manager.status().services[0]._asdict()")
    assert status["rollout_failed"]
    assert status["ready"] == 2
    it.change("web")
    it.command("manager.reload()")
    it.notice("RolloutFinished")
    assert not it.command("manager.status().services[0]._asdict()")["rollout_failed"]
    assert it.stop() == 0


def test_a_restart_replaces_workers_that_could_reload(play):
    """restart() makes new processes in a rollout, where reload() would call the method."""
    it = play(service(workers=2, kind="reloading"))
    old = {it.notice("WorkerReady")["of"] for _ in range(2)}
    it.command("manager.restart(web)")
    it.notice("RolloutFinished")
    new = {it.notice("WorkerReady")["of"] for _ in range(2)}
    assert not old & new
    assert not it.program.all("reload")
    it.command("manager.restart(web, 1)")
    assert it.notice("WorkerDied", worker_id=1)["death"]["reason"] == "restart"
    it.notice("WorkerReady", worker_id=1)
    assert it.stop() == 0


# --- recycling ----------------------------------------------------------------------------


def test_a_worker_that_has_grown_is_recycled(play):
    """Private memory beyond the limit has a worker replaced, and not before its least life."""
    policy = "Policy(recycle=Recycle(memory='64M', min_life=2, every=0.1))"
    it = play(service(workers=2, policy=policy, does=[["grow", 100 << 20]]))
    it.program.collect(2, "grown")
    it.change("web")
    died = it.notice("WorkerDied")["death"]
    assert died["reason"] == "recycled"
    assert died["uptime"] >= 2
    it.notice("WorkerDied")
    until(lambda: it.command("manager.status().services[0].ready") == 2, "both are back")
    assert it.count("WorkerDied") == 2
    assert it.stop() == 0


def test_a_worker_that_has_lived_long_enough_is_recycled_one_at_a_time(play):
    """Lifetimes end workers no faster than a rollout would."""
    policy = "Policy(recycle=Recycle(lifetime=0.5, jitter=0, min_life=0.5))"
    it = play(service(workers=3, policy=policy))
    for _ in range(3):
        assert it.notice("WorkerDied")["death"]["reason"] == "recycled"
    assert it.stop() == 0


def test_what_is_far_away_does_not_end_supervision(play):
    """Limits of months, and a worker that asks for ages, leave the manager working."""
    policy = (
        "Policy(recycle=Recycle(lifetime='100d'), backoff=Backoff(cap='100d'),"
        " start=Start(ready='told', timeout='100d'))"
    )
    does = [["extend", 1e300], ["ready"]]
    it = play(service(policy=policy, does=does), graceful_shutdown_timeout=1e300)
    ready = it.notice("WorkerReady")
    it.notice("AllReady")
    it.program.signal(KILL, ready["of"])
    assert it.notice("WorkerReady")["of"] != ready["of"]
    assert it.stop() == 0


# --- order --------------------------------------------------------------------------------


def test_services_start_in_order_and_stop_in_reverse(play):
    """A service starts when those before it are ready, and stops before them."""
    it = play(
        service("db", does=[]),
        service("app", workers=2, after=["db"]),
        service("edge", after=["app", "db"]),
    )
    it.notice("AllReady")
    order = [e["service"] for e in it.program.all("notice", kind="WorkerReady")]
    assert order == ["db", "app", "app", "edge"]
    assert it.stop() == 0
    ends = [e["service"] for e in it.program.all("notice", kind="WorkerDied")]
    assert ends == ["edge", "app", "app", "db"]
    told = [e["service"] for e in it.program.all("terminate")]
    assert told == ["edge", "app", "app", "db"]


def test_a_service_waits_for_one_that_does_not_get_ready(play):
    """Until the service before it is ready, a service is blocked, and that is said."""
    it = play(service("db", does=[["init_gate", "go"]]), service("app", after=["db"]))
    it.wait_for("init", service="db")
    assert it.state(1)["state"] == "blocked"
    it.program.open_gate("go")
    it.notice("WorkerReady", service="app")
    assert it.stop() == 0


# --- notices ------------------------------------------------------------------------------


def test_starts_that_are_refused_are_told_once_in_a_while(start):
    """Where no descriptor is left for many workers, the log does not repeat that for each."""
    settings = json.dumps([[service(workers=60)], {}])
    program = start("policies.py", settings, prefix=("prlimit", "--nofile=60:60"))
    program.collect(80, "notice", kind="WorkerDied")
    assert 0 < program.stderr().count("cannot start a worker: [Errno 24]") < 40
    assert program.stop() == 0


def test_deaths_at_the_end_of_a_stop_are_told(play):
    """Hooks are told of those, too, whom the deadline of a stop has killed."""
    it = play(service(workers=3, does=[["match"]]), graceful_shutdown_timeout=1)
    it.program.collect(3, "matches")
    assert it.stop() == 1
    for _ in range(3):
        assert it.notice("WorkerDied", stopping=True)["death"]["reason"] == "stop timeout"


def test_every_death_is_told_with_what_is_known_of_it(play):
    """The last deaths are in the status and in notices: why, how, what it used, what next."""
    it = play(service(does=[["gate", "go"], ["die", int(KILL)]]))
    pid = it.notice("WorkerReady")["of"]
    it.change("web")
    it.program.open_gate("go")
    death = it.notice("WorkerDied")["death"]
    assert (death["reason"], death["exit_code"], death["pid"]) == ("signal", -9, pid)
    assert death["usage"][2] > 1 << 20
    assert (death["next_start_in"], death["failures"]) == (0, 1)
    kept = it.state()["deaths"]
    assert kept[0][0] == "signal"
    assert it.stop() == 0
    assert it.notice("Stopping")["why"] == "SIGTERM"
    assert it.notice("WorkerDied", stopping=True)["death"]["reason"] == "stopped"


# --- readiness ----------------------------------------------------------------------------


def test_a_service_that_says_when_it_is_ready_is_not_ready_before(play):
    """With Start(ready="told") only ready() counts, while run() goes on already."""
    it = play(
        service("db", policy='Policy(start=Start("told"))', does=[["gate", "go"], ["ready"]]),
        service("app", after=["db"]),
    )
    it.wait_for("run", service="db")
    assert it.state(0)["state"] == "starting"
    assert not it.count("WorkerReady")
    it.program.open_gate("go")
    it.notice("WorkerReady", service="db")
    it.notice("WorkerReady", service="app")
    assert it.stop() == 0


def test_a_worker_that_is_not_ready_in_time_is_asked_for_its_stacks_and_killed(play):
    """A missed start timeout is a death with the reason, the stacks, and a replacement."""
    it = play(service(policy="Policy(start=Start(timeout=0.5))", does=[["init_hang"]]))
    assert it.notice("WorkerSilent")["reason"] == "start timeout"
    it.change("web")
    death = it.notice("WorkerDied")["death"]
    assert (death["reason"], death["exit_code"]) == ("start timeout", -9)
    assert "do_hang" in death["stacks"]
    assert "do_hang" in it.program.stderr()
    it.notice("WorkerReady")
    assert it.stop() == 0


def test_a_worker_may_ask_for_more_time_to_start(play):
    """extend() moves the start timeout, and no more than it says."""
    it = play(
        service(
            "slow",
            policy="Policy(start=Start(timeout=0.5))",
            does=[["init_extend", 30], ["init_sleep", 1.2]],
        ),
        service(
            "hung",
            policy="Policy(start=Start(timeout=0.2))",
            does=[["init_extend", 1], ["init_hang"]],
        ),
        graceful_shutdown_timeout=1,
    )
    it.notice("WorkerReady", service="slow")
    death = it.notice("WorkerDied", service="hung")["death"]
    assert death["reason"] == "start timeout"
    assert death["uptime"] >= 2
    assert not it.count("WorkerSilent", service="slow")
    it.program.collect(2, "init", service="hung")
    assert it.stop() == 1  # the next one hangs, too


# --- another program in the worker's place ------------------------------------------------


def test_a_worker_that_has_executed_another_program_is_told_to_end_by_a_signal(play):
    """What a worker executes in its own place gets a TERM when the worker is to end."""
    it = play(service(does=[["execute", "sleep", "1000"]]), graceful_shutdown_timeout=1000)
    pid = it.wait_for("run").pid
    until(lambda: title(pid) == "sleep 1000", "it has executed it")
    it.program.signal(HUP)
    death = it.notice("WorkerDied")["death"]
    assert (death["reason"], death["exit_code"]) == ("reload", -signal.SIGTERM)
    pid = it.wait_for("run").pid
    until(lambda: title(pid) == "sleep 1000", "its successor has, too")
    assert it.stop() == 0


def test_a_worker_that_has_executed_another_program_dies_of_its_silence(play):
    """It is not asked for its stacks by signals that it does not know: it dies of the watchdog."""
    it = play(service(policy="Policy(watchdog=0.5)", does=[["execute", "sleep", "1000"]]))
    it.notice("WorkerSilent")
    it.change("web")
    death = it.notice("WorkerDied")["death"]
    assert (death["reason"], death["exit_code"]) == ("watchdog", -signal.SIGKILL)
    assert it.stop() == 0


# --- watchdog -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "asked"),
    [("hang", "over its channel"), ("match", "by signal"), ("compute", "over its channel")],
)
def test_a_worker_that_stops_beating_is_asked_for_its_stacks_and_killed(play, way, asked):
    """Silence costs a worker its life, also in C with the GIL held, and says where it hung."""
    it = play(service(policy="Policy(watchdog=0.5)", does=[["beat", 3, 0.05], [way]]))
    it.wait_for("beaten")
    silent = it.notice("WorkerSilent")
    assert silent["reason"] == "watchdog"
    assert silent["silent_for"] >= 0.5
    it.change("web", ["beat", 1000, 0.05])
    death = it.notice("WorkerDied")["death"]
    assert (death["reason"], death["exit_code"]) == ("watchdog", -9)
    assert f"in do_{way}\n" in death["stacks"]
    # faulthandler begins with the innermost call.
    assert asked != "over its channel" or "call last" in death["stacks"]
    assert asked != "by signal" or "call first" in death["stacks"]
    assert f"in do_{way}\n" in it.program.stderr()
    it.notice("WorkerReady")
    assert it.state()["deaths"][0][6] == death["stacks"]
    assert it.stop() == 0


def test_a_blocked_event_loop_is_found(play):
    """An event loop beats by itself, so one that is blocked costs the worker its life."""
    it = play(service(kind="looping", policy="Policy(watchdog=0.5)", does=[["block"]]))
    it.wait_for("run")
    it.change("web")
    death = it.notice("WorkerDied")["death"]
    assert death["reason"] == "watchdog"
    assert "block_the_loop" in death["stacks"]
    pid = it.notice("WorkerReady", of=it.wait_for("run").pid)["of"]
    lapse(1.2)
    assert it.state()["pid"] == pid
    assert it.count("WorkerSilent") == 1
    assert it.stop() == 0


def test_a_worker_that_computes_and_beats_is_not_silent(play):
    """A busy worker that beats by itself lives: nothing else has to get the CPU for it."""
    it = play(service(workers=3, policy="Policy(watchdog=1)", does=[["burn", 4]]))
    it.wait_for("burnt")
    assert not it.count("WorkerSilent")
    assert not it.count("WorkerDied")
    it.stop()


def test_a_master_that_was_stopped_kills_nobody_who_has_beaten(play):
    """A master that looks late judges by the instants that the workers wrote."""
    it = play(service(policy="Policy(watchdog=0.5)", does=[["beat", 10_000, 0.05]]))
    pid = it.notice("WorkerReady")["of"]
    it.program.pause(it.program.pid)
    lapse(1.5)
    it.program.signal(signal.SIGCONT)
    assert it.state()["pid"] == pid
    assert not it.count("WorkerSilent")
    assert it.stop() == 0


def test_a_worker_that_was_frozen_with_its_master_gets_one_more_second(play):
    """After a freeze of the whole program a beat within a second saves the workers."""
    it = play(service(policy="Policy(watchdog=0.5)", does=[["beat", 10_000, 0.05]]))
    pid = it.notice("WorkerReady")["of"]
    it.program.pause(it.program.pid)
    it.program.pause(pid)
    lapse(1.5)
    it.program.signal(signal.SIGCONT)
    it.notice("WorkerSilent")
    it.program.signal(signal.SIGCONT, pid)
    it.notice("WorkerRecovered")
    assert it.state()["pid"] == pid
    assert it.stop() == 0
