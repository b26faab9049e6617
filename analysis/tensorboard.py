"""TensorBoard events of a finished stage: its final metrics beside its hyper-parameters, a confusion matrix, examples.

Every stage writes the same tags, so arms and seeds stand side by side in the HParams, Scalars and Images tabs.
"""

import io
import os
import socket
import time
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard.summary import hparams, image, scalar

from analysis.networks import FeatureCache
from analysis.sections.agreement import confusion
from analysis.study import FinishedStage
from common.data.image_set import ImageSet
from common.data.images import Undecoded
from common.settings.checks import leaves
from common.settings.levels import LEVELS
from common.system.atomic_files import replacing
from common.system.letters import all_letters
from common.system.randomness import derive
from common.training.module import TrainingModule

SUFFIX = ".analysis"
EXAMPLES = 16
ACROSS = 4  # of them in a row
MAX_CLASSES = 256  # of a confusion matrix: at least one pixel each
MAX_NAMES = 30  # beside its rows and columns


def write_events(
    stage: FinishedStage, module: TrainingModule, caches: FeatureCache, test: ImageSet
) -> None:
    """Write one stage's events into its folder, in place of those of an earlier analysis.

    As one file at once: `SummaryWriter` writes from a thread, which prints a traceback of its own where it cannot.

    Raises:
        OSError: the folder cannot be written; an earlier analysis's events are then still there.
    """
    if not module.cfg.logger.tensorboard:
        return
    stem = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
    file = stage.place / f"{stem}{SUFFIX}"
    with replacing(file) as temporary, all_letters():
        temporary.write_bytes(as_events(summaries(stage, module, caches, test)))
    for earlier in stage.place.glob(f"events.out.tfevents.*{SUFFIX}"):
        if earlier != file:
            earlier.unlink()


def keeps_events(stage: FinishedStage) -> bool:
    """Say whether a stage has TensorBoard events, as its configuration says."""
    logger = stage.yaml("config.yaml").get("logger")
    return bool(logger.get("tensorboard", True)) if isinstance(logger, dict) else True


def summaries(
    stage: FinishedStage, module: TrainingModule, caches: FeatureCache, test: ImageSet
) -> Iterator[Summary]:
    """Give what TensorBoard shows of one stage."""
    metrics = final_metrics(stage)
    yield from hparams(hyper_parameters(stage, module), metrics)
    for tag, value in metrics.items():
        yield scalar(tag, value)
    for level, logits in caches.logits(module).items():
        # Of a pretext task the answers to images as they are say little.
        if level not in LEVELS:
            continue
        labels, predictions = test.labels[level], logits.argmax(1)
        names = module.record.class_names[level]
        if len(names) <= MAX_CLASSES:
            picture = confusion_picture(confusion(predictions, labels, len(names)), names)
            yield image(f"confusion/{level}", picture, dataformats="HWC")
        picture = example_picture(test.images, labels, predictions, names)
        yield image(f"examples/{level}", picture, dataformats="HWC")


def as_events(summaries: Iterator[Summary]) -> bytes:
    """Give the content of a file of events that holds summaries, each without a step."""
    content = io.BytesIO()
    records = RecordWriter(content)
    records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    for summary in summaries:
        records.write(Event(wall_time=time.time(), summary=summary).SerializeToString())
    return content.getvalue()


def hyper_parameters(stage: FinishedStage, module: TrainingModule) -> dict[str, str | float | bool]:
    """Arm, seed and every hyper-parameter that is a number or a word; paths and nulls are left out."""
    plain = module.record.config["hparams"]
    named: dict[str, str | float | bool] = {"arm": stage.arm, "seed": stage.seed}
    return named | {
        name: value
        for name, value in leaves(plain)
        if isinstance(value, str | int | float) and not name.startswith("model_path")
    }


def final_metrics(stage: FinishedStage) -> dict[str, float]:
    """Accuracy and loss of the best epoch by level, such as ``final/test_fine_accuracy``."""
    return {
        f"final/{split}_{level}_{name}": value
        for split, levels in (("val", stage.result["validation"]), ("test", stage.result["test"]))
        for level, metrics in (levels or {}).items()
        for name, value in metrics.items()
        if value is not None
    }


def confusion_picture(counts: Tensor, names: list[str]) -> np.ndarray:
    """Counts (C, C) as uint8 (H, W, 3): rows are the true classes, bright is often; few classes are named."""
    return _pixels(confusion_figure(counts, names))


def confusion_figure(counts: Tensor, names: list[str]) -> Figure:
    """A confusion matrix (C, C) with its axes; ``names`` of the C classes."""
    shares = counts.double() / counts.sum(1, keepdim=True).clamp_min(1)
    figure = Figure(figsize=(7, 7))
    axes = figure.subplots()
    named = len(names) <= MAX_NAMES
    room = 0.25 if named else 0.1  # by hand: constrained layout would take half a second
    figure.subplots_adjust(left=room, right=0.98, bottom=room, top=0.98)
    axes.imshow(shares.sqrt().numpy(), cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if named:
        words = [name[:20] for name in names]
        axes.set_xticks(range(len(names)), words, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(range(len(names)), words, fontsize=8, parse_math=False)
    return figure


def example_picture(
    images: Tensor | Undecoded, labels: Tensor, predictions: Tensor, names: list[str]
) -> np.ndarray:
    """Draw wrong and right test images with their predicted classes, as uint8 (H, W, 3).

    The order is random, since images may be stored class after class, and the same for all networks, so that they
    show the same images.

    Args:
        images: uint8 (N, 3, H, W).
        labels: (N,).
        predictions: (N,).
        names: of the classes.
    """
    order = torch.randperm(
        len(labels), generator=torch.Generator().manual_seed(derive(0, "examples"))
    )
    hits = (predictions == labels)[order]
    wrong = order[~hits][: EXAMPLES // 2]
    right = order[hits][: EXAMPLES - len(wrong)]
    figure = Figure(figsize=(8, 9))
    # One pair of axes for all: sixteen take half a second. An image is 1 wide, with room for two lines above.
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.axis("off")
    rows = torch.cat([wrong, right])
    for index, (row, pixels) in enumerate(zip(rows.tolist(), images[rows], strict=True)):
        x, y = 1.05 * (index % ACROSS), 1.25 * (index // ACROSS)
        axes.imshow(pixels.permute(1, 2, 0).numpy(), extent=(x, x + 1, y + 1, y))
        said, truth = names[int(predictions[row])], names[int(labels[row])]
        words = truth[:20] if said == truth else f"{said[:20]}\n(is {truth[:20]})"
        colour = "black" if said == truth else "#b00020"
        axes.text(
            x + 0.5,
            y - 0.03,
            words,
            ha="center",
            va="bottom",
            fontsize=9,
            color=colour,
            parse_math=False,
        )
    axes.set_xlim(0, 1.05 * ACROSS - 0.05)
    axes.set_ylim(1.25 * EXAMPLES / ACROSS - 0.25, -0.25)
    return _pixels(figure)


def _pixels(figure: Figure) -> np.ndarray:
    """As uint8 (H, W, 3); a character that the font lacks is drawn as a box, without a warning."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
