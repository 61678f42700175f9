"""The kernel: fork, signals, process handles, channels, the guard, and the one loop.

Responsible for turning kernel facts into the core's events and the core's effects into kernel
calls. Never decides when a worker starts or ends.
"""

import select

if not hasattr(select, "epoll"):
    raise ImportError(
        "cotyledon needs epoll(7), which this Python's select module does not have: Linux has it, "
        "and eventlet.monkey_patch() takes it away, so a program cannot use both"
    )
