"""A small Navon set on disk, and the project's commands run as a person runs them."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import CLASSES, Killed, before_step, kill
from hypothesis import settings
from small_sets import two_labels

from common.data.pictures import Frame
from common.data.prepared import Made, write_prepared
from common.data.raw import Raw, RawSplit, write_raw
from common.data.tree import write_tree
from common.system.signals import HANDLED
from data_scripts.make_navon import make_navon

# Examples that are the same in every run, and no clock: the machine may be busy.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent

# Tests compare bits, count steps and use stand-ins, which holds on the CPU: they run there, also where there is a GPU.
# Tests of the GPU find its number here, also in the processes of pytest-xdist.
os.environ.setdefault("TESTS_GPU", os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0])
os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def navon(tmp_path_factory) -> Path:
    """A prepared Navon set of 600 training and 200 test images; tests must not change it."""
    out_dir = tmp_path_factory.mktemp("datasets") / "NAVON"
    write_tree(make_navon(train=600, test=200, seed=0), out_dir, split_seed=0)
    return out_dir


@pytest.fixture(scope="session")
def independent(tmp_path_factory) -> Path:
    """A prepared set of two independent labels, called local and global; tests must not change it."""
    out_dir = tmp_path_factory.mktemp("datasets") / "LABELS"
    write_tree(two_labels(), out_dir, split_seed=0)
    return out_dir


@pytest.fixture(scope="session")
def tiny(navon) -> list[str]:
    """Overrides for a run of a few seconds: the small set, a narrow network, two short epochs, no bars or events."""
    return [
        "dataset=navon",
        f"dataset.root={navon}",
        "dataset.width=0.125",
        "trainer_params.max_epochs=2",
        "trainer_params.limit_train_batches=4",
        "trainer_params.limit_val_batches=1",
        "hparams.batch_size=32",
        "logger=csv",
    ]


@pytest.fixture
def prepared(tmp_path) -> Path:
    """A set's folder with the file that says what suits it, and nothing else."""
    own = {"name": "INSECTS", "width": 0.5, "batch_size": 24, "epochs": {"single": 7, "dual": 3}}
    frame = Frame(8, 8)
    write_prepared(tmp_path / "SET", own, Made(frame, keep=False, grouped=False, held_out=""))
    return tmp_path / "SET"


@pytest.fixture(scope="session")
def command():
    """Run ``python <arguments>`` from the repository's root; text output, no terminal."""

    def run(*arguments: str, cwd: Path = ROOT, timeout: float = 300, **environment: str):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "COLUMNS": "200", **environment},
        )

    return run


@pytest.fixture(scope="session")
def gpu(command) -> str:
    """Give what CUDA_VISIBLE_DEVICES must be for a command to use the GPU; skip a test where there is none."""
    number = os.environ["TESTS_GPU"]
    asked = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    if not torch.version.cuda or command("-c", asked, CUDA_VISIBLE_DEVICES=number).returncode:
        pytest.skip("there is no GPU")
    return number


@pytest.fixture(scope="session")
def succeed():
    """Run a command that must succeed, for fixtures that live longer than one test; gives what it printed."""

    def run(main, *arguments: str) -> str:
        argv, said = sys.argv, io.StringIO()
        sys.argv = ["program", *arguments]
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                main()
        except SystemExit as stop:
            raise AssertionError(said.getvalue()) from stop
        finally:
            sys.argv = argv
        return said.getvalue()

    return run


@pytest.fixture
def in_process(monkeypatch, capsys):
    """Run a command's ``main`` in this process, which saves the seconds of importing torch anew.

    Returns its exit status, standard output and standard error.
    """

    def run(main, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        status = 0
        handlers = {number: signal.getsignal(number) for number in HANDLED}
        try:
            main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, tiny, succeed) -> dict[str, Path]:
    """A barely trained checkpoint of each kind of network, by its arm; tests must not change them."""
    from arch_dual_head.trainer import main as dual
    from train_system import study

    save_dir = tmp_path_factory.mktemp("checkpoints")
    scratch = ["hparams.ffreeze=false", "hparams.model_path_fine=null"]
    short = [*tiny, "trainer_params.max_epochs=1", f"save_dir={save_dir}", "exp_name=study"]
    with contextlib.redirect_stdout(io.StringIO()):
        study(*short, num_seeds=1, evaluate=False)
    succeed(dual, *short, *scratch, "hparams.macro_arch=unilateral", "seeds=[0,1]")
    member = f"{save_dir}/study/unilateral/seed{{}}/checkpoints/best.ckpt"
    members = f"hparams.model_path_fine=[{member.format(0)},{member.format(1)}]"
    succeed(dual, *short, members, "hparams.macro_arch=ensemble")
    arms = ("fine", "coarse", "bilateral", "unilateral", "ensemble")
    return {arm: save_dir / "study" / arm / "seed0/checkpoints/best.ckpt" for arm in arms}


@pytest.fixture(scope="session")
def two_epochs(navon) -> list[str]:
    """Overrides for two epochs over all of the small set, in float32; none of them is a hyper-parameter."""
    return [
        "dataset=navon",
        f"dataset.root={navon}",
        "dataset.width=0.125",
        "dataset.batch_size=32",
        "dataset.epochs.single=2",
        "dataset.epochs.dual=2",
        "trainer_params.precision=32-true",
        "logger=csv",
    ]


