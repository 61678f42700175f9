"""The kernel: fork, signals, process handles, channels, the guard, and the one loop.

Responsible for turning kernel facts into the core's events and the core's effects into kernel
calls. Never decides when a worker starts or ends.
"""
