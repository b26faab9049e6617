"""Describe a network within its checkpoint, and refuse a damaged description in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf

from common.data.prepared import FITS
from common.networks.backbone_names import TORCHVISION, backbone_names
from common.networks.parameters import PARAMETERS
from common.settings.checks import NAME_RULE, check_values, is_folder_name
from common.settings.schema import keys_of
from common.system.errors import UserError, shown


@dataclass(frozen=True)
class Record:
    """All that is needed to rebuild and use a network, in plain containers.

    ``folder`` is the experiment folder whose module it belongs to and ``config`` that folder's configuration;
    ``label_ids`` and ``class_names`` are in the order of each head's outputs; ``mean`` and ``std`` are of
    training pixels scaled to 0..1; ``train_images`` identifies the images that training used;
    ``fingerprint`` identifies everything that shaped the weights; ``coarse_of_fine`` says for each fine class
    to which coarse class it belongs, both as positions among a head's outputs, and is empty where the two labels are
    independent; ``level_names`` are what people read in place of fine and coarse, where the data set chose other words;
    ``seeds`` are those of all networks that it is built from; ``training`` says what its training takes, and that of
    all networks that it is built from: multiply-adds ("macs"), "images" and weight "updates" (coarse_of_fine, seeds,
    training and level_names are empty in checkpoints written before there were such fields). ``fit`` and ``peak`` say
    how the pictures of a set that prepare_folders.py made came to ``image_size`` and to 8 bits (see
    `common.data.prepared.Made`); empty and 0 for all other sets.
    """

    folder: str
    arm: str
    seed: int
    config: dict[str, Any]
    label_ids: dict[str, list[int]]
    class_names: dict[str, list[str]]
    mean: list[float]
    std: list[float]
    image_size: list[int]
    train_images: str
    fingerprint: str
    coarse_of_fine: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    training: dict[str, int] = field(default_factory=dict)
    level_names: dict[str, str] = field(default_factory=dict)
    fit: str = ""
    peak: int = 0

    @classmethod
    def read(cls, content: dict[str, Any]) -> Record:
        """Make a record of what a checkpoint holds. Its configuration is left to `complete`.

        Raises:
            TypeError: a field is missing, unknown or of another type.
            ValueError: there are no hyper-parameters, the arm is no name of a folder, or fields contradict each other.
        """
        kinds = get_type_hints(cls)
        if later := [name for name in content if name not in kinds]:
            raise TypeError(f"a later one may have written its field {shown(later[0])}")
        record = cls(**content)
        for name, kind in kinds.items():
            value = getattr(record, name)
            if not _is(kind, value):
                raise TypeError(f"{name} is {shown(value)}")
        if not isinstance(record.config.get("hparams"), dict):
            raise ValueError("config has no hparams")
        if not is_folder_name(record.arm):
            raise ValueError(f"arm is {shown(record.arm)}; allowed: {NAME_RULE}")
        classes = record.num_classes
        if {level: len(names) for level, names in record.class_names.items()} != classes:
            raise ValueError("label_ids and class_names are of different classes")
        parents = record.coarse_of_fine
        if parents and (
            len(parents) != classes.get("fine", len(parents))
            or not all(0 <= parent < classes.get("coarse", len(parents)) for parent in parents)
        ):
            raise ValueError("coarse_of_fine does not fit the classes of label_ids")
        scales = all(0 < deviation < math.inf for deviation in record.std)
        if not (scales and all(map(math.isfinite, record.mean))):
            raise ValueError(f"mean is {shown(record.mean)} and std {shown(record.std)}")
        if record.fit not in ("", *FITS) or not 0 <= record.peak <= 0xFFFF:
            raise ValueError(f"fit is {shown(record.fit)} and peak {record.peak}")
        return record

    @property
    def levels(self) -> tuple[str, ...]:
        """List the levels that the network predicts."""
        return tuple(self.label_ids)

    def level_name(self, level: str) -> str:
        """Give what people read in place of a level."""
        return self.level_names.get(level, level)

    @property
    def num_classes(self) -> dict[str, int]:
        """Count the classes of each level."""
        return {level: len(ids) for level, ids in self.label_ids.items()}

    def as_dict(self) -> dict[str, Any]:
        """Give plain containers, as stored in a checkpoint."""
        return asdict(self)


@contextmanager
def refuse_damaged(path: Path) -> Iterator[None]:
    """Turn any error that a damaged or foreign checkpoint causes into one sentence that names it.

    Args:
        path: the checkpoint that is read, or whose network is built.

    Raises:
        UserError: of any error; one that names the file already stays as it is.
    """
    try:
        yield
    except (OSError, MemoryError):  # says nothing against the file
        raise
    except Exception as error:
        text = str(error)
        if "DefaultCPUAllocator" in text or (isinstance(error, UserError) and str(path) in text):
            raise
        raise UserError(
            f"{path} is damaged or not of this version: {_reason(error)[:300]}; train it anew."
        ) from error


def refuse_lost_backbones(record: Record, path: Path) -> None:
    """Refuse a network whose backbone is not there any more, such as one that a file was added for.

    Args:
        record: as it was read.
        path: of its checkpoint.

    Raises:
        UserError: names the backbone.
    """
    for key in ("arch", *PARAMETERS["arch"].keys):
        name = record.config["hparams"].get(key)
        if not isinstance(name, str) or name.startswith(TORCHVISION) or name in backbone_names():
            continue
        raise UserError(
            f"{path} needs the backbone {shown(name)} (hparams.{key}), which is in no file of "
            "common/networks/backbones: put its file back there, with the function of that name under @register."
        )


def _reason(error: Exception) -> str:
    """Say in a part of a sentence what an error found."""
    # OmegaConf's texts go on in further lines, with the key and the types that it expected.
    text = str(error).partition("\n")[0].removesuffix(".") or type(error).__name__
    if isinstance(error, KeyError):
        return f"it lacks {text}"
    key = getattr(error, "full_key", None)
    return f"{key}: {text}" if key else text


def complete(record: Record, schema: type, *, path: Path) -> Record:
    """Fill in the recorded configuration with keys that came later, at their defaults, and drop those that are gone.

    A recorded text that holds a reference is refused: resolved, it could read this machine's variables.

    Args:
        record: as it was read.
        schema: of the experiment folder that wrote it.
        path: of its checkpoint, for errors.

    Raises:
        UserError: names the file and the key.
    """
    with refuse_damaged(path):
        cfg = OmegaConf.structured(schema)
        for name, item in keys_of(schema).items():
            if item.metadata["open"]:
                continue  # another library's, which no network needs
            value = _leaf(record.config, name)
            if value == MISSING:
                continue
            if not _is_plain(value):
                raise ValueError(f"{name} is {shown(value)}; allowed: a plain value or a list")
            OmegaConf.update(cfg, name, value, merge=False)
        check_values(cfg, schema)
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        return replace(record, config=config)


def _is(kind: Any, value: Any) -> bool:
    """Say whether a value, and everything that it holds, is of a field's type."""
    inner = get_args(kind)
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is(inner[0], one) for one in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(
            _is(inner[0], name) and _is(inner[1], one) for name, one in value.items()
        )
    return kind is Any or type(value) is kind or (kind is float and type(value) is int)


def _leaf(node: Any, name: str) -> Any:
    """Look up a key in plain containers; `MISSING` where there is none."""
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            return MISSING
        node = node[part]
    return node


def _is_plain(value: Any) -> bool:
    """Say whether a value is a number, a text without references, None, or a list of these."""
    if isinstance(value, list):
        return not any(isinstance(one, list) for one in value) and all(map(_is_plain, value))
    if isinstance(value, str):
        return "${" not in value
    return value is None or isinstance(value, bool | int | float)