@pytest.fixture(scope="session")
def small_study(two_epochs, succeed, tmp_path_factory) -> SimpleNamespace:
    """One seed of a study, and the pixels of every image that each of its stages was shown."""
    import train_system
    from common.training.module import TrainingModule

    save_dir = tmp_path_factory.mktemp("study")
    shown = defaultdict(lambda: defaultdict(set))
    pixels_of = {}
    with pytest.MonkeyPatch.context() as patch:
        for split in ("training", "validation", "test"):
            step = getattr(TrainingModule, f"{split}_step")

            def noting(self, batch, batch_idx, split=split, step=step):
                if "features" in batch:
                    pixels = {pixels_of[row.numpy().tobytes()] for row in batch["features"]}
                else:
                    pixels = {image.numpy().tobytes() for image in batch["images"]}
                shown[self.record.arm][split] |= pixels
                return step(self, batch, batch_idx)

            patch.setattr(TrainingModule, f"{split}_step", noting)
        predict_step = TrainingModule.predict_step

        def remembering(self, batch, batch_idx):
            seen = predict_step(self, batch, batch_idx)
            for row, image in zip(seen["features"], batch["images"], strict=True):
                pixels_of[row.numpy().tobytes()] = image.numpy().tobytes()
            return seen

        patch.setattr(TrainingModule, "predict_step", remembering)
        place = (f"save_dir={save_dir}", "exp_name=study")
        succeed(train_system.main, *two_epochs, *place, "num_seeds=1", "analyse=false")
    place = save_dir / "study"
    best = {arm: place / arm / "seed0/checkpoints/best.ckpt" for arm in shown}
    return SimpleNamespace(place=place, shown=shown, best=best)


@pytest.fixture(scope="session")
def pretrained(small_study) -> list[str]:
    """Overrides that load both hemispheres from the small study."""
    return [f"hparams.model_path_{level}={small_study.best[level]}" for level in CLASSES]


class Reached(BaseException):
    """A run has come to its first training step."""

    def __init__(self, module, batch, loss):
        self.module, self.batch, self.loss = module, batch, loss
        self.deterministic = torch.are_deterministic_algorithms_enabled()


@pytest.fixture
def killed_at_step(in_process):
    """Run a command in this process that ends, as if killed, at its training step of this number, from 1."""

    def run(number: int, *command) -> None:
        with before_step(number, kill), pytest.raises(Killed):
            in_process(*command)

    return run


@pytest.fixture
def first_step(monkeypatch, two_epochs, tmp_path):
    """Run a trainer up to its first training step; gives the module, its trainer, its data and that step."""

    from common.training.module import TrainingModule

    def to_first_step(main, *overrides: str) -> SimpleNamespace:
        step = TrainingModule.training_step

        def stop(module, batch, batch_idx):
            raise Reached(module, batch, step(module, batch, batch_idx).item())

        with monkeypatch.context() as patch:
            patch.setattr(TrainingModule, "training_step", stop)
            patch.setattr(sys, "argv", ["program", *two_epochs, f"save_dir={tmp_path}", *overrides])
            with pytest.raises(Reached) as reached:
                main()
        torch.use_deterministic_algorithms(False)
        first = reached.value
        trainer = first.module.trainer
        place = Path(trainer.default_root_dir)
        shutil.rmtree(place)
        return SimpleNamespace(
            module=first.module,
            network=first.module.network,
            trainer=trainer,
            data=trainer.datamodule,
            optimizer=trainer.optimizers[0],
            batch=first.batch,
            loss=first.loss,
            deterministic=first.deterministic,
            place=place.relative_to(tmp_path) if place.is_relative_to(tmp_path) else place,
        )

    return to_first_step


@pytest.fixture(scope="session")
def twins(tmp_path_factory) -> SimpleNamespace:
    """A set of 12 fine classes in 3 coarse ones; in each split, classes 2 and 11 (both of coarse class 2)
    have an image named baby.png. The first pixel of each image is its fine label."""
    rng = np.random.default_rng(0)

    def split(per_class: int) -> RawSplit:
        fine = [label for label in range(12) for _ in range(per_class)]
        images = rng.integers(0, 256, (len(fine), 3, 16, 16), np.uint8)
        images[:, 0, 0, 0] = fine
        names = [f"image{i:02}.png" for i in range(len(fine))]
        for label in (2, 11):
            names[label * per_class] = "baby.png"
        return RawSplit(images, fine, [label % 3 for label in fine], names)

    folder = tmp_path_factory.mktemp("twins")
    names = [f"f{i}" for i in range(12)], [f"c{i}" for i in range(3)]
    raw = Raw(split(4), split(2), *names)
    write_raw(raw, folder / "raw")
    write_tree(raw, folder / "SET", split_seed=0)
    return SimpleNamespace(root=folder / "SET", raw=folder / "raw", sizes={"train": 48, "test": 24})


@pytest.fixture(scope="session")
def others(two_epochs, small_study, navon, succeed, tmp_path_factory) -> dict[str, object]:
    """Another data set, another place, and hemispheres of another seed."""
    import train_system

    folder = tmp_path_factory.mktemp("others")
    write_tree(make_navon(train=600, test=200, seed=1), folder / "OTHER", split_seed=0)
    short = "trainer_params.limit_train_batches=1"
    succeed(
        train_system.main,
        *two_epochs,
        short,
        f"save_dir={folder}",
        "exp_name=another",
        "seeds=[1]",
        "no_bilateral=true",
        "analyse=false",
    )
    hemispheres = {
        f"another_{level}": folder / "another" / level / "seed1/checkpoints/best.ckpt"
        for level in CLASSES
    }
    return {"other": folder / "OTHER", "elsewhere": folder, "navon": navon} | hemispheres
