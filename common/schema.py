"""Every config key: its type, its default and what is allowed. Imports no torch, so that --help answers at once.

A default such as ``${recipe.single.lr}`` names the group that owns the key; an uncommented value in a
config.yaml or on the command line takes its place.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, OmegaConf

LEVELS = ("fine", "coarse")
ARCHS = ("resnet9", "resnet18", "resnet34", "resnet50", "vgg11")
MACRO_ARCHS = ("bilateral", "unilateral", "ensemble")
# A hemisphere's parameters: their name with one hemisphere, and with two for the fine and the coarse one.
HEMISPHERE = {"arch": ("farch", "carch"), "width": ("fine_width", "coarse_width")}
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


def key(
    default: Any,
    *,
    choices: tuple[Any, ...] | None = None,
    above: float | None = None,
    low: float | None = None,
    high: float | None = None,
    path: bool = False,
) -> Any:
    """A config key with what is allowed: one of ``choices``, or a range (``above`` excludes its bound).

    ``path`` marks a file or folder: see `common.configuration` for what it is relative to.
    """
    metadata = {"choices": choices, "above": above, "low": low, "high": high, "path": path}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Epochs:
    """Epochs that suit a data set, for recipes that leave them to it."""

    single: int = key(MISSING, low=1)
    dual: int = key(MISSING, low=1)


@dataclass
class Dataset:
    """Where the labelled images lie and how they are shown to a network."""

    name: str = MISSING
    root: str = key(MISSING, path=True)
    train_dir: str = key("${dataset.root}/train/${tree:${hparams.mode}}", path=True)
    val_dir: str | None = key(None, path=True)
    test_dir: str = key("${dataset.root}/test/${tree:${hparams.mode}}", path=True)
    raw_data_dir: str | None = key(None, path=True)
    split_seed: int | None = key(None, low=0)
    crop_padding: int = key(MISSING, low=0, high=1024)
    flip: bool = MISSING
    width: float = key(MISSING, above=0, high=16)
    batch_size: int = key(MISSING, low=1)
    epochs: Epochs = field(default_factory=Epochs)


@dataclass
class RecipeValues:
    """How one folder's network is trained."""

    optimizer: str = key(MISSING, choices=("sgd", "adam", "adamw"))
    lr: float = key(MISSING, above=0, high=1e3)
    momentum: float = key(MISSING, low=0, high=0.9999)
    weight_decay: float = key(MISSING, low=0, high=1e3)
    schedule: str = key(MISSING, choices=("one_cycle", "constant"))
    warmup: float = key(MISSING, above=0, high=0.99)
    label_smoothing: float = key(MISSING, low=0, high=0.99)
    dropout: float = key(MISSING, low=0, high=0.99)
    batch_size: int = key(MISSING, low=1)
    max_epochs: int = key(MISSING, low=1)


@dataclass
class Recipe:
    """Optimiser, schedule, epochs and regularisation, for both folders."""

    single: RecipeValues = field(default_factory=RecipeValues)
    dual: RecipeValues = field(default_factory=RecipeValues)


@dataclass
class SingleHparams:
    """One hemisphere, one head."""

    mode: str = key("fine", choices=(*LEVELS, "feature"))
    arch: str = key("resnet9", choices=ARCHS)
    width: float = key("${dataset.width}", above=0, high=16)
    optimizer: str = key("${recipe.single.optimizer}", choices=("sgd", "adam", "adamw"))
    lr: float = key("${recipe.single.lr}", above=0, high=1e3)
    momentum: float = key("${recipe.single.momentum}", low=0, high=0.9999)
    weight_decay: float = key("${recipe.single.weight_decay}", low=0, high=1e3)
    schedule: str = key("${recipe.single.schedule}", choices=("one_cycle", "constant"))
    warmup: float = key("${recipe.single.warmup}", above=0, high=0.99)
    label_smoothing: float = key("${recipe.single.label_smoothing}", low=0, high=0.99)
    dropout: float = key("${recipe.single.dropout}", low=0, high=0.99)
    batch_size: int = key("${recipe.single.batch_size}", low=1)
    num_workers: int = key(0, low=0, high=256)


@dataclass
class DualHparams:
    """One or two hemispheres, two heads."""

    mode: str = key("both", choices=("both", "feature"))
    macro_arch: str = key("bilateral", choices=MACRO_ARCHS)
    farch: str = key("resnet9", choices=ARCHS)
    carch: str = key("resnet9", choices=ARCHS)
    fine_width: float = key("${dataset.width}", above=0, high=16)
    coarse_width: float = key("${dataset.width}", above=0, high=16)
    ffreeze: bool = True
    cfreeze: bool = True
    # A path, or a list of paths for an ensemble, or null.
    model_path_fine: Any = key(None, path=True)
    model_path_coarse: Any = key(None, path=True)
    optimizer: str = key("${recipe.dual.optimizer}", choices=("sgd", "adam", "adamw"))
    lr: float = key("${recipe.dual.lr}", above=0, high=1e3)
    momentum: float = key("${recipe.dual.momentum}", low=0, high=0.9999)
    weight_decay: float = key("${recipe.dual.weight_decay}", low=0, high=1e3)
    schedule: str = key("${recipe.dual.schedule}", choices=("one_cycle", "constant"))
    warmup: float = key("${recipe.dual.warmup}", above=0, high=0.99)
    label_smoothing: float = key("${recipe.dual.label_smoothing}", low=0, high=0.99)
    dropout: float = key("${recipe.dual.dropout}", low=0, high=0.99)
    batch_size: int = key("${recipe.dual.batch_size}", low=1)
    num_workers: int = key(0, low=0, high=256)


