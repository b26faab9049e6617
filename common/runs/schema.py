"""The config keys that both experiment folders share. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import MISSING, DictConfig, OmegaConf

from common.data import prepared  # noqa: F401 - defines what dataset=folders refers to
from common.runs.per_seed import PER_SEED, check_own_sets
from common.settings.levels import LEVELS
from common.settings.schema import ALWAYS, key
from common.system.errors import UserError, shown
from common.training.acceleration import AUTO, GRAPHING_MODES, PLAIN_MODES
from common.training.loss_table import LOSSES

C = TypeVar("C", bound=type)

COMPILE_MODES = (AUTO, None, *PLAIN_MODES, *GRAPHING_MODES)
CUDA_GRAPH = (AUTO, True, False)
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
OPTIMIZERS = ("sgd", "adam", "adamw", "muon")
CLASS_WEIGHTS = (None, "balanced")
SCHEDULES = ("one_cycle", "constant")
SPLIT_SEEDS = f"an integer at least 0, {PER_SEED} or null"
# What chooses the best epoch, and in which direction it is better.
MONITORS = {"val_accuracy": "max", "val_loss": "min"}


@dataclass
class Epochs:
    """Epochs that suit a data set, for recipes that leave them to it."""

    single: int = key(MISSING, "epochs of networks with one head; recipe=fast takes them", low=1)
    dual: int = key(MISSING, "epochs of networks with two heads; recipe=fast takes them", low=1)


@dataclass
class Fast:
    """What recipe=fast takes from a data set: found on its validation images, or else what suits small sets."""

    optimizer: str = key("adam", "optimiser that suits the data set", choices=OPTIMIZERS)
    lr: float = key(5e-3, "learning rate, of networks with one head", above=0, high=1e3)
    weight_decay: float = key(5e-4, "weight decay, likewise", low=0, high=1e3)
    label_smoothing: float = key(0.1, "label smoothing, likewise", low=0, high=0.99)
    heads_dropout: float = key(
        0.2, "dropout of the features before heads on frozen hemispheres", low=0, high=0.99
    )


@dataclass
class Dataset:
    """Where the labelled images lie and how they are shown to a network.

    A digest of the images themselves shapes a result, not where they lie.
    """

    name: str = key(
        MISSING, "name of the data set, part of the names of experiments", shapes_result=False
    )
    root: str = key(
        MISSING,
        "folder of the data set, which holds index.csv and hierarchy.yaml; data_scripts/prepare_folders.py makes it of "
        "your own pictures",
        path=True,
        shapes_result=False,
    )
    root_per_seed: bool = key(
        False,
        "each seed has a data set of its own, the same for all its arms: that of seed 0 lies in <root>-seed0",
        shapes_result=False,
    )
    train_dir: str = key(
        "${dataset.root}/train/${tree:${hparams.mode}}",
        "folder of labelled training images; by default train/fine or train/coarse of the root, as hparams.mode says",
        path=True,
        shapes_result=False,
    )
    val_dir: str | None = key(
        None,
        "folder of labelled validation images; null: the held-out tenth of the training images",
        path=True,
        shapes_result=False,
    )
    test_dir: str = key(
        "${dataset.root}/test/${tree:${hparams.mode}}",
        "folder of labelled test images; by default test/fine or test/coarse of the root, as hparams.mode says",
        path=True,
        shapes_result=False,
    )
    raw_data_dir: str | None = key(
        None,
        "folder of raw files, from which networks with two heads take coarse labels; null: index.csv",
        path=True,
        shapes_result=False,
    )
    split_seed: Any = key(
        None,
        "seed that draws another held-out tenth; per_seed: each run's own seed does, for all its arms; null: the tenth "
        "in index.csv",
        words=SPLIT_SEEDS,
        shapes_result=False,
    )
    crop_padding: int = key(
        MISSING,
        "pixels around an image before a random crop of its own size; 0: no crop",
        low=0,
        high=1024,
    )
    flip: bool = key(MISSING, "mirror each training image with probability one half")
    crop_scale: float = key(
        1.0,
        "random resized crop: a part of at least this share of an image's area is enlarged to its size; 1: none",
        above=0,
        high=1,
    )
    memory_gb: float = key(
        8.0,
        "limit in GiB for decoded images in memory; larger sets stay on disk and are decoded at each step",
        above=0,
        shapes_result=False,
    )
    device_gb: float = key(
        4.0,
        "limit in GiB for images that lie on the GPU, where there is one; larger sets stay in memory, and each batch "
        "is copied",
        low=0,
        shapes_result=False,
    )
    width: float = key(
        MISSING, "default of the width keys of hparams", above=0, high=16, shapes_result=False
    )
    batch_size: int = key(
        MISSING,
        "batch size that suits the data set; recipe=fast takes it",
        low=1,
        shapes_result=False,
    )
    epochs: Epochs = field(default_factory=Epochs)
    fast: Fast = field(default_factory=Fast)


@dataclass
class RecipeValues:
    """How one folder's network is trained."""

    optimizer: str = key(MISSING, "default of hparams.optimizer", choices=OPTIMIZERS)
    lr: float = key(MISSING, "default of hparams.lr", above=0, high=1e3)
    momentum: float = key(MISSING, "default of hparams.momentum", low=0, high=0.9999)
    weight_decay: float = key(MISSING, "default of hparams.weight_decay", low=0, high=1e3)
    schedule: str = key(MISSING, "default of hparams.schedule", choices=SCHEDULES)
    warmup: float = key(MISSING, "default of hparams.warmup", above=0, high=0.99)
    label_smoothing: float = key(MISSING, "default of hparams.label_smoothing", low=0, high=0.99)
    dropout: float = key(MISSING, "default of hparams.dropout", low=0, high=0.99)
    batch_size: int = key(MISSING, "default of hparams.batch_size", low=1)
    max_epochs: int | None = key(MISSING, "default of trainer_params.max_epochs", low=1)


