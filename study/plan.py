"""The plan of a study: its stages (an arm with a seed), each with its configuration and with what it builds on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from arch_dual_head.schema import DualConfig
from common.data.hierarchy import has_independent_labels
from common.results.rows import seed_files
from common.runs.free_name import free_name
from common.runs.per_seed import for_seed, own_images, refuse_unlike_sets
from common.settings.checks import plain_value
from common.settings.levels import LEVELS
from common.settings.schema import keys_of
from common.settings.suggestions import closest
from common.system.atomic_files import read_mapping
from common.system.errors import UserError
from study.arms import ARMS, CONNECTS, PARTS, REFERENCE, SIZES, STUDIES, TRAINED_LIKE
from study.choice import chosen_arms, chosen_seeds, ordered
from study.configurations import configurations
from study.overrides import FOLDERS
from study.trained_models import refuse_mixed, trained_models

if TYPE_CHECKING:
    from common.runs.description import Stage


def plan(cfg: DictConfig, overrides: Sequence[str]) -> list[Stage]:
    """Give the study's stages, each after those it builds on.

    Args:
        cfg: the study's own keys.
        overrides: its command line, handed on to the two folders' configurations.

    Raises:
        UserError: keys that contradict each other, or what the folders' own commands would refuse.
    """
    refuse_impossible_rows()
    seeds = chosen_seeds(cfg)
    trained = trained_models(cfg, seeds)
    arms = [arm for arm in chosen_arms(cfg, len(seeds)) if arm not in trained]
    if not arms:
        raise UserError(
            "trained_models with arms=[fine,coarse] or no_bilateral=true leaves nothing to train."
        )
    configs = _of_one_seed(configurations(arms, cfg, overrides, seeds, trained))
    for config in configs.values():
        refuse_unlike_sets(config.dataset, seeds)
    # Those of seeds with images of their own are of as many configurations.
    if not any(own_images(config.dataset) for config in configs.values()):
        refuse_mixed(trained)
    configs = _of_independent_labels(configs, seeds)
    if not configs:
        raise UserError(
            f"{', '.join(arms)} cannot be run on this data set, and arms names no others: add one, as {REFERENCE}."
        )
    _name(cfg, configs)
    _refuse_other_epochs(configs)
    stages: dict[tuple[str, int], Stage] = {}
    for arm, number in ordered(list(configs), len(seeds)):
        stages[arm, number] = _stage(arm, number, seeds, configs[arm], stages, trained)
    return list(stages.values())


def refuse_impossible_rows() -> None:
    """Refuse a row of study/arms.py that names what is not there: it would be another arm than it says.

    Raises:
        UserError: names the arm, its field and what is allowed.
    """
    hparams = [name for name, key in keys_of(DualConfig).items() if key.metadata["path"]]
    paths = [name.removeprefix("hparams.") for name in hparams if name.startswith("hparams.")]
    above: list[str] = []
    for arm, row in ARMS.items():
        dual = row.folder == "dual"
        fields: list[tuple[str, Collection, Sequence]] = [
            ("folder", [row.folder], [*FOLDERS]),
            ("trained_like", [row.trained_like], [*TRAINED_LIKE, None]),
            ("study", [row.study], [*STUDIES, ""]),
            ("callosum", [row.callosum], [CONNECTS, SIZES, ""]),
            ("specialities", row.specialities, LEVELS),
            ("the number of specialities", [len(row.specialities)], [2 if dual else 1]),
            ("a key of loads", row.loads, paths if dual else []),
            ("an arm in loads", sorted(row.needs), above),
        ]
        for field, given, allowed in fields:
            for value in (value for value in given if value not in allowed):
                near = closest(str(value), map(str, allowed))
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                which = "an arm further up" if allowed is above else ", ".join(map(repr, allowed))
                raise UserError(
                    f"study/arms.py: {field} of {arm} is {value!r}; allowed: {which or 'none'}{hint}."
                )
        above.append(arm)


def _of_one_seed(configs: dict[str, DictConfig]) -> dict[str, DictConfig]:
    """Leave out arms whose networks would have been trained on other images each, and say so."""
    found = {}
    for arm, config in configs.items():
        own = own_images(config.dataset)
        if own and ARMS[arm].mixes > 1:
            print(f"{arm} is left out: it mixes seeds, and {own} gives each other images.")
        else:
            found[arm] = config
    return found


def _of_independent_labels(
    configs: dict[str, DictConfig], seeds: Sequence[int]
) -> dict[str, DictConfig]:
    """Leave out arms that need a tree of classes where the data set has two independent labels, and say so."""
    found = {}
    for arm, config in configs.items():
        dataset = for_seed(config.dataset, seeds[0])
        if ARMS[arm].tree and has_independent_labels(Path(dataset.train_dir)):
            print(
                f"{arm} is left out: it needs the coarse class of each fine class, and the labels of "
                f"{config.dataset.name} are independent (nested: false)."
            )
        else:
            found[arm] = config
    return found


def _name(cfg: DictConfig, configs: Mapping[str, DictConfig]) -> None:
    """Give all configurations the study's name and place."""
    dataset = next(iter(configs.values())).dataset.name
    study = {"sound": "study", "asymmetry": f"asymmetry_{cfg.asymmetry}"}.get(cfg.study, cfg.study)
    name = f"{study}-{dataset}"
    place = OmegaConf.create(
        {"exp_name": cfg.exp_name or name, "save_dir": cfg.save_dir, "fresh": cfg.fresh}
    )
    place.exp_name = free_name(place)
    for config in configs.values():
        config.merge_with(place)


