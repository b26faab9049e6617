"""Weights that were trained elsewhere: what a file may be, what fits, and what names of torchvision's mean."""

import math
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from common.checkpoints.pretrained import identity_of, load_pretrained, refuse_other_weights
from common.networks.backbones import build_backbone
from common.networks.hemisphere import HemisphereConfig
from common.system.errors import UserError

SMALL = "shufflenet_v2_x0_5"


def model(name: str = SMALL, seed: int = 0) -> nn.Module:
    """A model of torchvision with random weights, statistics of BatchNorm included, in evaluation mode."""
    torch.manual_seed(seed)
    options = {}
    if name == "googlenet":
        options = {"aux_logits": True, "init_weights": False, "transform_input": True}
    found = torchvision.models.get_model(name, weights=None, **options)
    for layer in found.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return found.eval()


def config(pretrained: str | Path | None, arch: str = f"torchvision:{SMALL}") -> HemisphereConfig:
    pretrained = None if pretrained is None else str(pretrained)
    return HemisphereConfig(arch=arch, width=1.0, k=1.0, per_k=1.0, pretrained=pretrained)


def before_classifier(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What torchvision's own classifier is given."""
    seen = []
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    last.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        network(images)
    return seen[0]


@pytest.mark.parametrize("name", [SMALL, "mobilenet_v3_small", "resnet18", "googlenet"])
def test_a_pretrained_backbone_computes_what_torchvisions_model_does(name, tmp_path):
    """The stem is the one that the weights were trained with, and so is the scale of pixels."""
    theirs = model(name)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    asked = config(tmp_path / "weights.pth", f"torchvision:{name}")
    backbone = asked.backbone().eval()
    assert load_pretrained(backbone, asked)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert backbone(images).equal(before_classifier(theirs, images))


def test_without_weights_the_stem_is_still_that_of_small_images():
    stems = [one.backbone().model.conv1[0].stride for one in (config(None), config("DEFAULT"))]
    assert stems == [(1, 1), (2, 2)]


def write(form: str, weights: dict, folder: Path) -> Path:
    """Write weights as some program or other does."""
    file = folder / "weights.bin"
    if form == "safetensors":
        file = folder / "weights.safetensors"
        safetensors.torch.save_file(weights, file)
    elif form == "old torch":
        torch.save(weights, file, _use_new_zipfile_serialization=False)
    elif form == "our backbone's names":
        torch.save({f"model.{name}": w for name, w in weights.items()}, file)
    else:
        torch.save(weights if form == "torch" else {form: weights, "epoch": 3}, file)
    return file


FORMS = ["torch", "old torch", "safetensors", "state_dict", "model", "our backbone's names"]


@pytest.mark.parametrize("form", FORMS)
def test_any_usual_file_of_the_same_tensors_gives_the_same_weights(form, tmp_path):
    weights = model().state_dict()
    asked = config(write(form, weights, tmp_path))
    backbone = asked.backbone()
    refuse_other_weights(asked)
    assert load_pretrained(backbone, asked)
    loaded = backbone.state_dict()
    assert set(weights) - {name.removeprefix("model.") for name in loaded} == {
        "fc.weight",
        "fc.bias",
    }
    assert all(w.equal(weights[name.removeprefix("model.")]) for name, w in loaded.items())


def test_the_identity_of_a_file_is_its_tensors_and_not_its_place_or_format(tmp_path):
    arch, weights = f"torchvision:{SMALL}", model().state_dict()
    (tmp_path / "other").mkdir()
    files = [write("torch", weights, tmp_path), write("safetensors", weights, tmp_path / "other")]
    first, second = (identity_of(arch, str(file)) for file in files)
    assert first == second
    weights["conv1.0.weight"][0, 0, 0, 0] += 1
    write("torch", weights, tmp_path)
    assert identity_of(arch, str(files[0])) != first
    assert identity_of(arch, None) is None


def test_counts_of_batches_may_be_missing_as_in_older_files(tmp_path):
    weights = {n: w for n, w in model().state_dict().items() if "num_batches" not in n}
    asked = config(write("torch", weights, tmp_path))
    backbone = asked.backbone()
    assert load_pretrained(backbone, asked)
    assert not any(w.any() for n, w in backbone.state_dict().items() if "num_batches" in n)


def test_backbones_of_this_project_take_files_of_their_own_weights(tmp_path):
    ours = build_backbone("resnet9", width=0.125).state_dict()
    asked = HemisphereConfig(
        "resnet9", 0.125, k=0.5, per_k=1.0, pretrained=str(write("torch", ours, tmp_path))
    )
    backbone = asked.backbone()
    assert load_pretrained(backbone, asked)
    assert all(w.equal(ours[name]) for name, w in backbone.state_dict().items())


def test_torchvisions_vgg_fits_ours_but_for_its_classifier(tmp_path):
    """Shapes alone: on the meta device they take no memory."""
    with torch.device("meta"):
        theirs, ours = torchvision.models.vgg11().state_dict(), build_backbone("vgg11")
    rest = {name for name in theirs if not name.startswith(ours.classifiers)}
    assert rest == set(ours.state_dict())


# What is refused


def refusal(pretrained: str | Path, arch: str = f"torchvision:{SMALL}") -> str:
    """The one sentence, said before training and by the loading itself."""
    said = []
    for act in (refuse_other_weights, lambda one: load_pretrained(one.backbone(), one)):
        with pytest.raises(UserError) as error:
            act(config(pretrained, arch))
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "\n" not in said[0]
    return said[0]


def test_tensors_that_do_not_fit_are_named_and_counted(tmp_path):
    weights = model().state_dict()
    for name in [name for name in weights if name.startswith("stage4.3")]:
        del weights[name]
    weights |= {f"extra.{i}": torch.zeros(2) for i in range(5)}
    weights["conv1.0.weight"] = torch.zeros(24, 3, 5, 5)
    said = refusal(write("torch", weights, tmp_path))
    missing = [
        name
        for name in model().state_dict()
        if name.startswith("stage4.3") and "num_batches" not in name
    ]
    assert f"it lacks {', '.join(missing[:3])} and {len(missing) - 3} more" in said
    assert "extra.0, extra.1, extra.2 and 2 more, which the backbone has not" in said
    assert "conv1.0.weight (24, 3, 5, 5) in place of (24, 3, 3, 3)" in said
    assert f"does not fit torchvision:{SMALL}" in said
    assert "fine_pretrained" in said


def test_weights_of_another_model_are_refused(tmp_path):
    file = write("safetensors", model("mobilenet_v3_small").state_dict(), tmp_path)
    assert "it lacks conv1.0.weight" in refusal(file)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    weights = model().state_dict()
    weights["conv1.1.bias"][3] = math.nan
    assert "not finite in conv1.1.bias" in refusal(write("torch", weights, tmp_path))


class Payload:
    """Would make a folder if it were unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("older", [False, True])
def test_a_file_that_would_run_code_is_refused_and_does_not(older, tmp_path):
    torch.save(
        {"a": Payload(tmp_path / "made")},
        tmp_path / "w.pth",
        _use_new_zipfile_serialization=not older,
    )
    assert "more than plain containers and tensors" in refusal(tmp_path / "w.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY nothing of the kind", "half"])
def test_damaged_files_are_refused(name, content, tmp_path):
    file = tmp_path / name
    if content == "half":
        form = "safetensors" if name.endswith("safetensors") else "torch"
        content = write(form, model().state_dict(), tmp_path).read_bytes()[:100_000]
    file.write_bytes(content)
    assert str(file) in refusal(file)


@pytest.mark.parametrize("content", [{}, {"a": 1}, [torch.zeros(2)], {"state_dict": {"a": "b"}}])
def test_files_of_other_things_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    assert "something else than named tensors" in refusal(tmp_path / "w.pth")


def test_places_without_a_file_are_refused(tmp_path):
    assert "is not there" in refusal(tmp_path / "none.pth")
    assert "is a folder" in refusal(tmp_path)


def test_a_checkpoint_of_this_project_is_sent_to_its_own_keys(checkpoints):
    assert "hparams.model_path_fine" in refusal(checkpoints["fine"])


# Names of torchvision's weights


def test_names_are_looked_up_without_a_network():
    full = "ResNet50_Weights.IMAGENET1K_V2"
    arch = "torchvision:resnet50"
    assert identity_of(arch, "DEFAULT") == identity_of(arch, "IMAGENET1K_V2") == full
    assert identity_of(arch, "IMAGENET1K_V1") != full
    refuse_other_weights(config("DEFAULT", arch))


def test_a_name_that_the_backbone_has_not_is_answered_with_those_it_has():
    said = refusal("IMAGENET1K_V7", "torchvision:resnet18")
    assert "allowed: DEFAULT, IMAGENET1K_V1, or a file of weights" in said
    assert "the backbone is resnet9" in refusal("DEFAULT", "resnet9")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty place for downloads."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_a_downloaded_file_is_loaded_by_its_name(cache):
    theirs = model()
    url = torchvision.models.get_model_weights(SMALL).DEFAULT.url
    torch.save(theirs.state_dict(), cache / Path(url).name)
    asked = config("DEFAULT")
    backbone = asked.backbone().eval()
    assert load_pretrained(backbone, asked)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert backbone(images).equal(before_classifier(theirs, images))


def test_without_a_network_a_sentence_says_where_the_file_may_be_put(cache, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    asked = config("DEFAULT")
    with pytest.raises(UserError) as error:
        load_pretrained(asked.backbone(), asked)
    said = str(error.value)
    assert "no route to host" in said
    assert str(cache) in said
    assert torchvision.models.get_model_weights(SMALL).DEFAULT.url in said
    assert "\n" not in said