@dataclass
class Recipe:
    """Optimiser, schedule, epochs and regularisation, for both folders."""

    heads_epochs: int = key(
        "${recipe.dual.max_epochs}",
        "epochs of heads on frozen hemispheres, also where dual.max_epochs is of another network",
        low=1,
    )
    single: RecipeValues = field(default_factory=RecipeValues)
    dual: RecipeValues = field(default_factory=RecipeValues)


@dataclass
class TrainingKeys:
    """How a network is trained; PART stands for the part of the recipe that a value comes from."""

    optimizer: str = key(
        "${recipe.PART.optimizer}",
        "optimiser of training; muon: orthogonal steps of hemispheres' convolutions, linear layers and attention, and "
        "adamw for all else",
        choices=OPTIMIZERS,
    )
    lr: float = key(
        "${recipe.PART.lr}",
        "learning rate; with schedule=one_cycle its highest value",
        above=0,
        high=1e3,
    )
    momentum: float = key(
        "${recipe.PART.momentum}",
        "Nesterov momentum of sgd and muon; other optimisers ignore it",
        low=0,
        high=0.9999,
    )
    weight_decay: float = key(
        "${recipe.PART.weight_decay}", "weight decay of the optimiser", low=0, high=1e3
    )
    schedule: str = key(
        "${recipe.PART.schedule}", "schedule of the learning rate", choices=SCHEDULES
    )
    warmup: float = key(
        "${recipe.PART.warmup}",
        "share of all steps during which the rate of one_cycle rises",
        above=0,
        high=0.99,
    )
    label_smoothing: float = key(
        "${recipe.PART.label_smoothing}",
        "label smoothing of the training loss; 0: none; loss=soft_hierarchy, whose labels are soft, ignores it",
        low=0,
        high=0.99,
    )
    dropout: float = key(
        "${recipe.PART.dropout}",
        "probability of dropping a feature before each head",
        low=0,
        high=0.99,
    )
    batch_size: int = key(
        "${recipe.PART.batch_size}", "images in a training step, in all processes together", low=1
    )
    num_workers: int | None = key(
        None,
        "processes that decode images, where the set does not fit in memory (dataset.memory_gb); null: one per thread "
        "of PyTorch; 0: none, threads decode",
        low=0,
        high=256,
        shapes_result=False,
    )
    compile: str | None = key(
        AUTO,
        "mode of torch.compile during training; auto: default on a GPU where the steps to come pay for it, not with "
        "deterministic=true; null: do not compile",
        choices=COMPILE_MODES,
    )
    cuda_graph: Any = key(
        AUTO,
        "on a GPU, record the training step once and replay it; auto: where one device trains and replaying gives "
        "what the plain step gives",
        choices=CUDA_GRAPH,
    )
    loss: str = key(
        "cross_entropy", "what is minimised, of features, logits and labels", choices=LOSSES
    )
    hierarchy_beta: float = key(
        10.0,
        "how hard the labels of loss=soft_hierarchy are: a class at the distance d of the tree (0 to 1) weighs "
        "exp(-hierarchy_beta * d)",
        above=0,
        high=1000,
        of_loss=True,
    )
    class_weights: str | None = key(
        None,
        "balanced: in training, an image counts in inverse proportion to the training images of its class, at each "
        "level; null: all count alike",
        choices=CLASS_WEIGHTS,
    )


