"""What the kernel tells about processes.

Responsible for reading ``/proc`` and the CPU clocks of other processes. Never signals one.
"""

import os
import time


def cpu(pid: int) -> int:
    """Return the CPU time of all threads of a process, dead ones included, in nanoseconds."""
    return time.clock_gettime_ns(~pid << 3 | 2)  # CPUCLOCK_SCHED, see clock_getcpuclockid(3)


def ticks(pid: int) -> int:
    """Return the CPU time of a process in clock ticks, as the kernel accounts it."""
    return sum(int(field) for field in _stat(pid)[11:13])


def switches(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as status:
            for line in status:
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
    return total


def threads(pid: int) -> int:
    """Return the number of threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors(pid: int) -> int:
    """Return the number of open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def private_memory(pid: int) -> int:
    """Return the memory that a process shares with no other, in bytes."""
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1]) << 10
    return total


def proportional_memory(pid: int) -> int:
    """Return the memory of a process, what it shares divided by those that share it, in bytes."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def children(parent: int) -> list[int]:
    """Return the direct children of a process, those that are only waited for included."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if int(_stat(int(entry))[1]) == parent:
                    found.append(int(entry))
            except OSError:  # gone meanwhile
                pass
    return found


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        found.extend(children(each))
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the third on, the state."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        # The second one, the name, may hold anything.
        return stat.read().decode("ascii", "replace").rpartition(")")[2].split()
