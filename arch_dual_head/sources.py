"""The checkpoints that a two-head network builds on: which the configuration names, and of which seeds."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from common.runs.needed import refuse_missing

NEXT = "{next_seed}"


def templates(cfg: DictConfig) -> list[str]:
    """The paths as configured, with {seed} and {next_seed} in them."""
    hparams = cfg.hparams
    fine = hparams.model_path_fine
    paths = [*(fine if OmegaConf.is_list(fine) else [fine]), hparams.model_path_coarse]
    return [path for path in (*paths, hparams.model_path) if path is not None]


def at_seed(path: str, cfg: DictConfig, seed: int) -> Path:
    """A path in which {seed} is the run's seed, and {next_seed} the one after it in the list of seeds."""
    return Path(path.replace("{seed}", str(seed)).replace(NEXT, str(_next(cfg, seed))))


def mixed_seeds(cfg: DictConfig, seed: int) -> tuple[int, ...]:
    """The seeds whose networks the run of ``seed`` is made of."""
    pairs = any(NEXT in path for path in templates(cfg))
    return (seed, _next(cfg, seed)) if pairs else (seed,)


def _next(cfg: DictConfig, seed: int) -> int:
    seeds = list(cfg.seeds)
    return seeds[(seeds.index(seed) + 1) % len(seeds)]  # after the last the first


def refuse_missing_sources(cfg: DictConfig) -> None:
    """Refuse a checkpoint that is not there, for any seed, before anything large is imported.

    Raises:
        UserError: names it.
    """
    hparams = cfg.hparams
    for seed in cfg.seeds:
        fine, coarse, whole = hparams.model_path_fine, hparams.model_path_coarse, hparams.model_path
        named = {"fine": fine, "coarse": coarse if hparams.macro_arch == "bilateral" else None}
        if hparams.macro_arch == "ensemble":
            named = {f"member{i}": path for i, path in enumerate(fine)}
        elif whole is not None:
            named = {"network": whole}
        refuse_missing({part: at_seed(path, cfg, seed) for part, path in named.items() if path})
