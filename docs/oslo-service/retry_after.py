import sys

import tenacity

failures = int(sys.argv[1])


@tenacity.retry(
    stop=tenacity.stop_after_attempt(4),  # the first one, and 3 retries
    wait=tenacity.wait_incrementing(start=0.05, increment=0.05, max=0.1),
    retry=tenacity.retry_if_exception_type(ConnectionError),
    reraise=True,
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
