"""export.py: the file gives the same answers without this project, says what it is, and is refused if it differs."""

import builtins
import json
import subprocess
import sys

import pytest
import torch

import common.trained.export
import export
from bilateral import load
from common.checkpoints.record import Record
from common.data.transforms import Transforms
from common.networks.backbones import build_backbone, registered
from common.networks.hemisphere import Hemisphere
from common.networks.macro import UnilateralNet
from common.system.errors import UserError
from common.trained.export import TOLERANCE, compare, metadata
from common.trained.inference import Trained

FORMATS = ("torch", "onnx")
SUFFIX = {"torch": "pt2", "onnx": "onnx"}
# What a program without this project does: any import of it is an error.
ELSEWHERE = """
import importlib.abc, json, sys
class No(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("common", "bilateral", "arch_dual_head", "arch_single_head"):
            raise ImportError(name)
sys.meta_path.insert(0, No())
import numpy as np
images = np.load("images.npy")
if sys.argv[1].endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1])
    about = session.get_modelmeta().custom_metadata_map
    about = {name: json.loads(value) for name, value in about.items()}
    shapes = [session.get_inputs()[0].shape]
    answers = [session.run(about["levels"], {"images": images[:n]}) for n in (1, 5, len(images))]
else:
    import torch
    extra = {"metadata.json": ""}
    program = torch.export.load(sys.argv[1], extra_files=extra).module()
    about = json.loads(extra["metadata.json"])
    answers = [
        [one.numpy() for one in program(torch.from_numpy(images[:n]))] for n in (1, 5, len(images))
    ]
json.dump(about, open("about.json", "w"))
np.savez("answers.npz", **{f"{level}{i}": value for i, batch in enumerate(answers)
                           for level, value in zip(about["levels"], batch)})
"""


@pytest.fixture
def written(in_process, checkpoints, tmp_path):
    """Export a kind of network; gives the file."""

    def run(kind: str, form: str):
        if form == "onnx":
            pytest.importorskip("onnxscript", reason="requirements-export.txt is not installed")
            pytest.importorskip("onnxruntime", reason="requirements-export.txt is not installed")
        file = tmp_path / f"network.{SUFFIX[form]}"
        status, out, err = in_process(
            export.main, f"checkpoint={checkpoints[kind]}", f"format={form}", f"output={file}"
        )
        assert (status, err) == (0, "")
        assert f"Exported: {file}" in out
        assert f"allowed: {TOLERANCE:.0e}" in out
        return file

    return run