def training_keys(part: str) -> Callable[[C], C]:
    """Add `TrainingKeys` to the schema of a folder's hparams, before it becomes a dataclass.

    Args:
        part: the part of the recipe that their values come from, single or dual.
    """

    def add(schema: C) -> C:
        for item in fields(TrainingKeys):
            value: Any = item.default
            value = value.replace("PART", part) if isinstance(value, str) else value
            schema.__annotations__[item.name] = item.type
            setattr(schema, item.name, field(default=value, metadata=item.metadata))
        return schema

    return add


@dataclass
class TrainerParams:
    """The arguments of Lightning's Trainer that a person may set."""

    max_epochs: int | None = key(MISSING, "epochs of training", low=1)
    accelerator: str = key(
        "auto",
        "device to train on, as in Lightning's Trainer",
        choices=("auto", "cpu", "gpu", "cuda", "mps"),
        shapes_result=False,
    )
    devices: Any = key(
        1,
        "processes on each machine that train one network together",
        words="an integer at least 1, or what else Lightning's Trainer takes",
        shapes_result=False,
    )
    num_nodes: int = key(1, "machines that train one network together", low=1, shapes_result=False)
    # Those of Lightning that start processes themselves lose what the first one holds.
    strategy: str = key(
        "auto",
        "how several processes train one network",
        choices=("auto", "ddp"),
        shapes_result=False,
    )
    precision: str = key(
        "auto",
        "number format of training; auto: bf16-mixed where the hardware has it, else 32-true",
        choices=PRECISIONS,
        neutral=ALWAYS,
    )
    deterministic: bool = key(
        False, "bit-identical results on a GPU too, at a lower speed", neutral=ALWAYS
    )
    gradient_clip_val: float | None = key(
        None, "limit of the gradient's norm; null: no limit", above=0, neutral=ALWAYS
    )
    # An int counts batches, a float is a share of them.
    limit_train_batches: Any = key(
        1.0,
        "training batches of an epoch: their number (10) or their share (0.1)",
        above=0,
        neutral=ALWAYS,
    )
    limit_val_batches: Any = key(
        1.0, "validation batches: their number (10) or their share (0.1)", above=0, neutral=ALWAYS
    )
    limit_test_batches: Any = key(
        1.0, "test batches: their number (10) or their share (0.1)", above=0, neutral=ALWAYS
    )
    log_every_n_steps: int = key(
        50, "steps from one logged training loss to the next", low=1, shapes_result=False
    )
    enable_progress_bar: bool = key(
        True, "show a progress bar on a terminal, a line per epoch elsewhere", shapes_result=False
    )


@dataclass
class SingleTrainerParams(TrainerParams):
    """TrainerParams whose epochs come from the recipe's ``single`` part."""

    max_epochs: int = key("${recipe.single.max_epochs}", "epochs of training", low=1)


@dataclass
class DualTrainerParams(TrainerParams):
    """TrainerParams whose epochs come from the recipe's ``dual`` part."""

    max_epochs: int | None = key(
        "${recipe.dual.max_epochs}",
        "epochs of training; null: as many as give the network the training operations of the bilateral one "
        "(bilateral_epochs)",
        low=1,
    )


@dataclass
class CkptCallback:
    """Which epoch's weights are the best ones."""

    monitor: str = key(
        "val_accuracy",
        "what chooses the best epoch: val_accuracy (mean over levels) or val_loss",
        choices=tuple(MONITORS),
        neutral=ALWAYS,
    )
    mode: str = key(
        "max",
        "direction of the best epoch: max for val_accuracy, min for val_loss",
        choices=("max", "min"),
        neutral=ALWAYS,
    )
    select: str = key(
        "best",
        "which epoch's weights are tested: best: as monitor says; last: those of the last epoch, so that nothing is "
        "chosen",
        choices=("best", "last"),
    )
    save_top_k: int = key(
        1,
        "number of best epochs whose checkpoints are kept; if above 1, as top*.ckpt beside best.ckpt",
        low=1,
        high=1000,
    )