def _refuse_other_epochs(configs: Mapping[str, DictConfig]) -> None:
    """Refuse arms that would be trained as much as parts of a study that were trained longer, or less, before.

    Those whose number of epochs is given are said to equal nothing.
    """
    equal = {
        arm: config
        for arm, config in configs.items()
        if ARMS[arm].equal_training and config.trainer_params.max_epochs is None
    }
    if not equal:
        return
    first = next(iter(equal.values()))
    experiment = Path(first.save_dir) / first.exp_name
    for part, trained in PARTS.items():
        # One of its seeds is enough, for fingerprints hold them together.
        for file in seed_files(experiment / trained, "result.yaml")[:1]:
            there = read_mapping(file.with_name("config.yaml"))
            epochs = plain_value(there, "trainer_params.max_epochs")
            for arm, config in equal.items():
                if epochs != config.bilateral_epochs[part]:
                    raise UserError(
                        f"{arm} is to be trained as much as the {REFERENCE} network of {file.parent}, which had "
                        f"{epochs} epochs there and has {config.bilateral_epochs[part]} by this command: give the same "
                        f"epochs, epochs.{ARMS[arm].alias or arm}=N, or another exp_name."
                    )


def _stage(
    arm: str,
    number: int,
    seeds: list[int],
    config: DictConfig,
    stages: Mapping[tuple[str, int], Stage],
    trained: Mapping[str, list[str]],
) -> Stage:
    """Describe one stage.

    Args:
        arm: its name.
        number: the place of its seed in ``seeds``.
        seeds: of the study.
        config: its arm's.
        stages: those before it, by arm and number.
        trained: checkpoints, one per seed, of arms that are not trained.
    """
    from arch_dual_head.checks import check
    from common.runs.description import Stage

    row = ARMS[arm]
    needs: list[str] = []
    if row.folder == "dual":
        config = config.copy()
        for key, taken in row.loads.items():
            paths = []
            for source, ahead in taken:
                other = (number + ahead) % len(seeds)
                if source in trained:
                    paths.append(trained[source][other])
                else:
                    parent = stages[source, other]
                    paths.append(str(parent.best))
                    needs.append(parent.name)
            config.hparams[key] = paths if len(taken) > 1 else paths[0]
        check(config)
    mixed = [seeds[(number + ahead) % len(seeds)] for ahead in range(row.mixes)]
    return Stage(
        arm=arm,
        seed=seeds[number],
        folder=FOLDERS[row.folder][0].name,
        config=config,
        needs=tuple(needs),
        seeds=tuple(mixed) if row.folder == "dual" else (),
        alike=len(seeds),
    )
