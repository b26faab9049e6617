"""Every config key: its type, its default and what is allowed. Imports no torch, so that --help answers at once.

A default such as ``${recipe.single.lr}`` names the group that owns the key; an uncommented value in a
config.yaml or on the command line takes its place.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, OmegaConf

from common.settings.levels import LEVELS

ARCHS = (
    "resnet9",
    "resnet18",
    "resnet34",
    "resnet50",
    "vgg11",
    "vgg11_bn",
    "sparse_resnet9",
    "inverted_resnet9",
)
# Before the name of any classification model of torchvision, which is known only where torch is imported.
TORCHVISION = "torchvision:"
MACRO_ARCHS = ("bilateral", "unilateral", "unilateral_wide", "ensemble")
# A hemisphere's parameters: their name with one hemisphere, and with two for the fine and the coarse one.
HEMISPHERE = {
    "arch": ("farch", "carch"),
    "width": ("fine_width", "coarse_width"),
    "k": ("fine_k", "coarse_k"),
    "per_k": ("fine_per_k", "coarse_per_k"),
    "plasticity": ("fine_plasticity", "coarse_plasticity"),
    "low_pass": ("fine_low_pass", "coarse_low_pass"),
    "high_pass": ("fine_high_pass", "coarse_high_pass"),
    "residual": ("fine_residual", "coarse_residual"),
}
ARMS = (
    "fine",
    "coarse",
    "bilateral",
    "bilateral_finetuned",
    "bilateral_nonspecialised",
    "bilateral_swapped",
    "unilateral",
    "unilateral_wide",
    "ensemble",
)
DEFAULT_ARMS = ("fine", "coarse", "bilateral")
COMPILE_MODES = (None, "default", "reduce-overhead", "max-autotune")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


def key(
    default: Any,
    *,
    choices: tuple[Any, ...] | None = None,
    above: float | None = None,
    low: float | None = None,
    high: float | None = None,
    path: bool = False,
    prefix: str | None = None,
) -> Any:
    """A config key with what is allowed: one of ``choices``, or a range (``above`` excludes its bound).

    ``path`` marks a file or folder: see `common.settings.compose` for what it is relative to. With ``prefix``, any
    name after it is allowed too.
    """
    bounds = {"above": above, "low": low, "high": high}
    metadata = {"choices": choices, "prefix": prefix, "path": path, **bounds}
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
    memory_gb: float = key(8.0, above=0)
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
    arch: str = key("resnet9", choices=ARCHS, prefix=TORCHVISION)
    width: float = key("${dataset.width}", above=0, high=16)
    k: float | None = key(None, above=0, high=1)
    per_k: float | None = key(None, above=0, high=1)
    plasticity: float = key(1.0, above=0, high=1000)
    low_pass: float | None = key(None, low=1, high=1e4)
    high_pass: float | None = key(None, above=0, high=1e4)
    residual: bool = True
    optimizer: str = key("${recipe.single.optimizer}", choices=("sgd", "adam", "adamw"))
    lr: float = key("${recipe.single.lr}", above=0, high=1e3)
    momentum: float = key("${recipe.single.momentum}", low=0, high=0.9999)
    weight_decay: float = key("${recipe.single.weight_decay}", low=0, high=1e3)
    schedule: str = key("${recipe.single.schedule}", choices=("one_cycle", "constant"))
    warmup: float = key("${recipe.single.warmup}", above=0, high=0.99)
    label_smoothing: float = key("${recipe.single.label_smoothing}", low=0, high=0.99)
    dropout: float = key("${recipe.single.dropout}", low=0, high=0.99)
    batch_size: int = key("${recipe.single.batch_size}", low=1)
    num_workers: int | None = key(None, low=0, high=256)
    compile: str | None = key(None, choices=COMPILE_MODES)


@dataclass
class DualHparams:
    """One or two hemispheres, two heads."""

    mode: str = key("both", choices=("both", "feature"))
    macro_arch: str = key("bilateral", choices=MACRO_ARCHS)
    farch: str = key("resnet9", choices=ARCHS, prefix=TORCHVISION)
    carch: str = key("resnet9", choices=ARCHS, prefix=TORCHVISION)
    fine_width: float = key("${dataset.width}", above=0, high=16)
    coarse_width: float = key("${dataset.width}", above=0, high=16)
    fine_k: float | None = key(None, above=0, high=1)
    fine_per_k: float | None = key(None, above=0, high=1)
    fine_plasticity: float = key(1.0, above=0, high=1000)
    fine_low_pass: float | None = key(None, low=1, high=1e4)
    fine_high_pass: float | None = key(None, above=0, high=1e4)
    fine_residual: bool = True
    coarse_k: float | None = key(None, above=0, high=1)
    coarse_per_k: float | None = key(None, above=0, high=1)
    coarse_plasticity: float = key(1.0, above=0, high=1000)
    coarse_low_pass: float | None = key(None, low=1, high=1e4)
    coarse_high_pass: float | None = key(None, above=0, high=1e4)
    coarse_residual: bool = True
    ffreeze: bool = True
    cfreeze: bool = True
    # A path, or a list of paths for an ensemble, or null.
    model_path_fine: Any = key(None, path=True)
    model_path_coarse: Any = key(None, path=True)
    fine_speciality: str = key("fine", choices=LEVELS)
    coarse_speciality: str = key("coarse", choices=LEVELS)
    model_path: str | None = key(None, path=True)
    optimizer: str = key("${recipe.dual.optimizer}", choices=("sgd", "adam", "adamw"))
    lr: float = key("${recipe.dual.lr}", above=0, high=1e3)
    momentum: float = key("${recipe.dual.momentum}", low=0, high=0.9999)
    weight_decay: float = key("${recipe.dual.weight_decay}", low=0, high=1e3)
    schedule: str = key("${recipe.dual.schedule}", choices=("one_cycle", "constant"))
    warmup: float = key("${recipe.dual.warmup}", above=0, high=0.99)
    label_smoothing: float = key("${recipe.dual.label_smoothing}", low=0, high=0.99)
    dropout: float = key("${recipe.dual.dropout}", low=0, high=0.99)
    batch_size: int = key("${recipe.dual.batch_size}", low=1)
    num_workers: int | None = key(None, low=0, high=256)
    compile: str | None = key(None, choices=COMPILE_MODES)


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

    arm: str = "${hparams.macro_arch}"
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
class PredictConfig:
    """predict.py: what a trained network makes of pictures."""

    checkpoint: str = key(MISSING, path=True)
    # A path or a list of paths, each of a picture or of a folder of them.
    image: Any = key(MISSING, path=True)
    # false, true, or a file.
    json: Any = key(False, path=True)
    cam: str | None = key(None, path=True)


@dataclass
class ExportConfig:
    """export.py: a trained network for programs that know nothing of this project."""

    checkpoint: str = key(MISSING, path=True)
    format: str = key("onnx", choices=("onnx", "torch"))
    output: str | None = key(None, path=True)


@dataclass
class AnalyseConfig:
    """analyse.py: everything about the study comes out of its folder."""

    run: str = key(MISSING, path=True)


@dataclass
class StudyEpochs:
    """Epochs of each arm that is trained; null leaves them to the recipe."""

    fine: int | None = key(None, low=1)
    coarse: int | None = key(None, low=1)
    bilateral: int | None = key(None, low=1)
    bilateral_finetuned: int | None = key(None, low=1)
    bilateral_nonspecialised: int | None = key(None, low=1)
    bilateral_swapped: int | None = key(None, low=1)
    unilateral: int | None = key(None, low=1)
    unilateral_wide: int | None = key(None, low=1)


@dataclass
class StudyKeys:
    """What train_system.py itself reads."""

    study: str = key("sound", choices=("sound", "paper"))
    # A list of arms, or all.
    arms: Any = key(list(DEFAULT_ARMS))
    exp_name: str | None = None
    save_dir: str = key("runs", path=True)
    num_seeds: int | None = key(None, low=1, high=10_000)
    seeds: list[int] | None = None
    arch: str | None = key(None, choices=(None, *ARCHS), prefix=TORCHVISION)
    farch: str | None = key(None, choices=(None, *ARCHS), prefix=TORCHVISION)
    carch: str | None = key(None, choices=(None, *ARCHS), prefix=TORCHVISION)
    epochs: StudyEpochs = field(default_factory=StudyEpochs)
    no_bilateral: bool = False
    trained_models: str | None = key(None, path=True)
    engine: str = key("serial", choices=("serial", "ray"))
    stages_per_gpu: int = key(1, low=1, high=100)
    ray_address: str | None = None
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


def setting(parameter: str, value: str) -> str:
    """How to give a hemisphere's parameter, for errors of networks that do not know which side they are."""
    fine, coarse = HEMISPHERE[parameter]
    return f"hparams.{parameter}={value} (with two hemispheres hparams.{fine} or hparams.{coarse})"


def _tree(mode: str) -> str:
    """The folder of labelled images that a mode reads: coarse for coarse, else fine."""
    return "coarse" if mode == "coarse" else "fine"


OmegaConf.register_new_resolver("tree", _tree, replace=True)
