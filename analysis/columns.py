"""What every column of every csv file is: docs/tables.md lists them. Imports no torch.

The names come from where the rows are made, so that a new column without a meaning here stops
``python docs/generate.py``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from analysis.report.marks import Mark
from analysis.specialisation.rows import Competence, Index
from analysis.trial import Trial
from analysis.values import Summary, Value
from common.data.index import COLUMNS as OF_INDEX
from common.results.images import ImageRow
from common.results.metrics import CHANCE, METRICS
from common.results.predictions import columns as of_predictions
from common.results.rows import Row
from common.results.statistics import DifferenceRow, SummaryRow
from common.settings.levels import LEVELS, SIDES
from common.system.csv_text import columns_of

SHARED = {
    "arm": "what was trained: a row of the table of arms",
    "seed": "the seed",
    "level": "the head, or whose labels are asked for: fine or coarse; of Navon figures also a letter",
    "level_name": "what the data set calls the level; empty in results of before there were such names",
    "ci95_low": "lower end of the 95 % interval of the mean",
    "ci95_high": "upper end of it",
    "approximate": "whether the interval was widened for networks that share parts between seeds; empty without one",
    "parameters": "all parameters of the network",
    "trained_parameters": "those that this stage trains",
    "macs": "multiply-adds of a forward pass with one image",
    "seconds": "this stage's own time of training and validation",
    "train_macs": "multiply-adds of its training and of that of all networks that it is built from",
    "val_slope_ci95_low": "lower end of its 95 % interval",
    "val_slope_ci95_high": "upper end of it",
    "val_slope": "what the validation accuracy still gained in an epoch when training ended",
    "image": "file name of the test image, as in index.csv of the data set",
    "of": "the quantity",
    "side": "the hemisphere: left, right or both; of some quantities a network, a pair of networks or a case",
    "item": "what else the number is about, as text; the typed columns hold its parts",
    "class_name": "the class that the number is about",
    "case": "one of several: which hemisphere is correct alone, pairs of images, a cut of the callosum",
    "layer": "the layer, as the backbone names it; features: what the heads see",
    "other_layer": "the layer of the right hemisphere that it is compared with",
    "share": "of a hemisphere's features, 0 to 1",
    "bin": "of confidence, from 0, of 15 equal ones",
    "cycles": "centre of the octave of noise, in cycles per image",
    "epoch": "epochs trained, from 1; empty: the trained network",
    "task": "what is read off: within_coarse (fine, where labels are independent) or coarse; empty: both",
}
OWN: Mapping[str, Mapping[str, str]] = {
    "results.csv": {
        "val_accuracy": "accuracy on held-out images",
        "val_loss": "loss on held-out images",
        "best_epoch": "the epoch, from 1, of highest validation accuracy, whose checkpoint is measured",
        "epochs": "epochs trained",
        "seeds": "seeds of all networks that it is built from, joined by +",
        "checkpoint": "that checkpoint, relative to the repository where it lies in it",
        "train_images": "images seen in its training and in that of all that it is built from, with repetitions",
        "updates": "of weights, likewise",
    },
    "summary.csv": {
        "seeds": "how many networks the row is computed from",
        "mean": "mean test accuracy over them",
        "std": "its standard deviation, of a sample",
        "own_minus_via_fine": "accuracy of the coarse head minus that of the coarse class with most of the fine head's "
        "probability",
        "own_minus_via_fine_ci95_low": "lower end of its 95 % interval",
        "own_minus_via_fine_ci95_high": "upper end of it",
    },
    "differences.csv": {
        "minus": "the arm that is subtracted; each pair stands in both directions",
        "seeds": "how many pairs of the same seed",
        "mean": "mean over seeds of the difference of test accuracy",
        "std": "its standard deviation, of a sample",
        "p": "of a paired t-test over seeds",
        "family": "primary or reference: the tests that are corrected together; empty for other pairs",
        "tests": "how many the family has",
        "p_holm": "p, corrected by Holm's method over these tests",
        "margin": "of the study: within it a difference does not matter",
        "equivalence_p": "of two one-sided tests (TOST) that the difference is at least the margin",
        "verdict": "differs, differs by less than the margin, the same within it, or undecided",
        "seeds_needed": "seeds that would show a difference of the margin, with 80 % power at this spread",
        "via_fine": "of coarse rows, the same difference where the fine heads of both arms give the coarse class",
        "via_fine_ci95_low": "lower end of its 95 % interval",
        "via_fine_ci95_high": "upper end of it",
    },
    "images.csv": {
        "minus": "the arm that is subtracted",
        "seeds": "how many pairs of the same seed",
        "images": "different test images",
        "mean": "difference of test accuracy",
        "ci95_low": "lower end of its 95 % interval by a bootstrap over seeds and images",
        "ahead": "share of seeds in which arm is ahead; equal ones count one half",
        "ahead_ci95_low": "lower end of its exact 95 % interval",
        "ahead_ci95_high": "upper end of it",
        "mcnemar": "share of seeds in which the two networks differ by McNemar's test (p below 0.05)",
        "kappa": "error consistency: mean over seeds of Cohen's kappa of being correct",
        "kappa_seeds": "how many seeds have one: none where both networks are right everywhere, or wrong everywhere",
    },
    "analysis/values.csv": {"value": "the number"},
    "analysis/summary.csv": {
        "seeds": "how many values",
        "mean": "their mean",
    },
    "analysis/specialisation.csv": {
        "accuracy": "of the probe",
        "kappa": "the same, scaled so that chance is 0 and perfection 1",
    },
    "analysis/specialisation_indices.csv": {
        "seed": "the seed; empty for what is computed over seeds",
        "measure": "one of docs/specialisation.md",
        "value": "the number",
    },
    "analysis/trials.csv": {
        "figure": "file name of the picture; a row for each picture, task and side",
        "fine": "name of its class of the fine level, such as the small letter",
        "coarse": "name of its class of the coarse level, such as the large letter",
        "congruent": "1: both are the same class, 0: they conflict",
        "task": "the level that is asked for, fine or coarse",
        "task_name": "what the data set calls that level",
        "side": "the hemisphere that answers alone, left or right, or both",
        "answer": "name of the class that is answered",
        "correct": "1 or 0",
        "error": "empty if correct; other level: the class of the other label; other class: any other one",
        "confidence": "probability of the answer",
    },
    "analysis/figures/NAME.csv": {
        "panel": "title of the axes in which it is drawn, else their label or number",
        "mark": "line (a point of one), point, bar or cell",
        "series": "what the legend calls it, or what the line is, such as 95 % interval",
        "x": "place on the horizontal axis; of a bar that lies, its end",
        "x_name": "the name that stands there, where the axis bears names",
        "y": "place on the vertical axis; of a bar that stands, its end",
        "y_name": "the name that stands there",
        "value": "length of a bar, or what a cell holds",
    },
    "ARM/seedN/metrics.csv": {
        "epoch": "from 0",
        "step": "updates of weights until then",
        "lr": "learning rate",
        "train_loss, val_loss": "the loss that is trained, of all heads together; of validation images likewise",
        "train_accuracy, val_accuracy": "mean of the heads' accuracies on training and on validation images",
        "train_LEVEL_METRIC, val_LEVEL_METRIC": "a metric of one head, by the names of the table of metrics",
    },
    "ARM/seedN/predictions.csv.gz": {},
    "datasets/NAME/index.csv": {
        "split": "train or test",
        "image": "file name, the same in the trees of both levels",
        "fine": "label id of the fine class",
        "coarse": "label id of the coarse class",
        "held_out": "1: a validation image",
    },
    "datasets/NAME/skipped.csv": {
        "picture": "a picture of the collection that was left out",
        "reason": "why it was left out",
    },
    "sweep.csv": {
        "KEY": "a column for each key that was given, swept ones first: its value; --config-name: the job's variant",
        "val_accuracy": "the validation score, best first",
        "folder": "the job's experiment, a folder beside that of sweep.csv",
    },
}
KINDS = {str: "text", int: "whole number", float: "number", bool: "True or False"}


@dataclass(frozen=True)
class File:
    """A csv file: its name, the type and the meaning of each column, in their order."""

    name: str
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def files() -> list[File]:
    """Every csv file of the project.

    Raises:
        KeyError: a column has no meaning here.
    """
    rows = {
        "results.csv": Row,
        "summary.csv": SummaryRow,
        "differences.csv": DifferenceRow,
        "images.csv": ImageRow,
        "analysis/values.csv": Value,
        "analysis/summary.csv": Summary,
        "analysis/specialisation.csv": Competence,
        "analysis/specialisation_indices.csv": Index,
        "analysis/trials.csv": Trial,
    }
    named = {name: _typed(columns_of(kind), kind) for name, kind in rows.items()}
    named["analysis/figures/NAME.csv"] = _typed(Mark._fields, Mark)
    named["ARM/seedN/predictions.csv.gz"] = dict.fromkeys(of_predictions(LEVELS, SIDES), "")
    named["datasets/NAME/index.csv"] = dict.fromkeys(OF_INDEX, "")
    return [
        File(
            name,
            {
                column: (kind or _kind(column, name), _meaning(name, column))
                for column, kind in named.get(name, dict.fromkeys(own, "")).items()
            },
        )
        for name, own in OWN.items()
    ]


def _meaning(file: str, column: str) -> str:
    """What a column of a file is: as the file itself has it, else as metrics or all files have it."""
    for known in (
        OWN[file],
        _of_metrics() if file in ("results.csv", "summary.csv") else {},
        SHARED,
    ):
        if column in known:
            return known[column]
    if file.endswith("predictions.csv.gz"):
        return _of_prediction(column)
    raise KeyError(f"{column} of {file} has no meaning in analysis/columns.py")


def _of_metrics() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, metric in METRICS.items():
        found |= {name: metric.help, f"{name}_mean": f"mean over seeds: {metric.help}"}
        found |= {f"{name}_std": f"standard deviation over seeds of {metric.title}"}
    for column, name in CHANCE.items():
        found[column] = f"what guessing would give of {METRICS[name].title}"
    return found


def _of_prediction(column: str) -> str:
    first, _, second = column.partition("_")
    if first in SIDES:
        return f"{second} class that is answered with the features of the other hemisphere at their training mean"
    return {
        "": f"right class of the level {first}, as its label id in index.csv",
        "answer": f"{first} class of highest output, likewise",
        "probability": "its probability",
    }[second]


def _typed(columns: Iterable[str], kind: type) -> dict[str, str]:
    types = dict(getattr(kind, "__annotations__", {}))
    if hasattr(kind, "__dataclass_fields__"):
        types = {one.name: one.type for one in fields(kind)}
        for one in fields(kind):
            if hasattr(one.type, "__dataclass_fields__"):
                types |= {part.name: part.type for part in fields(one.type)}  # type: ignore[arg-type]
    found: dict[str, str] = {}
    for column in columns:
        parts = getattr(types[column], "__args__", (types[column],))
        found[column] = next(KINDS[part] for part in parts if part in KINDS)
    return found


def _kind(column: str, file: str) -> str:
    if column in ("image", "split", "picture", "reason", "KEY", "folder"):
        return KINDS[str]
    if column in ("epoch", "step", "held_out") or file.endswith("index.csv"):
        return KINDS[int]
    whole = file.endswith("predictions.csv.gz") and not column.endswith("probability")
    return KINDS[int] if whole else KINDS[float]
