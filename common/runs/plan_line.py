"""Say in the first line of a command what it is about to do."""

import os
from collections.abc import Sequence

from common.runs.description import Stage
from common.system.errors import UserError


def print_plan(stages: Sequence[Stage], *, engine: str = "serial") -> None:
    """Print how many stages there are, of which arms and seeds, where they go, and on what they are trained.

    The device is known once torch is imported, which takes longer than all before: it ends the line. Of several
    machines the first one prints.

    Args:
        stages: what will be run, some of it maybe done before.
        engine: what runs them; only of this process the device and the precision are known before.
    """
    params = stages[0].config.trainer_params
    if params.num_nodes > 1 and os.environ.get("NODE_RANK") != "0":
        return
    arms = list(dict.fromkeys(stage.arm for stage in stages))
    seeds = sorted({stage.seed for stage in stages})
    done = sum((stage.place / "result.yaml").is_file() for stage in stages)
    kinds = arms if len(arms) <= 4 else [*arms[:3], f"{len(arms) - 3} more arms"]
    line = f"{_count(len(stages), 'stage')}: {', '.join(kinds)}, {_count(len(seeds), 'seed')}"
    if done:
        line += f"; {done} of them {'has' if done == 1 else 'have'} a result"
    print(f"{line}; {stages[0].experiment}; ", end="", flush=True)
    try:
        device = _device(stages[0], engine)
    except UserError:
        print(flush=True)  # the sentence has a line of its own
        raise
    print(device, flush=True)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _device(stage: Stage, engine: str) -> str:
    if engine != "serial":
        return f"engine={engine}"
    from common.system.environment import choose_precision, device_name

    params = stage.config.trainer_params
    precision = choose_precision(params.precision, params.accelerator)
    return f"{device_name(params.accelerator)}, {precision}"
