"""Count the cores that this process may use: a scheduler, such as SLURM, may give it some of the machine's."""

import os


def cores() -> int:
    """Count them; where the system does not say, those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
