"""Policies: frozen, validated, and clear about what is wrong with them."""

import pickle
from typing import Any

import pytest

import cotyledon.policy
from cotyledon import Backoff as _Backoff
from cotyledon import Policy as _Policy
from cotyledon import Rollout as _Rollout

# Not typed here: what is given to them is wrong on purpose.
Backoff: Any = _Backoff
Policy: Any = _Policy
Rollout: Any = _Rollout


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Backoff(initial=[1]), TypeError, "'initial' must be a number of seconds"),
        (lambda: Backoff(initial="1"), ValueError, "with one of the units ms, s, m, h, d"),
        (lambda: Backoff(initial=True), TypeError, "'initial' must be a number of seconds"),
        (lambda: Backoff(initial=-1), ValueError, "'initial' must be a number of seconds >= 0"),
        (
            lambda: Backoff(initial=float("nan")),
            ValueError,
            "'initial' must be a number of seconds >= 0",
        ),
        (lambda: Backoff(cap=float("inf")), ValueError, "'cap' must be a number of seconds >= 0"),
        (lambda: Backoff(cap=10**400), ValueError, "'cap' must be a number of seconds >= 0"),
        (lambda: Backoff(factor=0.5), ValueError, "'factor' must be a number >= 1"),
        (lambda: Backoff(jitter=1.5), ValueError, "'jitter' must be from 0 to 1"),
        (lambda: Backoff(forgive=0), ValueError, "'forgive' must be a number of seconds >= 0.001"),
        (lambda: Backoff(initial=10, cap=5), ValueError, "'cap' \\(5\\) is below 'initial' \\(10"),
        (lambda: Rollout(0), ValueError, "'max_unavailable' must be at least 1"),
        (lambda: Rollout("0%"), ValueError, "'max_unavailable' must be at least 1"),
        (lambda: Rollout("101%"), ValueError, "'max_unavailable' must be at least 1"),
        (lambda: Rollout("25"), ValueError, "'max_unavailable' must be at least 1"),
        (lambda: Rollout(0.25), TypeError, "'max_unavailable' must be an int or a percentage"),
        (lambda: Policy(backoff=3), TypeError, "'backoff' must be a Backoff"),
        (lambda: Policy(rollout="25%"), TypeError, "'rollout' must be a Rollout"),
    ],
)
def test_a_bad_value_is_named(make: object, error: type[Exception], text: str) -> None:
    """A policy that makes no sense is an error where it is written, and says why."""
    with pytest.raises(error, match=text):
        make()  # type: ignore[operator]


def test_policies_are_values() -> None:
    """Equal policies are equal, hash alike, print as they are written, and pickle."""
    policy = Policy(backoff=Backoff(cap=5), rollout=Rollout(2))
    assert policy == Policy(backoff=Backoff(cap=5), rollout=Rollout(2)) != Policy()
    assert hash(policy) == hash(Policy(backoff=Backoff(cap=5), rollout=Rollout(2)))
    assert eval(repr(policy), vars(cotyledon.policy)) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert policy != "policy"


def test_policies_are_frozen() -> None:
    """A policy does not change after it was made, and says how to get another one."""
    policy = Backoff()
    with pytest.raises(AttributeError, match=r"frozen; use replace\(cap=...\)"):
        policy.cap = 3
    with pytest.raises(AttributeError, match="frozen"):
        del policy.cap


def test_a_changed_copy_is_validated() -> None:
    """``replace`` gives a copy, and the same errors as the constructor."""
    assert Backoff().replace(cap=3).cap == 3
    with pytest.raises(ValueError, match="'cap'"):
        Backoff().replace(cap=0.1)
