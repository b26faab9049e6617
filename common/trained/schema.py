"""The config keys of test.py, predict.py and export.py. Imports no torch."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import MISSING

from common.networks.crossings import BOTH_WAYS, DIRECTIONS
from common.runs.schema import Dataset
from common.settings.schema import key

# How to find out where a hemisphere looks: the method of `Trained`, and its name in print. The first is the default.
CAM_METHODS = {"hires_cam": "HiResCAM", "grad_cam": "Grad-CAM"}


@dataclass
class TestHparams:
    """The one hyper-parameter that a trained network's test may override."""

    mode: str | None = key(
        None,
        "feature: write features and labels to features.npz; null: print accuracy",
        choices=(None, "feature"),
    )


@dataclass
class TestConfig:
    """test.py: everything about the network comes out of the checkpoint."""

    # The checkpoint fills in what is missing here.
    partial: ClassVar[bool] = True

    checkpoint: str = key(MISSING, "checkpoint to test", path=True, exists="file")
    predictions: str | None = key(
        None, "file (.csv.gz) for what the network answers to each image; null: none", path=True
    )
    cut: str | None = key(
        None,
        "direction in which nothing crosses the callosum, or both; null: all crosses as in training",
        choices=(None, BOTH_WAYS, *DIRECTIONS),
    )
    dataset: Dataset = field(default_factory=Dataset)
    hparams: TestHparams = field(default_factory=TestHparams)


@dataclass
class PredictConfig:
    """predict.py: what a trained network makes of pictures."""

    checkpoint: str = key(MISSING, "checkpoint to ask", path=True, exists="file")
    image: Any = key(
        MISSING,
        "picture, folder of pictures, pattern (photos/*.jpg), or several of these separated by commas",
        path=True,
        words="a path, or paths with commas between",
    )
    json: Any = key(
        False,
        "true (or --json, or -): print JSON and nothing else; a path: write JSON to it",
        path=True,
        words="true, false or a path",
    )
    cam: str | None = key(
        None,
        "file (png, pdf or svg) for a figure of where each hemisphere looks; null: none",
        path=True,
    )
    cam_method: str = key(
        "hires_cam",
        "how that is found: HiResCAM, exact after a global mean or maximum; or Grad-CAM, exact after a mean only",
        choices=tuple(CAM_METHODS),
    )


@dataclass
class ExportConfig:
    """export.py: a trained network for programs that know nothing of this project."""

    checkpoint: str = key(MISSING, "checkpoint to export", path=True, exists="file")
    format: str = key(
        "onnx", "onnx, or torch: a program of torch.export", choices=("onnx", "torch")
    )
    output: str | None = key(
        None, "file to write; null: a file with the arm's name in the run's folder", path=True
    )
