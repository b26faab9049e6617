"""Every join in the hands of those who ask a trained network: export, one hemisphere alone, weights, HiResCAM."""

import pytest
import torch
from PIL import Image

import predict
from common.checkpoints.record import Record
from common.data.transforms import Transforms
from common.networks.backbones import build_backbone
from common.networks.hemisphere import Hemisphere
from common.networks.joins import JOINS
from common.networks.macro import BilateralNet
from common.trained.export import TOLERANCE, export
from common.trained.grad_cam import evidence
from common.trained.inference import Trained

CLASSES = {"fine": 6, "coarse": 2}
PICTURES = torch.randint(
    0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)
WEIGHING = {"gate", "attention", "winner"}


def trained(join: str) -> Trained:
    """A bilateral network of a join as if it had been trained."""
    torch.manual_seed(0)
    network = BilateralNet(
        left=Hemisphere(build_backbone("resnet9", width=0.125), freeze=True),
        right=Hemisphere(build_backbone("resnet9", width=0.125), freeze=True),
        num_classes=CLASSES,
        dropout=0.5,
        join=JOINS[join].load(),
        auxiliary=True,
    ).eval()
    if join == "gate":
        torch.nn.init.normal_(network.join.gate.weight, std=0.02)
    record = Record(
        folder="arch_dual_head",
        arm="bilateral",
        seed=0,
        config={"dataset": {"name": "X"}},
        label_ids={level: [*range(n)] for level, n in CLASSES.items()},
        class_names={level: [*map(str, range(n))] for level, n in CLASSES.items()},
        mean=[0.5, 0.4, 0.3],
        std=[0.2, 0.3, 0.4],
        image_size=[32, 32],
        train_images="",
        fingerprint="",
    )
    transforms = Transforms(mean=record.mean, std=record.std, crop_padding=0, flip=False).eval()
    return Trained(
        network=network, transforms=transforms, record=record, device=torch.device("cpu")
    )


@pytest.mark.parametrize(
    "join",
    [pytest.param(one, marks=[] if one == "attention" else pytest.mark.slow) for one in JOINS],
)
def test_an_exported_network_answers_as_the_network_does(join, tmp_path):
    assert export(trained(join), tmp_path / "network.pt2", kind="torch") <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("join", JOINS)
def test_an_onnx_file_answers_as_the_network_does(join, tmp_path):
    pytest.importorskip("onnxscript", reason="requirements-export.txt is not installed")
    assert export(trained(join), tmp_path / "network.onnx", kind="onnx") <= TOLERANCE


@pytest.mark.parametrize("join", JOINS)
def test_one_hemisphere_alone_is_asked_of_the_join(join):
    one = trained(join)
    features = one.features(PICTURES)
    quiet = one.network.join.silent
    assert join != "product" or quiet == 1
    for side in ("left", "right"):
        held = {
            name: values if name == side else torch.full_like(values, quiet)
            for name, values in features.items()
        }
        with torch.no_grad():
            expected = one.network.classify(torch.cat([*held.values()], dim=1))
        for level, logits in one.logits(PICTURES, alone=side).items():
            assert torch.allclose(logits, expected[level], atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_silent_hemisphere_never_wins(side):
    one = trained("winner")
    key, other = ("fine", "coarse") if side == "left" else ("coarse", "fine")
    for head in one.network.auxiliary[other].values():
        head.linear.bias.data[0] = 50  # sure of a class whatever it sees
    features = one.features(PICTURES)[side]
    for level, logits in one.logits(PICTURES, alone=side).items():
        with torch.no_grad():
            assert torch.allclose(logits, one.network.auxiliary[key][level](features), atol=1e-5)


@pytest.mark.parametrize("join", JOINS)
def test_weights_of_hemispheres_add_up_to_one_where_they_are_weighed(join):
    weights = trained(join).weights(PICTURES)
    assert weights is not None or join not in WEIGHING
    for sides in (weights or {}).values():
        assert list(sides) == ["left", "right"]
        assert torch.allclose(sides["left"] + sides["right"], torch.ones(5))


@pytest.mark.parametrize("join", ["concatenate", "gate"])
def test_predict_says_how_much_each_hemisphere_weighs(join, tmp_path):
    file = tmp_path / "picture.png"
    Image.fromarray(PICTURES[0].permute(1, 2, 0).numpy()).save(file)
    one = trained(join)
    (row,) = predict.answers(one, [file], one.pixels([file]))
    assert ("weights" in row) == (join == "gate")
    if join == "gate":
        expected = one.weights(PICTURES[:1])["fine"]["left"].item()
        assert row["weights"]["fine"]["left"] == pytest.approx(expected, abs=1e-5)
        assert sum(row["weights"]["coarse"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("join", JOINS)
def test_cells_are_those_of_the_logit_that_the_join_gives(join):
    """Gradient times activation, summed over cells, is gradient times feature: after a maximum, of any join."""
    one = trained(join)
    images = one.transforms(PICTURES)
    features = one.network.features(images).requires_grad_()
    classes = torch.tensor([0, 1, 0, 1, 0])
    rows = torch.arange(5)
    logit = one.network.classify(features)["coarse"][rows, classes].sum()
    (slope,) = torch.autograd.grad(logit, features)
    for side, part in one.network.split(features.detach() * slope).items():
        cells = evidence(one.network, images, level="coarse", side=side, classes=classes)
        assert torch.allclose(cells.sum((1, 2)), part.sum(1), atol=1e-4, rtol=1e-3)
