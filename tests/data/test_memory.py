"""Sets that are too large for memory are decoded when they are needed, and nothing else changes."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from helpers import Killed, before_step, kill
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import common.data.images as images
import common.training.callbacks as callbacks
import train_system
from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.schema import DualConfig
from common.data.datamodule import load_folder_once
from common.data.image_folder import load_folder
from common.data.images import CHUNK, Undecoded, count_pixels
from common.settings.compose import ROOT, compose
from common.settings.explain import explain
from common.system.errors import UserError
from study.schema import StudyConfig

ARMS = ("fine", "coarse", "bilateral")
# GiB: less than any set here takes.
TOO_LITTLE = 1e-9
SMALL = f"dataset.memory_gb={TOO_LITTLE}"


@pytest.fixture
def folder(tmp_path) -> Path:
    """NAME/train/fine with ten images of 6 x 4 pixels in two classes."""
    directory = tmp_path / "NAME" / "train" / "fine"
    rng = np.random.default_rng(0)
    for i in range(10):
        file = directory / str(i % 2) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8)).save(file)
    return directory


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the images that are decoded, in turn."""
    names: list[str] = []
    original = images._decode_one

    def noting(path, *how):
        names.append(path.name)
        return original(path, *how)

    monkeypatch.setattr(images, "_decode_one", noting)
    return names


@pytest.fixture(autouse=True)
def forget():
    """Images are remembered within a process."""
    load_folder_once.cache_clear()


# ---------------------------------------------------------------- a folder


@pytest.mark.parametrize("chunk", [1, 3, CHUNK])
def test_a_folder_is_the_same_decoded_or_not(folder, monkeypatch, chunk):
    monkeypatch.setattr(images, "CHUNK", chunk)
    here, there = load_folder(folder), load_folder(folder, memory_gib=TOO_LITTLE)
    assert isinstance(here.images, torch.Tensor)
    assert isinstance(there.images, Undecoded)
    assert (there.digest, there.names) == (here.digest, here.names)
    assert there.labels.tolist() == here.labels.tolist()
    assert there.images.shape == tuple(here.images.shape)
    rows = torch.tensor([7, 0, 7, 3])
    for chosen in (rows, slice(2, 5), rows[:0]):
        assert torch.equal(there.images[chosen], here.images[chosen])
    assert torch.equal(there.pixel_counts, here.pixel_counts)
    assert torch.equal(count_pixels(there.images, rows), count_pixels(here.images, rows))


def test_the_threshold_is_what_the_decoded_images_take(folder):
    size = 10 * 3 * 4 * 6 / 2**30
    assert isinstance(load_folder(folder, memory_gib=size).images, torch.Tensor)
    assert isinstance(load_folder(folder, memory_gib=0.999 * size).images, Undecoded)


def test_a_second_start_looks_at_one_image_only(folder, decoded):
    first = load_folder(folder, memory_gib=TOO_LITTLE)
    assert set(decoded) == set(first.names)
    decoded.clear()
    second = load_folder(folder, memory_gib=TOO_LITTLE)
    assert decoded == ["0.png"]
    assert second.digest == first.digest
    assert torch.equal(second.pixel_counts, first.pixel_counts)
    assert not list(folder.parent.parent.glob(".cache/*.pt"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "][",
        lambda text: "- 1\n",
        lambda text: text.replace("digest: ", "digest: 0"),
        lambda text: text.replace("- 1\n", "- 2\n", 1),
        lambda text: "\udcff",
    ],
)
def test_a_damaged_summary_is_made_anew(folder, decoded, damage):
    expected = load_folder(folder, memory_gib=TOO_LITTLE)
    (cache,) = folder.parent.parent.glob(".cache/train-fine.yaml")
    before = cache.read_text()
    changed = damage(before)
    assert changed != before
    cache.write_bytes(changed.encode("utf-8", "surrogateescape"))
    decoded.clear()
    again = load_folder(folder, memory_gib=TOO_LITTLE)
    assert set(decoded) == set(expected.names)
    assert again.digest == expected.digest
    assert torch.equal(again.pixel_counts, expected.pixel_counts)
    assert cache.read_text() == before


def test_a_changed_folder_is_looked_through_anew(folder):
    before = load_folder(folder, memory_gib=TOO_LITTLE)
    (folder / "1" / "9.png").rename(folder / "0" / "9.png")
    after = load_folder(folder, memory_gib=TOO_LITTLE)
    assert after.digest != before.digest


def test_images_that_do_not_fit_or_cannot_be_read_are_refused_at_the_start(folder):
    file = folder / "1" / "9.png"
    Image.new("RGB", (7, 5)).save(file)
    with pytest.raises(UserError, match=r"9\.png is 7 x 5 pixels, but 0\.png is 6 x 4"):
        load_folder(folder, memory_gib=TOO_LITTLE)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"9\.png cannot be read"):
        load_folder(folder, memory_gib=TOO_LITTLE)


# ---------------------------------------------------------------- a study


ALONE = ("num_seeds=1", "analyse=false")


def study(in_process, tiny, place: Path, *more: str) -> str:
    load_folder_once.cache_clear()
    status, out, err = in_process(
        train_system.main, *tiny, *ALONE, f"save_dir={place.parent}", f"exp_name={place.name}", *more
    )  # fmt: skip
    assert status == 0, err
    return out


