"""Services for configuration files that are read in the process of the tests."""

import cotyledon
from cotyledon import Backoff, Policy


class Web(cotyledon.Service):
    pass


class Db(cotyledon.Service):
    policy = Policy(backoff=Backoff(initial=1, cap=7), watchdog=60)


def make() -> cotyledon.ServiceManager:
    raise AssertionError("it is not called to see what it is")
