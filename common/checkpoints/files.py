"""Write checkpoints in one step, refuse damaged ones, and load networks from them completely or not at all."""

import errno
import hashlib
import io
import os
import pickle
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any, BinaryIO

import torch
from omegaconf import OmegaConf
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from common.checkpoints.record import Record, refuse_damaged, refuse_lost_backbones
from common.networks.hemisphere import HemisphereConfig
from common.results.caveats import chose_on_test
from common.settings.levels import BOTH, LEVELS
from common.system.atomic_files import link_or_copy, replacing, sync_folder
from common.system.errors import UserError, checkpoint_in, nothing_in

RECORD = "bilateral"
ARCHIVE = b"PK"  # how a zip archive begins, as torch writes it
ALLOWED = "a best.ckpt or last.ckpt, which training leaves in a stage's checkpoints/"
# Of a file that takes the place of the one without this ending once the last checkpoint is written.
NEXT = ".next"
# Of the file whose place that one took: it belongs to the checkpoint before the last one.
PREVIOUS = ".previous"


class NoArchiveError(zipfile.BadZipFile):
    """A file of another kind than torch writes."""


class DurableCheckpoints(TorchCheckpointIO):
    """Write and read Lightning's checkpoints: complete on disk or absent, and unable to run code when loaded.

    Lightning's own are written to the system's temporary folder and moved, which is neither atomic across file
    systems nor flushed. With ``last`` set, all other checkpoints wait in memory until the one of that path is saved:
    an epoch may take less time than writing its weights, and what is continued from needs the best ones of its moment.
    So they are written beside the earlier ones, and take their places once the last one is there; what an interruption
    leaves undone of that, `common.checkpoints.resume` does.
    """

    last: Path | None = None

    def __init__(self) -> None:
        self.waiting: dict[Path, dict[str, Any]] = {}
        self.leaving: list[Path] = []

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, or keep a copy of it until the last one is written."""
        path = Path(path)
        if self.last not in (None, path):
            self.waiting[path] = deepcopy(checkpoint)
            return
        beside = {name: name.with_name(f"{name.name}{NEXT}") for name in self.waiting}
        for name, new in beside.items():
            _write(self.waiting[name], new)
        _write(checkpoint, path)
        for name, new in beside.items():
            if name.is_file():
                link_or_copy(name, name.with_name(f"{name.name}{PREVIOUS}"))
            new.replace(name)
            sync_folder(name.parent)
        self.waiting.clear()
        for name in self.leaving:
            super().remove_checkpoint(name)
        self.leaving.clear()

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file that a better one replaces, once that one and the last one are written."""
        if self.waiting.pop(Path(path), None) is None:
            self.leaving.append(Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> Any:
        """Load to the CPU, plain containers and tensors only; ``map_location`` and ``weights_only`` change nothing."""
        return load(Path(path))


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    """Write beside ``path``, flush, move into place."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        # Through memory: on a full disk torch's own writer fails without saying why.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        file.write(content.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Load a checkpoint's content to the CPU.

    Raises:
        UserError: no such file, damaged, or holding more than plain containers and tensors.
        OSError: the file cannot be read now, also because memory is full; it may be undamaged.
    """
    remedy = "train it anew, or name another one"
    if path.is_dir():
        inside = checkpoint_in(path)
        hint = f"give one in it, such as {inside}" if inside else f"allowed: {ALLOWED}"
        raise UserError(f"{path} is a folder, no checkpoint; {hint}.")
    if nothing := nothing_in(path):
        raise UserError(f"{path} {nothing}, no checkpoint; {remedy}.")
    if not path.is_file():
        raise UserError(f"There is no checkpoint at {path}.")
    content = plain_content(path, kind="checkpoint", remedy=remedy)
    if not isinstance(content, dict) or "state_dict" not in content or RECORD not in content:
        raise UserError(f"{path} was not written by this project's trainer.py or train_system.py.")
    return content


def plain_content(path: Path, *, kind: str, remedy: str, older: bool = False) -> Any:
    """Load to the CPU what torch has saved, plain containers and tensors only.

    Args:
        path: of the file, which is there.
        kind: what it is to be, for errors, and ``remedy`` what to do where it is not.
        remedy: see ``kind``.
        older: whether it may be of torch's format from before 2020, which has no checksums.

    Raises:
        UserError: damaged, or holding more than plain containers and tensors.
        OSError: the file cannot be read now, also because memory is full; it may be undamaged.
    """
    try:
        # Through one open file: torch's own reader has no numbers for what the system refuses.
        with path.open("rb") as file:
            if not older or zipfile.is_zipfile(file):
                _verify(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    # A damaged or hostile archive can make torch raise nearly anything.
    except Exception as error:
        number = _temporary_fault(error)
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        if isinstance(error, NoArchiveError) and not older:
            raise UserError(
                f"{path} is no {kind}, which is a zip archive; allowed: {ALLOWED}."
            ) from error
        what = f"is damaged or not a {kind}"
        if isinstance(error, pickle.UnpicklingError | zipfile.BadZipFile):
            what = "is refused: it is damaged or holds more than plain containers and tensors"
        raise UserError(f"{path} {what}; {remedy}.") from error


def _temporary_fault(error: BaseException | None) -> int | None:
    """Give the system's error number where reading failed though the file may be undamaged; else None."""
    # zipfile, for one, raises an error of its own over the system's.
    while error is not None:
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
            return errno.ENOMEM
        # A damaged table of contents sends its reader to places that no file has, which is EINVAL.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _verify(file: BinaryIO) -> None:
    """Read each part's checksum, which torch does not, and refuse parts of more bytes than the file has.

    Compressed parts, which may unpack to any size, and parts that are listed many times have more.

    Raises:
        NoArchiveError: it does not begin as one.
        zipfile.BadZipFile: not an archive as torch writes it, or damaged.
    """
    file.seek(0)
    if file.read(len(ARCHIVE)) != ARCHIVE:
        raise NoArchiveError
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
        if packed or sum(part.file_size for part in parts) > size or archive.testzip() is not None:
            raise zipfile.BadZipFile("not an archive as torch writes it, or damaged")


def read(path: Path) -> tuple[Record, dict[str, Tensor]]:
    """Read what a checkpoint records about itself, and its network's weights without Lightning's prefix.

    The recorded configuration may lack later keys: see `common.checkpoints.record.complete`.

    Raises:
        UserError: no checkpoint, one that is damaged or of another version, or a backbone that it needs is gone.
    """
    content = load(path)
    with refuse_damaged(path):
        record = Record.read(content[RECORD])
        refuse_lost_backbones(record, path)
        return record, _network_weights(content["state_dict"])


def _network_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """Pick the weights of the network, and refuse what is not a complete tensor."""
    found = {
        name.removeprefix("network."): w for name, w in state.items() if name.startswith("network.")
    }
    for name, w in found.items():
        if not is_complete(w):
            raise ValueError(f"network.{name} of its state_dict is not a complete tensor")
        if not w.isfinite().all():
            raise ValueError(f"network.{name} of its state_dict holds numbers that are not finite")
    return found


def is_complete(value: Any) -> bool:
    """Say whether a value is a dense tensor on the CPU with as many numbers in memory as its shape says."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        return False
    known = value.device.type == "cpu"
    return known and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def digest(weights: dict[str, Tensor]) -> str:
    """Compute a digest of weights; equal weights have equal digests, whatever else their checkpoints hold."""
    state = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        state.update(name.encode())
        state.update(weights[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def load_network(network: nn.Module, weights: dict[str, Tensor], *, path: Path) -> None:
    """Load all weights, none missing and none left over.

    Raises:
        UserError: the weights are of another architecture.
    """
    expected = network.state_dict()
    for name in [*expected, *weights]:
        if name not in weights or name not in expected:
            raise UserError(f"{path} does not fit the network: {name} is in only one of them.")
        if expected[name].shape != weights[name].shape:
            raise UserError(
                f"{path} does not fit the network: {name} is {tuple(weights[name].shape)} there "
                f"and {tuple(expected[name].shape)} here."
            )
        kinds = weights[name].dtype, expected[name].dtype
        if kinds[0].is_floating_point != kinds[1].is_floating_point:
            raise UserError(
                f"{path} does not fit the network: {name} is {kinds[0]} there and {kinds[1]} here."
            )
    network.load_state_dict(weights, strict=True)


def hemisphere_weights(
    path: Path, *, key: str, level: str, hemisphere_config: HemisphereConfig, data: Any
) -> dict[str, Tensor]:
    """Read the weights of a checkpoint's only hemisphere, with the names that they have in a backbone.

    Arguments and errors are those of `specialist_weights`.
    """
    weights = specialist_weights(
        path, key=key, level=level, hemisphere_config=hemisphere_config, data=data
    )
    name = next(name.split(".")[1] for name in weights if name.startswith("hemispheres."))
    prefix = f"hemispheres.{name}.backbone."
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def specialist_weights(
    path: Path, *, key: str, level: str, hemisphere_config: HemisphereConfig, data: Any
) -> dict[str, Tensor]:
    """Read the weights of a network of one hemisphere, its heads among them.

    Args:
        path: a checkpoint of a network with one hemisphere.
        key: the config key that names it, for errors.
        level: the level that the hemisphere must have been trained on, or `BOTH`.
        hemisphere_config: the parameters that it must have; its plasticity may differ.
        data: its ``mean``, ``std`` and ``train_images`` must be those of the hemisphere's training; and its ``cfg``.

    Raises:
        UserError: names both values of what does not fit.
    """
    record, weights = read(path)
    if record.levels != (LEVELS if level == BOTH else (level,)):
        raise UserError(
            f"{key}: {path} was trained on {' and '.join(record.levels)} labels, not on {level} ones."
        )
    names = {name.split(".")[1] for name in weights if name.startswith("hemispheres.")}
    if len(names) != 1:
        raise UserError(f"{key}: {path} has {len(names)} hemispheres; allowed: a network of one.")
    with refuse_damaged(path):
        hparams = record.config["hparams"]
        # Of a network with two heads its only hemisphere is described by the left one's keys.
        theirs = HemisphereConfig.read(hparams, None if "arch" in hparams else "left")
    refuse_other_hemisphere(path, key=key, theirs=theirs, ours=hemisphere_config)
    refuse_other_training_images(path, key=key, record=record, data=data)
    return weights


def refuse_other_training_images(path: Path, *, key: str, record: Record, data: Any) -> None:
    """Refuse a network that was trained on other images: by their names, and by the statistics of their pixels.

    Nor may one whose epoch was chosen on the test images shape a result that does not say so.

    Raises:
        UserError: says which of these.
    """
    with refuse_damaged(path):
        statistics = torch.tensor([record.mean, record.std])
        same_statistics = torch.allclose(statistics, torch.tensor([data.mean, data.std]), atol=1e-6)
    if record.train_images != data.train_images:
        raise UserError(
            f"{key}: {path} was trained on other images than this run's training images "
            f"(another data set or held-out split), so its validation would not be held out."
        )
    if not same_statistics:
        raise UserError(
            f"{key}: {path} was trained with other pixel statistics than those of dataset.train_dir."
        )
    ours: Any = OmegaConf.to_container(data.cfg)
    if chose_on_test(record.config) and not chose_on_test(ours):
        raise UserError(
            f"{key}: the epoch of {path} was chosen on the test images (its dataset.val_dir is its dataset.test_dir), "
            "so that nothing built on it is held out: name another network, or give this run the same two folders."
        )


def refuse_other_hemisphere(
    path: Path, *, key: str, theirs: HemisphereConfig, ours: HemisphereConfig
) -> None:
    """Refuse a hemisphere that computes another function than the configuration says.

    Raises:
        UserError: names the first parameter that differs.
    """
    name = ours.difference(theirs)
    if name:
        there, here = (
            "null"
            if value is None
            else str(value).lower()
            if value in (True, False)
            else str(value)
            for value in (getattr(theirs, name), getattr(ours, name))
        )
        raise UserError(
            f"{key}: {path} holds a hemisphere of {name} {there}, "
            f"but the configuration asks for {name} {here}."
        )