def same(one: Path, other: Path) -> None:
    for arm in ARMS:
        here, there = one / arm / "seed0", other / arm / "seed0"
        for file in ("best.ckpt", "last.ckpt"):
            mine, theirs = (
                torch.load(place / "checkpoints" / file, weights_only=True)
                for place in (here, there)
            )
            assert mine["state_dict"].keys() == theirs["state_dict"].keys()
            for name, weight in mine["state_dict"].items():
                assert weight.equal(theirs["state_dict"][name]), (arm, name)
            for fact in ("mean", "std", "train_images", "fingerprint"):
                assert mine["bilateral"][fact] == theirs["bilateral"][fact]
        for file in ("fingerprint.yaml", "metrics.csv"):
            assert (here / file).read_text() == (there / file).read_text()
        results = [yaml.safe_load((place / "result.yaml").read_text()) for place in (here, there)]
        for result in results:
            del result["seconds"], result["sha256"], result["digest"]
        assert results[0] == results[1]


@pytest.fixture(scope="module")
def in_memory(tiny, navon, succeed, tmp_path_factory) -> Callable[[str], Path]:
    """Studies whose images lie in memory, by name: with augmentation and without."""

    @cache
    def place(name: str) -> Path:
        folder = tmp_path_factory.mktemp("memory")
        options = [*ALONE, f"save_dir={folder}", f"exp_name={name}", *MORE[name]]
        succeed(train_system.main, *tiny, *options)
        return folder / name

    return place


MORE = {"augmented": ["dataset.crop_padding=2", "dataset.flip=true"], "plain": []}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["null", 0])
@pytest.mark.parametrize("name", ["augmented", "plain"])
def test_a_study_is_the_same_bit_for_bit(name, workers, in_memory, tiny, in_process, tmp_path):
    place = tmp_path / name
    study(in_process, tiny, place, *MORE[name], SMALL, f"hparams.num_workers={workers}")
    same(place, in_memory(name))


def loaded(root: Path, *overrides: str) -> DualHeadData:
    overrides = [f"dataset.root={root}", *overrides]
    cfg = compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=overrides)
    data = DualHeadData(cfg, seed=0)
    data.load()
    return data


@pytest.mark.parametrize("workers", [None, 0, 3])
def test_as_many_processes_decode_as_there_are_threads(navon, workers, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    more = [] if workers is None else [f"hparams.num_workers={workers}"]

    def processes(*overrides: str) -> list[int]:
        data = loaded(navon, *more, *overrides)
        loaders = [data.train_dataloader(), data.val_dataloader()]
        data.train_set.features = torch.zeros(len(data.train_set), 3)
        return [loader.num_workers for loader in (*loaders, data.train_dataloader())]

    assert processes() == [0, 0, 0]
    decoding = 2 if workers is None else workers
    assert processes(SMALL) == [decoding, decoding, 0]


def test_where_batches_cannot_be_passed_on_no_processes_load(navon, monkeypatch, caplog):
    data = loaded(navon, SMALL, "hparams.num_workers=2", "hparams.batch_size=64")
    # Two batches that wait for each process, and the one that is looked at.
    needed = 5 * 64 * 3 * 32 * 32
    for free, processes in ((needed, 2), (needed - 1, 0)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert data.train_dataloader().num_workers == processes
        assert ("/dev/shm has less than" in caplog.text) == (processes == 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)]
)
def test_a_signal_to_all_processes_ends_the_step_first(signum, status, tiny, tmp_path):
    more = ["trainer_params.max_epochs=500", "hparams.num_workers=2", SMALL]
    process = subprocess.Popen(
        [sys.executable, "arch_single_head/trainer.py", *tiny, *more, f"save_dir={tmp_path}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if "epoch 2/500" in line:
            os.killpg(process.pid, signum)
    assert process.wait(60) == status, said
    assert said[-1] == f"Stopped by {signum.name}: run the same command to continue.\n"
    assert not [line for line in said if line.startswith(("error", "Traceback"))]


class Ending(Dataset):
    """A set whose images end the process that loads them."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_loading_process_that_ends_is_said_in_a_sentence():
    with pytest.raises(RuntimeError) as caught:
        next(iter(DataLoader(Ending(), num_workers=1)))
    sentence = explain(caught.value, StudyConfig)
    assert sentence is not None
    assert "process that loads images ended" in sentence
    assert "\n" not in sentence
    assert "hparams.num_workers" in sentence


@pytest.mark.slow
def test_more_memory_is_no_other_configuration(tiny, in_process, tmp_path):
    more = ["trainer_params.limit_train_batches=1", "no_bilateral=true"]
    study(in_process, tiny, tmp_path / "study", *more, SMALL)
    assert study(in_process, tiny, tmp_path / "study", *more).count("done before") == 2


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 7, 19])
def test_a_killed_study_continues_bit_for_bit(
    step, in_memory, tiny, in_process, monkeypatch, tmp_path
):
    monkeypatch.setattr(callbacks, "CONTINUE_EVERY_S", 0.0)
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    more = [*MORE["augmented"], SMALL]
    with before_step(step, kill), pytest.raises(Killed):
        study(in_process, tiny, tmp_path / "study", *more)
    # What is left is done in memory: even that may change in between.
    study(in_process, tiny, tmp_path / "study", *MORE["augmented"])
    same(tmp_path / "study", in_memory("augmented"))