@dataclass
class TrainerParams:
    """The arguments of Lightning's Trainer that a person may set."""

    max_epochs: int = key(MISSING, low=1)
    accelerator: str = key("auto", choices=("auto", "cpu", "gpu", "cuda", "mps"))
    devices: Any = 1
    num_nodes: int = key(1, low=1)
    strategy: str = "auto"
    precision: str = key("auto", choices=PRECISIONS)
    deterministic: bool = False
    gradient_clip_val: float | None = key(None, above=0)
    # An int counts batches, a float is a share of them.
    limit_train_batches: Any = key(1.0, above=0)
    limit_val_batches: Any = key(1.0, above=0)
    limit_test_batches: Any = key(1.0, above=0)
    log_every_n_steps: int = key(50, low=1)
    enable_progress_bar: bool = True


@dataclass
class SingleTrainerParams(TrainerParams):
    """TrainerParams whose epochs come from the recipe's ``single`` part."""

    max_epochs: int = key("${recipe.single.max_epochs}", low=1)


@dataclass
class DualTrainerParams(TrainerParams):
    """TrainerParams whose epochs come from the recipe's ``dual`` part."""

    max_epochs: int = key("${recipe.dual.max_epochs}", low=1)


@dataclass
class CkptCallback:
    """Which epoch's weights are the best ones."""

    monitor: str = key("val_accuracy", choices=("val_accuracy", "val_loss"))
    mode: str = key("max", choices=("max", "min"))
    save_top_k: int = key(1, low=1, high=1000)


@dataclass
class Loggers:
    """Where metrics are written."""

    tensorboard: bool = True
    csv: bool = True


@dataclass
class _Run:
    exp_name: str = MISSING
    save_dir: str = key("../runs", path=True)
    seeds: list[int] = key([0])
    evaluate: bool = True
    fresh: bool = False
    dataset: Dataset = field(default_factory=Dataset)
    recipe: Recipe = field(default_factory=Recipe)
    ckpt_callback: CkptCallback = field(default_factory=CkptCallback)
    logger: Loggers = field(default_factory=Loggers)


@dataclass
class SingleConfig(_Run):
    """arch_single_head/config/config.yaml."""

    hparams: SingleHparams = field(default_factory=SingleHparams)
    trainer_params: SingleTrainerParams = field(default_factory=SingleTrainerParams)


@dataclass
class DualConfig(_Run):
    """arch_dual_head/config/config.yaml."""

    hparams: DualHparams = field(default_factory=DualHparams)
    trainer_params: DualTrainerParams = field(default_factory=DualTrainerParams)


@dataclass
class TestHparams:
    """The one hyper-parameter that a trained network's test may override."""

    mode: str | None = key(None, choices=(None, "feature"))


@dataclass
class TestConfig:
    """test.py: everything about the network comes out of the checkpoint."""

    checkpoint: str = key(MISSING, path=True)
    dataset: Dataset = field(default_factory=Dataset)
    hparams: TestHparams = field(default_factory=TestHparams)


@dataclass
class AnalyseConfig:
    """analyse.py: everything about the study comes out of its folder."""

    run: str = key(MISSING, path=True)


@dataclass
class StudyEpochs:
    """Epochs of each arm; null leaves them to the recipe."""

    fine: int | None = key(None, low=1)
    coarse: int | None = key(None, low=1)
    bilateral: int | None = key(None, low=1)


@dataclass
class StudyKeys:
    """What train_system.py itself reads."""

    exp_name: str | None = None
    save_dir: str = key("runs", path=True)
    num_seeds: int | None = key(None, low=1, high=10_000)
    seeds: list[int] | None = None
    arch: str | None = key(None, choices=(None, *ARCHS))
    farch: str | None = key(None, choices=(None, *ARCHS))
    carch: str | None = key(None, choices=(None, *ARCHS))
    epochs: StudyEpochs = field(default_factory=StudyEpochs)
    no_bilateral: bool = False
    trained_models: str | None = key(None, path=True)
    evaluate: bool = True
    analyse: bool = True
    fresh: bool = False


@dataclass
class StudyHparams(DualHparams, SingleHparams):
    """Hyper-parameters of either folder."""


@dataclass
class StudyConfig(StudyKeys):
    """common/config/train_system.yaml: the study's own keys, and those it hands on to the two folders."""

    dataset: Dataset = field(default_factory=Dataset)
    recipe: Recipe = field(default_factory=Recipe)
    logger: Loggers = field(default_factory=Loggers)
    hparams: StudyHparams = field(default_factory=StudyHparams)
    trainer_params: TrainerParams = field(default_factory=TrainerParams)
    ckpt_callback: CkptCallback = field(default_factory=CkptCallback)
    single: SingleConfig = field(default_factory=SingleConfig)
    dual: DualConfig = field(default_factory=DualConfig)


def _tree(mode: str) -> str:
    """The folder of labelled images that a mode reads: coarse for coarse, else fine."""
    return "coarse" if mode == "coarse" else "fine"


OmegaConf.register_new_resolver("tree", _tree, replace=True)
