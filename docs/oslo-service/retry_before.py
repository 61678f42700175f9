import sys

import eventlet

eventlet.monkey_patch()

from oslo_service import loopingcall

failures = int(sys.argv[1])


@loopingcall.RetryDecorator(
    max_retry_count=3, inc_sleep_time=0.05, max_sleep_time=0.1, exceptions=(ConnectionError,)
)
def fetch():
    global failures
    failures -= 1
    print("attempt", flush=True)
    if failures >= 0:
        raise ConnectionError("refused")
    return "fetched"


if __name__ == "__main__":
    print(fetch())
