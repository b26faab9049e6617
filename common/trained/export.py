"""A trained network as one file for programs that know nothing of this project, compared with the original."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.networks.hemisphere import thawed
from common.system.atomic_files import replacing
from common.system.errors import UserError
from common.trained.inference import Trained

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
# Largest difference of a logit from the original's that is allowed, as a share of the largest logit of its image and
# level (at least 1): float32 sums in another order.
TOLERANCE = 1e-4
Run = Callable[[Tensor], dict[str, Tensor]]


class Deployed(nn.Module):
    """Pixels uint8 (B, 3, H, W) to logits float (B, C), one tensor for each level; normalisation is inside."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network = trained.network
        self.levels = trained.levels
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", trained.transforms.scale.clone())
        self.register_buffer("shift", trained.transforms.shift.clone())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn uint8 (B, 3, H, W) into logits (B, C) of each level, fine first."""
        logits = self.network(images.float() * self.scale + self.shift)
        return tuple(logits[level] for level in self.levels)


def export(trained: Trained, file: Path, *, kind: str) -> float:
    """Write ``file``, read it again, and compare its answers with the network's.

    The file takes ``images``, uint8 (B, 3, H, W) of the network's image size with any B, and gives the logits of each
    level, float (B, C), under the level's name (in a torch program: a tuple, fine first). What it must be known by
    is inside: see `metadata`.

    Args:
        trained: on the CPU.
        file: what to write; nothing is written if the answers differ.
        kind: "onnx", or "torch" for a program of torch.export.

    Returns:
        The largest difference found, as a share of the largest logit (see `TOLERANCE`).

    Raises:
        UserError: the answers differ, or packages are missing.
    """
    write, read = {"onnx": (_write_onnx, _read_onnx), "torch": (_write_torch, _read_torch)}[kind]
    with replacing(file) as temporary:
        write(trained, temporary)
        difference = compare(trained, read(trained, temporary))
        # Written so that NaN, which compares as false, is refused.
        if not difference <= TOLERANCE:
            raise UserError(
                f"{file} was not written: the exported network's logits differ from the original's by "
                f"{difference:.1e} of the largest one; allowed: {TOLERANCE:.0e}."
            )
    return difference


def metadata(trained: Trained) -> dict[str, Any]:
    """Collect what a user of the exported network must know, in plain containers."""
    record = trained.record
    return {
        "levels": list(trained.levels),
        "class_names": trained.class_names,
        "label_ids": trained.label_ids,
        "image_size": list(trained.image_size),
        "mean": record.mean,
        "std": record.std,
        "fit": record.fit,
        "peak": record.peak,
        "arm": record.arm,
        "seed": record.seed,
        "dataset": record.config["dataset"]["name"],
        "fingerprint": record.fingerprint,
        "input": "images: uint8 (B, 3, H, W), RGB; mean and std are applied inside",
        "output": "per level, logits (B, C) in the order of class_names; softmax gives probabilities",
    } | ({"level_names": record.level_names} if record.level_names else {})


def compare(trained: Trained, run: Run) -> float:
    """Find the largest difference of a logit from the original's, as a share of the largest of its image and level."""
    worst = 0.0
    for images in _trials(*trained.image_size):
        expected, found = trained.logits(images), run(images)
        for level in trained.levels:
            if found[level].shape != expected[level].shape:
                return float("inf")
            scale = expected[level].abs().amax(dim=1, keepdim=True).clamp(min=1)
            share = ((found[level] - expected[level]).abs() / scale).max().item()
            worst = share if share != share else max(worst, share)
    return worst


def _trials(height: int, width: int) -> Iterator[Tensor]:
    """Make batches of several sizes: noise, and black, white, a gradient, stripes of one pixel, pure colours."""
    dice = torch.Generator().manual_seed(0)
    for batch in (1, 2, 13):
        yield torch.randint(0, 256, (batch, 3, height, width), generator=dice, dtype=torch.uint8)
    edge = torch.zeros(7, 3, height, width, dtype=torch.uint8)
    edge[1] = 255
    edge[2] = torch.linspace(0, 255, width).to(torch.uint8)
    edge[3, :, ::2] = 255
    for channel in range(3):
        edge[4 + channel, channel] = 255
    yield edge


def _program(trained: Trained) -> torch.export.ExportedProgram:
    """Trace the network with a batch of any size."""
    example = torch.zeros(2, 3, *trained.image_size, dtype=torch.uint8)
    # Thawed: a frozen hemisphere switches gradients off and on, which would cut the graph in pieces.
    with thawed(trained.network), torch.no_grad():
        return torch.export.export(
            Deployed(trained).eval(),
            (example,),
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
        )


def _write_torch(trained: Trained, file: Path) -> None:
    # In memory first: where PyTorch's own writer finds a disk full, it ends the process.
    archive = io.BytesIO()
    with warnings.catch_warnings():
        # Of weights in channels-last order, which come back as they were.
        warnings.filterwarnings("ignore", "No complete tensor found")
        torch.export.save(
            _program(trained), archive, extra_files={"metadata.json": json.dumps(metadata(trained))}
        )
    file.write_bytes(archive.getvalue())


def _read_torch(trained: Trained, file: Path) -> Run:
    with file.open("rb") as source:
        program = torch.export.load(source).module()
    return lambda images: dict(zip(trained.levels, program(images), strict=True))


def _write_onnx(trained: Trained, file: Path) -> None:
    try:
        import onnx
        import onnxruntime  # noqa: F401  needed to compare
        import onnxscript  # noqa: F401  needed by torch
    except ImportError as error:
        raise UserError(
            f"format=onnx needs {error.name}: python -m pip install -r requirements-export.txt."
        ) from error
    # Hydra's root logger would print each pass of the optimiser.
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)
    program = torch.onnx.export(
        _program(trained),
        input_names=["images"],
        output_names=list(trained.levels),
        dynamic_shapes={"images": {0: "batch"}},
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(
        model, {name: json.dumps(value) for name, value in metadata(trained).items()}
    )
    onnx.checker.check_model(model, full_check=True)
    file.write_bytes(model.SerializeToString())


def _read_onnx(trained: Trained, file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    levels = list(trained.levels)

    def run(images: Tensor) -> dict[str, Tensor]:
        found = session.run(levels, {"images": images.numpy()})
        return {level: torch.from_numpy(one) for level, one in zip(levels, found, strict=True)}

    return run