@pytest.mark.parametrize("form", ["onnx", pytest.param("torch", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind",
    ["bilateral", *(pytest.param(k, marks=pytest.mark.slow) for k in ("coarse", "ensemble"))],
)
def test_the_same_answers_without_this_project(kind, form, written, checkpoints, navon):
    import numpy as np

    from common.data.image_folder import load_folder

    file = written(kind, form)
    trained = load(checkpoints[kind])
    images = load_folder(navon / "test" / "fine").images[:12]
    np.save(file.parent / "images.npy", images.numpy())
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, file.name],
        cwd=file.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = np.load(file.parent / "answers.npz")
    for level, expected in trained.logits(images).items():
        for i, n in enumerate((1, 5, 12)):
            found = torch.from_numpy(answers[f"{level}{i}"])
            assert torch.allclose(found, expected[:n], atol=1e-3)
            assert torch.equal(found.argmax(1), expected[:n].argmax(1))
    about = json.loads((file.parent / "about.json").read_text())
    assert about == metadata(trained)
    assert about["class_names"] == trained.class_names
    assert about["label_ids"] == trained.label_ids
    assert about["mean"] == trained.record.mean


def test_by_default_it_lies_in_the_runs_folder(in_process, checkpoints, tmp_path):
    copy = tmp_path / "run" / "checkpoints" / "best.ckpt"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(checkpoints["fine"].read_bytes())
    status, _, _ = in_process(export.main, f"checkpoint={copy}", "format=torch")
    assert status == 0
    assert (tmp_path / "run" / "fine.pt2").is_file()


def untrained(network, size: int) -> Trained:
    """A network as if it had been trained on images of a size."""
    levels = {"fine": 6, "coarse": 2}
    record = Record(
        folder="arch_dual_head",
        arm="unilateral",
        seed=0,
        config={"dataset": {"name": "X"}},
        label_ids={level: [*range(n)] for level, n in levels.items()},
        class_names={level: [*map(str, range(n))] for level, n in levels.items()},
        mean=[0.5, 0.4, 0.3],
        std=[0.2, 0.3, 0.4],
        image_size=[size, size],
        train_images="",
        fingerprint="",
    )
    transforms = Transforms(mean=record.mean, std=record.std, crop_padding=0, flip=False).eval()
    return Trained(
        network=network.eval(), transforms=transforms, record=record, device=torch.device("cpu")
    )


def net(arch: str) -> UnilateralNet:
    torch.manual_seed(0)
    return UnilateralNet(
        hemisphere=Hemisphere(build_backbone(arch, width=0.125), freeze=True),
        num_classes={"fine": 6, "coarse": 2},
        dropout=0.5,
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("arch", registered())
def test_every_backbone_is_exported(arch, form, tmp_path):
    pytest.importorskip("onnxscript", reason="requirements-export.txt is not installed")
    for size in (32, 64):
        trained = untrained(net(arch), size)
        file = tmp_path / "network"
        assert common.trained.export.export(trained, file, kind=form) <= TOLERANCE
        assert all(hemisphere.frozen for hemisphere in trained.network.hemispheres.values())


def test_a_network_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    trained = untrained(net("resnet9"), 32)
    read = common.trained.export._read_torch

    def wrong(trained, file):
        run = read(trained, file)
        return lambda images: {
            level: values * torch.where(values == values.max(), 1.001, 1.0)
            for level, values in run(images).items()
        }

    monkeypatch.setattr(common.trained.export, "_read_torch", wrong)
    with pytest.raises(UserError, match=r"was not written: .* differ .* allowed: 1e-04"):
        common.trained.export.export(trained, tmp_path / "wrong.pt2", kind="torch")
    assert [*tmp_path.iterdir()] == []


def test_what_counts_as_a_difference():
    trained = untrained(net("resnet9"), 32)
    assert compare(trained, trained.logits) == 0

    def changed(change):
        return lambda images: {k: change(v) for k, v in trained.logits(images).items()}

    assert compare(trained, changed(lambda v: v + 0.01)) >= 0.01 / 50
    assert compare(trained, changed(lambda v: v[:, :1])) == float("inf")
    assert not compare(trained, changed(lambda v: v * float("nan"))) <= TOLERANCE


def test_without_the_packages_it_says_what_to_install(
    in_process, checkpoints, monkeypatch, tmp_path
):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("onnx"):
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    output = f"output={tmp_path / 'x.onnx'}"
    status, _, err = in_process(export.main, f"checkpoint={checkpoints['fine']}", output)
    assert status == 1
    assert err == (
        "error: format=onnx needs onnx: python -m pip install -r requirements-export.txt.\n"
    )
    assert [*tmp_path.iterdir()] == []


def test_an_unknown_format_is_refused(in_process, checkpoints):
    status, _, err = in_process(export.main, f"checkpoint={checkpoints['fine']}", "format=tensorrt")
    assert status == 1
    assert "format is 'tensorrt'; allowed: onnx, torch" in err


def test_a_file_of_any_name_is_written(in_process, checkpoints, tmp_path):
    file = tmp_path / "a=b,1.pt2"
    arguments = (f"checkpoint={checkpoints['fine']}", "format=torch", f"output={file}")
    assert in_process(export.main, *arguments)[0] == 0
    assert file.is_file()


def test_an_ending_of_the_other_format_is_refused(in_process, checkpoints, tmp_path):
    file = tmp_path / "x.onnx"
    arguments = (f"checkpoint={checkpoints['fine']}", "format=torch", f"output={file}")
    status, _, err = in_process(export.main, *arguments)
    assert status == 1
    assert err == (
        f"error: output={file} has the ending of format=onnx, and format is torch: change one of them.\n"
    )
    assert not file.exists()
