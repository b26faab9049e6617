"""The config keys of train_system.py. Imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from omegaconf import MISSING

from arch_dual_head.schema import DualConfig, DualHparams
from arch_single_head.schema import SingleConfig, SingleHparams
from common.networks.backbone_names import TORCHVISION, backbone_names
from common.results.comparison import MARGIN
from common.runs.schema import CkptCallback, Dataset, Loggers, Recipe, TrainerParams
from common.settings.schema import key, keys_of
from study.arms import ARMS, DEFAULT_ARMS, STUDIES, names, trained_names

C = TypeVar("C", bound=type)
ASYMMETRIES = Path(__file__).resolve().parents[1] / "arch_dual_head" / "config"


def asymmetries() -> dict[str, Path]:
    """The files that say how hemispheres differ by nature, by what is behind asymmetry_ in their names."""
    files = sorted(ASYMMETRIES.glob("asymmetry_*.yaml"))
    return {file.stem.removeprefix("asymmetry_"): file for file in files}


def epochs_of_arms(schema: C) -> C:
    """Add a key for each name of a trained arm, before the schema becomes a dataclass."""
    for name in trained_names():
        schema.__annotations__[name] = int | None
        setattr(schema, name, key(None, "epochs of this arm; null: as the recipe says", low=1))
    return schema


@dataclass
@epochs_of_arms
class StudyEpochs:
    """Epochs of each arm that is trained; null leaves them to the recipe."""


@dataclass
class StudyKeys:
    """What train_system.py itself reads."""

    study: str = key(
        "sound",
        "sound: held-out validation images; paper: recipe=paper, best epoch chosen on the test images, as published; "
        "asymmetry: natures of hemispheres crossed with labels; callosum: hemispheres that are connected, and not; "
        "paradigms: a hemisphere trained without labels, and two trained to differ",
        choices=("sound", "paper", *STUDIES),
    )
    asymmetry: str | None = key(
        None,
        "how the hemispheres of study=asymmetry differ by nature, as asymmetry_NAME.yaml in arch_dual_head/config says",
        choices=(None, *asymmetries()),
    )
    arms: Any = key(
        None,
        "arms to run, as docs/tables.md lists them; what an arm builds on is run with it; "
        f"null: {', '.join(DEFAULT_ARMS)}, or all of study=NAME",
        each=("all", *names()),
        words=f"null, all, or a list of {', '.join(names())}",
    )
    exp_name: str | None = key(
        None, "name of the study and of its folder in save_dir; null: study-<name of the data set>"
    )
    save_dir: str = key("runs", "folder for experiments", path=True)
    num_seeds: int | None = key(
        None,
        "number n of seeds, which are 0 to n-1; instead of seeds; null with seeds=null: 5",
        low=1,
        high=10_000,
    )
    seeds: list[int] | None = key(None, "list of seeds, instead of num_seeds")
    arch: str | None = key(
        None,
        "backbone of both hemispheres; null: as in the two folders",
        choices=(None, *backbone_names()),
        prefix=TORCHVISION,
    )
    farch: str | None = key(
        None,
        "backbone of the left hemisphere; null: arch",
        choices=(None, *backbone_names()),
        prefix=TORCHVISION,
    )
    carch: str | None = key(
        None,
        "backbone of the right hemisphere; null: arch",
        choices=(None, *backbone_names()),
        prefix=TORCHVISION,
    )
    epochs: StudyEpochs = field(default_factory=StudyEpochs)
    budget: str = key(
        "compute",
        f"training of {', '.join(arm for arm, row in ARMS.items() if row.equal_training)}: "
        "compute: as many operations as the bilateral network has had, hemispheres included; recipe: the epochs of the "
        "recipe",
        choices=("compute", "recipe"),
    )
    no_bilateral: bool = key(False, "train the hemispheres only")
    trained_models: str | None = key(
        None,
        "YAML file of trained hemispheres to use, fine: [CHECKPOINT, ...] and coarse: [...], one for each seed",
        path=True,
    )
    engine: str = key(
        "serial",
        "serial: one stage after another; ray: as many at once as fit (docs/scaling.md)",
        choices=("serial", "ray"),
    )
    stages_per_gpu: int = key(1, "stages that share a GPU, with engine=ray", low=1, high=100)
    ray_address: str | None = key(
        None, "running Ray cluster, auto or HOST:PORT, with engine=ray; null: this machine"
    )
    margin: float = key(
        MARGIN,
        "difference of accuracy, in percentage points, within which two arms count as the same (docs/statistics.md)",
        above=0,
        high=100,
    )
    evaluate: bool = key(True, "test the best checkpoints after training")
    analyse: bool = key(True, "write analysis/ and report.html afterwards, as analyse.py does")
    fresh: bool = key(
        False, "leave an earlier study of this name alone and write to <exp_name>-2, -3, ..."
    )


@dataclass
class StudyHparams(DualHparams, SingleHparams):
    """Hyper-parameters of either folder."""

    # Whatever its value, study.overrides says why: what one folder allows would be no help.
    mode: str = key(MISSING, "set by each stage")


@dataclass
class StudyConfig(StudyKeys):
    """common/config/train_system.yaml: the study's own keys, and those it hands on to the two folders."""

    # The two folders' configurations fill in what is missing here.
    partial: ClassVar[bool] = True

    note: str = key("", "a sentence of yours, kept with the run and shown in its report")
    dataset: Dataset = field(default_factory=Dataset)
    recipe: Recipe = field(default_factory=Recipe)
    logger: Loggers = field(default_factory=Loggers)
    hparams: StudyHparams = field(default_factory=StudyHparams)
    trainer_params: TrainerParams = field(default_factory=TrainerParams)
    ckpt_callback: CkptCallback = field(default_factory=CkptCallback)
    single: SingleConfig = field(default_factory=SingleConfig)
    dual: DualConfig = field(default_factory=DualConfig)

    @staticmethod
    def open_keys() -> list[str]:
        """What the study hands on: it has no value of its own here, but in the two folders' configurations."""
        return [name for name in keys_of(StudyConfig) if name not in keys_of(StudyKeys)]