@dataclass
class Loggers:
    """Where metrics are written."""

    tensorboard: bool = key(True, "write TensorBoard events", shapes_result=False)
    csv: bool = key(True, "write metrics.csv", shapes_result=False)
    other: Any = key(
        None,
        "another logger of Lightning beside these: its class as _target_, and its arguments",
        words="a section with _target_, or null",
        open=True,
        shapes_result=False,
    )


@dataclass
class RunKeys:
    """What every trainer.py reads, beside hparams and trainer_params."""

    exp_name: str = key(
        MISSING, "name of the experiment and of its folder in save_dir", shapes_result=False
    )
    save_dir: str = key("../runs", "folder for experiments", path=True, shapes_result=False)
    seeds: list[int] = key([0], "list of seeds; each gives one run", shapes_result=False)
    evaluate: bool = key(True, "test the best checkpoint after training", shapes_result=False)
    note: str = key(
        "", "a sentence of yours, kept with the run and shown in its report", shapes_result=False
    )
    fresh: bool = key(
        False,
        "leave an earlier experiment of this name alone and write to <exp_name>-2, -3, ...",
        shapes_result=False,
    )
    dataset: Dataset = field(default_factory=Dataset)
    recipe: Recipe = field(default_factory=Recipe)
    ckpt_callback: CkptCallback = field(default_factory=CkptCallback)
    logger: Loggers = field(default_factory=Loggers)

    @staticmethod
    def check(cfg: DictConfig) -> None:
        """Refuse values that contradict each other.

        Raises:
            UserError: names the keys and what is allowed.
        """
        monitor, mode = cfg.ckpt_callback.monitor, cfg.ckpt_callback.mode
        if mode != MONITORS[monitor]:
            raise UserError(
                f"ckpt_callback.mode={mode} with ckpt_callback.monitor={monitor} would choose the worst "
                f"epoch; use {MONITORS[monitor]}."
            )
        if cfg.ckpt_callback.select == "last" and cfg.ckpt_callback.save_top_k > 1:
            raise UserError(
                f"ckpt_callback.select=last keeps one epoch, but ckpt_callback.save_top_k is "
                f"{cfg.ckpt_callback.save_top_k}; allowed: 1."
            )
        other = cfg.logger.other
        if other is not None and not (isinstance(other, DictConfig) and "_target_" in other):
            raise UserError(
                f"logger.other is {shown(other)}; allowed: null, or a section whose _target_ names a logger of "
                "Lightning, as in common/config/logger/wandb.yaml."
            )
        split = cfg.dataset.split_seed
        if split not in (None, PER_SEED) and (type(split) is not int or split < 0):
            raise UserError(f"dataset.split_seed is {shown(split)}; allowed: {SPLIT_SEEDS}.")
        if split is not None and cfg.dataset.val_dir is not None:
            raise UserError(
                f"dataset.split_seed={split} draws validation images from the training images, but dataset.val_dir "
                f"(also set by study=paper) names others, {cfg.dataset.val_dir}: drop one."
            )
        check_own_sets(cfg.dataset)
        for name in ("train_dir", "val_dir", "test_dir"):
            _check_level(name, cfg.dataset[name], cfg.hparams.mode)


def _check_level(name: str, folder: str | None, mode: str) -> None:
    """Refuse a folder whose name says that its labels are of another level than the network's."""
    level = Path(folder).name if folder else None
    if mode == "both" and level == "coarse":
        raise UserError(
            f"dataset.{name}: {folder} holds coarse labels; two heads take the fine folder and find coarse ones."
        )
    if folder and mode in LEVELS and level in LEVELS and level != mode:
        raise UserError(
            f"dataset.{name}: {folder} holds {level} labels, but hparams.mode is {mode}; "
            f"'dataset.{name}=\"{Path(folder).parent}/${{tree:${{hparams.mode}}}}\"' follows the mode."
        )


def _tree(mode: str) -> str:
    """The folder of labelled images that a mode reads: coarse for coarse, else fine."""
    return "coarse" if mode == "coarse" else "fine"


OmegaConf.register_new_resolver("tree", _tree, replace=True)
