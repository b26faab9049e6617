"""Disks and folders that give out: one sentence, earlier results intact, and the same command goes on."""

import contextlib
import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import before_step
from PIL import Image

import analyse
import data_scripts.make_navon
import data_scripts.prepare_cifar
import data_scripts.prepare_folders
import train_system
from common.data.image_folder import load_folder

ROOT = Path(__file__).resolve().parents[2]
STUDY = train_system.main
ARMS = ("fine", "coarse", "bilateral")
NOBODY = 65534


def one_line(err: str, *named: str) -> None:
    assert "Traceback" not in err
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert [name for name in named if name not in err] == [], err


def table(experiment: Path) -> list[dict[str, str]]:
    """results.csv without seconds and checkpoint."""
    with (experiment / "results.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k not in ("seconds", "checkpoint")} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny, succeed) -> Path:
    place = tmp_path_factory.mktemp("whole")
    succeed(STUDY, *tiny, "num_seeds=1", "analyse=false", f"save_dir={place}", "exp_name=study")
    return place / "study"


class Disk:
    """A file system in memory that can be filled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def resize(self, size: int) -> None:
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, str(self.place)], check=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)], capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting a tmpfs takes root")
    yield Disk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    "share", [0.5, *(pytest.param(s / 20, marks=pytest.mark.slow) for s in range(1, 20, 2))]
)
def test_a_full_disk(share, disk, whole, in_process, tiny):
    """The disk holds an earlier experiment and a share of the study."""
    shutil.copytree(whole, disk.place / "earlier")
    earlier = size_of(disk.place / "earlier")
    # A page for each file and folder that is begun.
    disk.resize(int(earlier * (1 + share)) + 2**17)
    arguments = [*tiny, "analyse=false", "num_seeds=1", f"save_dir={disk.place}", "exp_name=study"]
    status, _, err = in_process(STUDY, *arguments)
    assert status == 1
    one_line(err, "No space left on device", str(disk.place), "make room there")
    assert table(disk.place / "earlier") == table(whole)
    assert not list(disk.place.rglob("*.tmp"))
    disk.resize(2**26)
    assert in_process(STUDY, *arguments)[0] == 0
    assert table(disk.place / "study") == table(whole)
    assert size_of(disk.place / "earlier") == earlier


def test_a_disk_that_is_full_before_anything_is_drawn(disk, capsys):
    disk.resize(2**18)
    raw = ["--out-dir", str(disk.place / "raw"), "--train", "600", "--test", "200"]
    assert data_scripts.make_navon.main(raw) == 1
    one_line(capsys.readouterr().err, "No space left on device")


def test_a_disk_that_is_full_before_all_images_are_there(disk, capsys):
    raw, out = disk.place / "raw", disk.place / "SET"
    assert (
        data_scripts.make_navon.main(["--out-dir", str(raw), "--train", "600", "--test", "200"])
        == 0
    )
    disk.resize(size_of(raw) + 2**19)
    capsys.readouterr()
    prepare = ["--raw-dir", str(raw), "--out-dir", str(out)]
    assert data_scripts.prepare_cifar.main(prepare) == 1
    one_line(capsys.readouterr().err, "No space left on device", str(out))
    disk.resize(2**26)
    assert data_scripts.prepare_cifar.main(prepare) == 0


@pytest.mark.parametrize("keep", [[], ["--keep"]])
def test_a_disk_that_is_full_is_no_fault_of_the_pictures(keep, disk, tmp_path, capsys):
    draw = np.random.default_rng(0)
    for number in range(16):
        file = tmp_path / f"photos/group{number // 8}/class{number // 4}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (64, 64, 3), np.uint8)).save(file)
    disk.resize(2**13)
    prepare = [
        str(tmp_path / "photos"),
        "--out-dir",
        str(disk.place / "SET"),
        "--size",
        "64",
        *keep,
    ]
    assert data_scripts.prepare_folders.main(prepare) == 1
    one_line(capsys.readouterr().err, "No space left on device", str(disk.place))
    disk.resize(2**26)
    assert data_scripts.prepare_folders.main(prepare) == 0


@pytest.mark.parametrize(
    ("memory_gib", "cache"), [(8.0, "train-fine.pt"), (1e-9, "train-fine.yaml")]
)
def test_a_disk_that_is_full_for_a_cache_is_said_and_images_are_decoded_each_time(
    memory_gib, cache, disk, navon, caplog
):
    shutil.copytree(navon, disk.place / "SET", ignore=shutil.ignore_patterns(".cache"))
    disk.resize(shutil.disk_usage(disk.place).used + 4096)
    folder = load_folder(disk.place / "SET/train/fine", memory_gib=memory_gib)
    assert len(folder.names) == 600
    assert f"{cache} cannot be written (No space left on device); make room there" in caplog.text


def test_a_disk_that_is_full_when_a_network_is_exported(disk, whole, command):
    disk.resize(2**16)
    done = command(
        "export.py",
        f"checkpoint={whole / 'fine/seed0/checkpoints/best.ckpt'}",
        "format=torch",
        f"output={disk.place / 'fine.pt2'}",
    )
    assert done.returncode == 1, done.stderr
    one_line(done.stderr, "No space left on device", str(disk.place / "fine.pt2"))
    assert not [*disk.place.iterdir()]


def test_an_analysis_on_a_full_disk_is_refused_before_it_computes(disk, whole, in_process):
    place = disk.place / "study"
    shutil.copytree(whole, place)
    with contextlib.suppress(OSError), (disk.place / "others").open("wb") as file:
        while True:
            file.write(bytes(4096))
    status, out, err = in_process(analyse.main, f"run={place}")
    assert (status, out) == (1, "")
    one_line(err, f"{place} cannot be written (No space left on device)")


@pytest.mark.parametrize("where", ["", "fine/seed0"])
def test_an_analysis_where_nothing_can_be_written_is_refused_before_it_computes(
    where, whole, disk, in_process
):
    place = disk.place / "study"
    shutil.copytree(whole, place)
    _keep_events(place / "fine/seed0/config.yaml")
    folder = str(place / where)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        status, out, err = in_process(analyse.main, f"run={place}")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    assert (status, out) == (1, "")
    one_line(err, f"{Path(folder)} cannot be written (Read-only file system)")
    assert not (place / "analysis").exists()


def _keep_events(config: Path) -> None:
    """Have a stage say that it keeps TensorBoard events."""
    text = config.read_text()
    assert "tensorboard: false" in text
    config.write_text(text.replace("tensorboard: false", "tensorboard: true"))


@pytest.mark.parametrize("where", ["runs", "runs/study", "runs/study/fine/seed0"])
def test_a_file_where_a_folder_should_be(where, in_process, tiny, tmp_path):
    place = tmp_path / where
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file")
    arguments = [
        *tiny,
        "analyse=false",
        "num_seeds=1",
        f"save_dir={tmp_path}/runs",
        "exp_name=study",
    ]
    status, _, err = in_process(STUDY, *arguments)
    assert status == 1
    one_line(err, str(place))


# Folders that vanish


@pytest.mark.slow
@pytest.mark.parametrize(
    "gone",
    ["", "fine", "bilateral/seed0/checkpoints"],
)
def test_a_folder_that_vanishes_while_the_last_stage_trains(
    gone, whole, in_process, tiny, tmp_path
):
    arguments = [*tiny, "analyse=false", "num_seeds=1", f"save_dir={tmp_path}", "exp_name=study"]
    second_epoch_of_the_third_stage = 2 * 2 * 4 + 6
    with before_step(
        second_epoch_of_the_third_stage, lambda: shutil.rmtree(tmp_path / "study" / gone)
    ):
        status, _, err = in_process(STUDY, *arguments)
    if status == 0:  # what vanished was written once more
        assert gone == "bilateral/seed0/checkpoints"
    else:
        one_line(err, str(tmp_path / "study"))
    assert in_process(STUDY, *arguments)[0] == 0
    assert table(tmp_path / "study") == table(whole)


# Permissions, as a person who is not root


@pytest.fixture(scope="module")
def open_place(tmp_path_factory, navon) -> Iterator[Path]:
    """A folder in reach of everybody, with the data set: pytest's own are for their owner."""
    place = Path("/tmp") / f"bilateral-{os.getpid()}"
    place.mkdir()
    place.chmod(0o755)
    shutil.copytree(navon, place / "NAVON")
    shutil.rmtree(place / "NAVON" / ".cache", ignore_errors=True)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def nobody(open_place):
    """Run train_system.py as a user with no rights of their own."""
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def run(*arguments: str):
        return subprocess.run(
            [*as_nobody, sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "HOME": str(open_place), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )

    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("becoming another user takes root and setpriv")
    if run("-c", "import train_system, torch").returncode != 0:
        pytest.skip("another user cannot read the code or its packages")
    return run


@pytest.mark.slow
def test_permission_denied(nobody, open_place, whole, tiny):
    """A folder of someone else's; one that becomes read-only half-way; data that cannot be cached."""
    data = [f"dataset.root={open_place / 'NAVON'}" if "dataset.root" in o else o for o in tiny]
    (open_place / "theirs").mkdir(mode=0o755)
    arguments = ["train_system.py", *data, "analyse=false", "num_seeds=1", "exp_name=study"]
    done = nobody(*arguments, f"save_dir={open_place / 'theirs'}")
    assert done.returncode == 1
    one_line(done.stderr, "Permission denied", str(open_place / "theirs"))
    shutil.copytree(whole, open_place / "theirs/study")
    (open_place / "theirs/study/.lock").touch()
    done = nobody(*arguments, f"save_dir={open_place / 'theirs'}")
    assert done.returncode == 1
    one_line(done.stderr, "theirs/study cannot be written (Permission denied): choose another")

    ours = open_place / "ours"
    shutil.copytree(whole, ours / "study")
    shutil.rmtree(ours / "study" / "bilateral")
    for path in [ours, *ours.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    (ours / "study").chmod(0o555)
    done = nobody(*arguments, f"save_dir={ours}")
    assert done.returncode == 1
    one_line(done.stderr, "Permission denied", str(ours / "study"))
    assert ".tmp" not in done.stderr
    assert table(ours / "study") == table(whole)
    (ours / "study").chmod(0o755)
    done = nobody(*arguments, f"save_dir={ours}")
    assert done.returncode == 0, done.stderr
    # The data set's folder is not theirs: decoded at each start, which is said.
    assert "Images are decoded at every start" in done.stdout
    assert table(ours / "study") == table(whole)

    unreadable = open_place / "NAVON/train/fine/0"
    unreadable.chmod(0o700)
    done = nobody(*arguments, f"save_dir={ours}")
    unreadable.chmod(0o755)
    assert done.returncode == 1
    one_line(done.stderr, "Permission denied", str(unreadable))
