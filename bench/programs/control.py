"""A manager with a control socket, or without: arguments are the path, or "-", and the workers.

Each worker writes the instant of its birth, and its pid, to the standard output.
"""

import os
import sys
import threading
import time

import cotyledon


class Web(cotyledon.Service):
    def run(self) -> None:
        if self.worker_id == 0:
            os.write(1, b"%d %d\n" % (time.monotonic_ns(), os.getpid()))
        threading.Event().wait()


def main() -> None:
    path, workers = sys.argv[1], int(sys.argv[2])
    backoff = cotyledon.Backoff(initial=0, cap=0)
    manager = cotyledon.ServiceManager(control=None if path == "-" else path)
    manager.add(Web, workers, policy=cotyledon.Policy(backoff=backoff))
    manager.run()


if __name__ == "__main__":
    main()
