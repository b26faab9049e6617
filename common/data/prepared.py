"""What prepared.yaml says of a set of photographs: how it is trained, and how its pictures were brought to one size."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from common.data.pictures import Frame
from common.system.atomic_files import write_text
from common.system.errors import UserError, shown

PREPARED_FILE = "prepared.yaml"
SCRIPT = "data_scripts/prepare_folders.py"
HEAD = "# What dataset=folders takes for this set. Change these as you like: they are kept when it is prepared again.\n"
MADE = "# How it was prepared; leave this as it is.\n"
FITS = ("cover", "pad")
LARGE = 20_000  # training images, from which on a network has its full width


@dataclass(frozen=True)
class Made:
    """How a set was prepared.

    ``keep`` says whether its files are the original pictures, to be brought to ``frame`` when they are read;
    ``grouped`` whether pictures that belong together are on one side of each split; ``held_out`` is a digest of the
    held-out pictures as they were drawn, by which an edited choice is known; ``peak`` the highest value of pixels wider
    than 8 bits, by which they were scaled, 0 where there are none.
    """

    frame: Frame
    keep: bool
    grouped: bool
    held_out: str
    peak: int = 0

    @property
    def fit(self) -> str:
        """Say whether edges were cut off, ``cover``, or bars added, ``pad``."""
        return FITS[self.frame.pad]


def settings_for(train: int) -> dict[str, Any]:
    """Choose width, batch size and epochs by the number of training images.

    Batch size and epochs are those of CIFAR-100 and of its tenth (50,000 and 5,000 images), and lie between; smaller
    sets get more epochs. A starting point, which was not tuned on photographs.
    """
    batch_size = min(max(2 ** round(math.log2(max(1, train)) / 2), 16), 256)
    steps = max(1, train // batch_size)
    single = 30 if train >= LARGE else min(max(round(1000 / steps), 20), 60)
    return {
        "width": 1.0 if train >= LARGE else 0.25,
        "batch_size": batch_size,
        "epochs": {"single": single, "dual": single // 2},
    }


def write_prepared(root: Path, settings: dict[str, Any], made: Made) -> None:
    """Write prepared.yaml into a set's folder."""
    how = {
        "size": f"{made.frame.width}x{made.frame.height}",
        "fit": made.fit,
        "peak": made.peak,
        "keep": made.keep,
        "grouped": made.grouped,
        "held_out": made.held_out,
    }
    text = HEAD
    for part, above in ((settings, ""), ({"made": how}, MADE)):
        text += above + yaml.safe_dump(part, sort_keys=False, allow_unicode=True)
    write_text(root / PREPARED_FILE, text)


def read_settings(root: Path) -> dict[str, Any]:
    """Read what dataset=folders takes, by its key.

    Raises:
        UserError: the file is missing or malformed.
    """
    content = _content(root)
    return {name: value for name, value in content.items() if name != "made"}


def read_made(root: Path) -> Made | None:
    """Read how a set was prepared; None for a set without prepared.yaml.

    Raises:
        UserError: the file is malformed.
    """
    if not (root / PREPARED_FILE).is_file():
        return None
    how: Any = _content(root).get("made")
    try:
        width, height = (int(side) for side in str(how["size"]).split("x"))
        frame = Frame(width, height, pad=bool(FITS.index(how["fit"])))
        keep, grouped, held_out = bool(how["keep"]), bool(how["grouped"]), str(how["held_out"])
        peak = int(how.get("peak", 0))  # which earlier versions did not write
        if not 0 <= peak <= 0xFFFF:
            raise ValueError
        return Made(frame, keep, grouped, held_out, peak)
    except (TypeError, KeyError, ValueError):
        raise UserError(
            f"{root / PREPARED_FILE}: {shown(how)} does not say how the set was prepared: prepare it anew with {SCRIPT}"
        ) from None


def _content(root: Path) -> dict[str, Any]:
    file = root / PREPARED_FILE
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"{file} is missing: python {SCRIPT} PHOTOS --out-dir {root} makes the set and writes it, or correct "
            "dataset.root."
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not text in UTF-8.") from None
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        what = "holds no keys with values" if text.strip() else "is empty"
        raise UserError(f"{file} {what}: delete it, and prepare the set anew with {SCRIPT}.")
    return content


@lru_cache(maxsize=8)
def _say(root: Path) -> None:
    """Say once what is taken from a set's file."""
    found = read_settings(root)
    epochs = found.get("epochs")
    both = " and ".join(map(str, epochs.values())) if isinstance(epochs, dict) else epochs
    print(
        f"{root / PREPARED_FILE} says: width {found.get('width')}, batch size {found.get('batch_size')}, epochs "
        f"{both}; what you give yourself is stronger."
    )


def _prepared(root: str, name: str) -> Any:
    """Resolve ``${prepared:ROOT,KEY}``: a value of a set's prepared.yaml."""
    folder = Path(root)
    value: Any = read_settings(folder)
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        raise UserError(
            f"{folder / PREPARED_FILE} has no {name}: add it, or give dataset.{name}=..."
        )
    _say(folder)
    return value


OmegaConf.register_new_resolver("prepared", _prepared, replace=True)
