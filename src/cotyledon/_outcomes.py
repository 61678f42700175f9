"""What has come of a command, as far as the status of the manager tells.

Responsible for telling an end from a state on the way, and for the line that says it. Never asks
the manager. Each function returns what is missing (nothing, if it went well) and a line for
people, or ``None`` while it is not known.
"""

from typing import Any, Literal, TypeAlias

Missing: TypeAlias = Literal["", "failed", "conflict", "gone", "timeout"]
Found: TypeAlias = tuple[Missing, str] | None


def service_of(status: dict[str, Any], known: str) -> dict[str, Any] | None:
    for one in status["services"]:
        if one["id"] == known:
            found: dict[str, Any] = one
            return found
    return None


def _given_up(service: dict[str, Any]) -> Found:
    name = service["name"]
    if service["gave_up"]:
        return "failed", f"{name} has failed too often, nothing is started any more"
    for worker in service["workers"]:
        if worker["state"] == "failed":
            return "failed", f"{name}/{worker['id']} has failed for good{_why(worker)}"
    return None


def _why(worker: dict[str, Any]) -> str:
    if not worker["deaths"]:
        return ""
    death = worker["deaths"][-1]
    code = death["exit_code"]
    return f": {death['reason']}" + ("" if code is None else f", status {code}")


def scaled(service: dict[str, Any] | None, workers: int) -> Found:
    if service is None:
        return "conflict", "the service was removed meanwhile"
    name = service["name"]
    if service["wanted"] != workers:
        return "conflict", f"{name} was scaled to {service['wanted']} workers meanwhile"
    states = [worker["state"] for worker in service["workers"]]
    if len(states) == workers and all(state in {"ready", "done"} for state in states):
        return "", f"{name}: {service['ready']} of {workers} workers are ready"
    return _given_up(service)


def rolled_out(status: dict[str, Any], answer: dict[str, Any]) -> Found:
    done = []
    for known, generation in answer["generations"].items():
        service = service_of(status, known)
        if service is None or service.get("removed"):
            continue  # nothing is left to be brought up to date
        name = service["name"]
        if service["generation"] < generation:
            return "conflict", f"{name} is another one than it was"
        if service["rollout_failed"]:
            return "failed", f"{name}: the rollout has failed; what runs old is kept"
        if service["reloading"]:
            return _given_up(service)
        if not generation:  # it is new: added by the reload itself
            found = scaled(service, service["wanted"])
            if found is None or found[0]:
                return found
        done.append(f"{name} ({service['ready']} of {service['wanted']} workers are ready)")
    return "", f"every worker is up to date: {', '.join(done) or 'there is none'}"


def restarted(status: dict[str, Any], answer: dict[str, Any]) -> Found:
    service = service_of(status, answer["service"])
    if service is None:
        return "conflict", "the service was removed meanwhile"
    number = answer["worker"]
    where = f"{service['name']}/{number}"
    for worker in service["workers"]:
        if worker["id"] != number:
            continue
        if worker["starts"] > answer["starts"] and worker["state"] in {"ready", "done"}:
            return "", f"{where} is {worker['state']}: pid {worker['pid']}"
        return _given_up(service)
    return "conflict", f"{where} is not wanted any more: the service was scaled down meanwhile"


def standing(status: dict[str, Any], answer: dict[str, Any]) -> str:
    """Return how those services stand that a command was for, to be appended to a line."""
    told = []
    for known in answer.get("generations", [answer.get("service")]):
        service = service_of(status, known)
        if service is None:
            continue
        name = service["name"]
        told.append(f"{name}: {service['ready']} of {service['wanted']} workers are ready")
        others = [worker for worker in service["workers"] if worker["state"] != "ready"]
        told.extend(f"{name}/{one['id']} is {one['state']}{_why(one)}" for one in others[:3])
    return f": {'; '.join(told)}" if told else ""
