"""The checkpoints that a two-head network builds on: which the configuration names, and of which seeds."""

from pathlib import Path

from omegaconf import DictConfig

from arch_dual_head.macro_architectures import HEMISPHERES, MEMBERS, macro_architecture
from common.runs.needed import refuse_missing
from common.settings.levels import SPELLING

NEXT = "{next_seed}"


def path_key(side: str) -> str:
    """Name the key of a hemisphere's checkpoint: hparams.model_path_fine is the left one's."""
    return f"model_path_{SPELLING[side]}"


def templates(cfg: DictConfig) -> dict[str, str]:
    """Give the paths of what is loaded, with {seed} and {next_seed} in them, by what they serve as.

    That is ``fine`` and ``coarse`` for the left and the right hemisphere, ``network`` for all of a network,
    ``member0`` and so on for those of an ensemble: fingerprints of runs hold these names.
    """
    hparams, row = cfg.hparams, macro_architecture(cfg.hparams)
    if row.loads == MEMBERS:
        return {f"member{i}": path for i, path in enumerate(hparams[path_key("left")])}
    if hparams.model_path is not None:
        return {"network": hparams.model_path}
    sides = row.sides if row.loads == HEMISPHERES else ()
    found = {SPELLING[side]: hparams[path_key(side)] for side in sides}
    return {name: path for name, path in found.items() if path is not None}


def paths(cfg: DictConfig, seed: int) -> dict[str, Path]:
    """Name the checkpoints that the run of ``seed`` builds on, by what they serve as (see `templates`)."""
    return {name: at_seed(path, cfg, seed) for name, path in templates(cfg).items()}


def at_seed(path: str, cfg: DictConfig, seed: int) -> Path:
    """Put the run's seed for {seed} in a path, and the one after it in the list of seeds for {next_seed}."""
    return Path(path.replace("{seed}", str(seed)).replace(NEXT, str(_next(cfg, seed))))


def mixed_seeds(cfg: DictConfig, seed: int) -> tuple[int, ...]:
    """Name the seeds whose networks the run of ``seed`` is made of."""
    pairs = any(NEXT in path for path in templates(cfg).values())
    return (seed, _next(cfg, seed)) if pairs else (seed,)


def _next(cfg: DictConfig, seed: int) -> int:
    seeds = list(cfg.seeds)
    return seeds[(seeds.index(seed) + 1) % len(seeds)]  # after the last the first


def refuse_missing_sources(cfg: DictConfig) -> None:
    """Refuse a checkpoint that is not there, for any seed, before anything large is imported.

    Raises:
        UserError: names it.
    """
    for seed in cfg.seeds:
        refuse_missing({part: at_seed(path, cfg, seed) for part, path in templates(cfg).items()})
