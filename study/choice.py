"""Which arms and seeds a study has, and in which order its stages come."""

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from common.settings.suggestions import closest
from common.system.errors import UserError
from study.arms import (
    ARMS,
    DEFAULT_ARMS,
    PARTS,
    arms_of,
    names,
    standing_for,
    usual_names,
)

DEFAULT_SEEDS = 5


def chosen_seeds(cfg: DictConfig) -> list[int]:
    """Give the seeds that the study's keys ask for."""
    if cfg.seeds is not None and cfg.num_seeds is not None:
        raise UserError("Give num_seeds (seeds 0 to n-1) or seeds (a list), not both.")
    return list(cfg.seeds) if cfg.seeds is not None else list(range(cfg.num_seeds or DEFAULT_SEEDS))


def chosen_arms(cfg: DictConfig, seeds: int) -> list[str]:
    """Give the arms to run, in the order of the table, with those that they build on; say which are left out.

    Raises:
        UserError: a name that is no arm's, epochs of an arm that is not run, or nothing to run.
    """
    chosen: set[str] = set()
    for arm in (arm for name in _asked(cfg) for arm in standing_for(name)):
        mixes = ARMS[arm].mixes
        if mixes > seeds:
            print(f"{arm} is left out: it takes {mixes} seeds, and there are {seeds}.")
        else:
            chosen |= _with_needed(arm)
    if not chosen:
        raise UserError("arms leaves nothing to run with so few seeds: give more, as num_seeds=5.")
    # Arms that are trained as much as others read the epochs of these, which may have been trained before.
    equal = cfg.budget != "recipe" and any(ARMS[arm].equal_training for arm in chosen)
    with_epochs = chosen.union(PARTS.values()) if equal else chosen
    for name, epochs in cfg.epochs.items():
        if epochs and not with_epochs & set(standing_for(name)):
            raise UserError(
                f"epochs.{name} has no meaning without the arm {name}: drop it, or add that."
            )
    return [arm for arm in ARMS if arm in chosen]


def _asked(cfg: DictConfig) -> list[str]:
    """The names that ``arms`` gives, each of them known; hemispheres alone with ``no_bilateral``."""
    own = arms_of(cfg.study)
    if cfg.arms is None:
        asked = list(own or DEFAULT_ARMS)
    else:
        asked = list(cfg.arms) if OmegaConf.is_list(cfg.arms) else [cfg.arms]
    if asked == ["all"]:
        asked = list(usual_names() + tuple(arm for arm in own if ARMS[arm].study))
    # In full they would fill half a screen.
    allowed = f"all, or a list of {', '.join(usual_names())}, and others in docs/tables.md"
    if not asked:
        raise UserError(f"arms is empty; allowed: {allowed}.")
    for name in asked:
        if name not in names():
            close = closest(str(name), names())
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UserError(f"arms names {name!r}; allowed: {allowed}{hint}.")
    if cfg.no_bilateral:
        known = [name for name in asked if name in DEFAULT_ARMS]
        single = [name for name in known if ARMS[name].folder == "single"]
        if not single or known != asked:
            raise UserError("no_bilateral=true trains the hemispheres only: drop it, or arms.")
        asked = single
    return asked


def _with_needed(arm: str) -> set[str]:
    """An arm and all that it builds on."""
    return {arm}.union(*(_with_needed(parent) for parent in ARMS[arm].needs))


def ordered(arms: list[str], seeds: int) -> Iterator[tuple[str, int]]:
    """Give arms and numbers of seeds: a seed's stages together, then those that mix seeds."""
    yield from ((arm, n) for n in range(seeds) for arm in arms if ARMS[arm].mixes == 1)
    for arm in (arm for arm in arms if ARMS[arm].mixes > 1):
        # Around the whole list every mean of networks that is not trained further is the same one.
        once = ARMS[arm].trained_like is None and ARMS[arm].mixes == seeds
        yield from ((arm, number) for number in range(1 if once else seeds))
