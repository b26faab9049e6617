"""The Python way in: any picture, features and probabilities of a checkpoint alone, and a study without argv."""

import csv
import io
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image, TiffImagePlugin
from torch.utils.data import DataLoader, Dataset

import arch_dual_head.test
import arch_single_head.test
from bilateral import load, study
from common.checkpoints.files import RECORD
from common.data.image_folder import load_folder
from common.data.pictures import as_rgb, fit, read_picture
from common.settings.overrides import override_keys, spelled
from common.system.errors import UserError
from common.system.signals import HANDLED

KINDS = ("fine", "coarse", "bilateral", "unilateral", "ensemble")


@pytest.fixture(scope="module")
def trained(checkpoints):
    return load(checkpoints["bilateral"])


@pytest.fixture(scope="module")
def files(navon):
    return sorted((navon / "test" / "fine").glob("*/*.png"))[:6]


# ---------------------------------------------------------------- pictures


def pixel(image) -> tuple:
    """The colour of an image's first pixel, as it is shown to a network."""
    rgb = as_rgb(image)
    assert rgb.mode == "RGB"
    return rgb.getpixel((0, 0))


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 7, (7, 7, 7)),
        ("LA", (7, 255), (7, 7, 7)),
        ("LA", (7, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 51), (206, 208, 210)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("La", (7, 255), (7, 7, 7)),
        ("La", (0, 0), (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("I;16", 0x80FF, (128, 128, 128)),
        ("I", 0xFFFF, (255, 255, 255)),
    ],
)
def test_every_colour_mode_becomes_rgb(mode, value, expected):
    assert pixel(Image.new(mode, (2, 2), value)) == expected


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_black_figure_on_nothing_stands_on_white(kind, tmp_path):
    figure = Image.new("RGBA", (8, 8))  # all of it black
    figure.putpixel((2, 2), (0, 0, 0, 255))
    figure.save(tmp_path / f"figure.{kind}")
    shown = np.asarray(read_picture(tmp_path / f"figure.{kind}"))
    assert [*zip(*np.nonzero((shown == 0).all(2)), strict=True)] == [(2, 2)]
    assert (shown[0] == 255).all()


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_of_16_bits_is_read_whichever_end_is_white(white_is_zero, tmp_path):
    bright = np.full((4, 4), 60_000, np.uint16)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = int(not white_is_zero)
    written = 0xFFFF - bright if white_is_zero else bright
    Image.fromarray(written).save(tmp_path / "bright.tif", tiffinfo=tags)
    assert read_picture(tmp_path / "bright.tif").getpixel((0, 0)) == (60_000 >> 8,) * 3


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1)])
def test_pixels_of_unknown_range_are_refused(mode, value, tmp_path):
    file = tmp_path / "depth.tiff"
    Image.new(mode, (2, 2), value).save(file)
    with pytest.raises(UserError, match=r"depth\.tiff cannot be read as an image .*16 bits"):
        read_picture(file)


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=1)
    assert pixel(Image.open(tmp_path / "opaque.png")) == (200, 100, 50)
    assert pixel(Image.open(tmp_path / "clear.png")) == (255, 255, 255)


def test_a_photograph_is_turned_as_its_exif_data_says(tmp_path):
    image = Image.new("RGB", (8, 4), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg").size == (4, 8)
    image.save(tmp_path / "damaged.jpg", exif=b"Exif\0\0nonsense")
    assert read_picture(tmp_path / "damaged.jpg").size == (8, 4)


def test_every_format_and_the_first_frame(tmp_path):
    image = Image.new("RGB", (32, 32), (250, 20, 20))
    for name in ("a.png", "a.jpg", "a.bmp", "a.gif", "a.tif", "a.webp", "a.ppm"):
        image.save(tmp_path / name, quality=100)
        assert np.allclose(np.asarray(read_picture(tmp_path / name)), np.asarray(image), atol=16)
    second = Image.new("RGB", (32, 32), "blue")
    image.save(tmp_path / "b.gif", save_all=True, append_images=[second])
    assert read_picture(tmp_path / "b.gif").getpixel((0, 0))[0] > 200


def test_the_shorter_side_fits_and_both_ends_are_cut_alike():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert np.asarray(fit(Image.fromarray(wide), height=10, width=10)).min() == 255
    exact = Image.effect_noise((32, 32), 80).convert("RGB")
    assert fit(exact, height=32, width=32) is exact
    for size in ((1, 1), (1, 500), (500, 1), (31, 33)):
        assert fit(Image.new("RGB", size), height=20, width=32).size == (32, 20)


def test_training_reads_images_by_the_same_rule(tmp_path):
    folder = tmp_path / "train" / "fine" / "0"
    folder.mkdir(parents=True)
    Image.new("I;16", (4, 4), 0x8000).save(folder / "a.png")
    assert load_folder(folder.parent).images.unique().tolist() == [128]


# ---------------------------------------------------------------- a trained network


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_the_networks_own(kind, checkpoints, files):
    trained = load(checkpoints[kind])
    images = torch.stack(
        [torch.from_numpy(np.array(Image.open(file).convert("RGB"))) for file in files]
    ).permute(0, 3, 1, 2)
    mean = torch.tensor(trained.record.mean).view(1, 3, 1, 1)
    std = torch.tensor(trained.record.std).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = trained.network((images / 255 - mean) / std)
    found = trained.predict(files)
    levels = (kind,) if kind in ("fine", "coarse") else ("fine", "coarse")
    assert trained.levels == tuple(found) == tuple(trained.class_names) == levels
    for level in levels:
        assert found[level].shape == (6, len(trained.class_names[level]))
        assert torch.allclose(found[level], expected[level].softmax(1), atol=1e-5)
    side = next(iter(trained.sides))
    for method in (trained.grad_cam, trained.hires_cam):
        assert method(files, level=levels[0], hemisphere=side).shape == (6, *trained.image_size)


def test_names_and_ids_stand_in_the_order_of_the_probabilities(trained, navon):
    hierarchy = OmegaConf.load(navon / "hierarchy.yaml")
    assert trained.class_names["coarse"] == [str(one) for one in hierarchy.coarse.values()]
    assert trained.label_ids == {"fine": list(range(100)), "coarse": list(range(20))}


def test_features_are_those_that_test_writes(trained, checkpoints, in_process, tmp_path, navon):
    copy = tmp_path / "best.ckpt"
    copy.write_bytes(checkpoints["bilateral"].read_bytes())
    status, _, err = in_process(
        arch_dual_head.test.main, f"checkpoint={copy}", "hparams.mode=feature"
    )
    assert status == 0, err
    file = np.load(tmp_path / "features.npz")
    written, folder = file["features"], load_folder(navon / "test" / "fine")
    assert file["image"].tolist() == folder.names
    features = trained.features(folder.images)
    assert list(features) == ["left", "right"]
    # test.py may compute in bfloat16, which has 8 bits.
    both = torch.cat([*features.values()], dim=1).numpy()
    assert np.allclose(both, written, rtol=0.1, atol=0.1 * np.abs(both).max())


def test_a_network_of_float16_is_tested_on_a_cpu_too(checkpoints, in_process, tmp_path):
    content = torch.load(checkpoints["fine"], weights_only=True)
    given = content[RECORD]["config"]["trainer_params"]
    given |= {"precision": "16-mixed", "accelerator": "cpu"}
    torch.save(content, tmp_path / "half.ckpt")
    status, out, err = in_process(
        arch_single_head.test.main, f"checkpoint={tmp_path / 'half.ckpt'}"
    )
    assert (status, err) == (0, "")
    assert "%" in out


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("coarse", ["right"]),
        ("unilateral", ["left"]),
        ("ensemble", ["member0.left", "member1.left"]),
    ],
)
def test_features_of_every_hemisphere_have_its_name(kind, names, checkpoints, files):
    trained = load(checkpoints[kind])
    features = trained.features(files)
    assert list(features) == names
    whole = trained.network.features(trained.transforms(trained.pixels(files)))
    assert torch.allclose(torch.cat([*features.values()], dim=1), whole, atol=1e-5)


def test_paths_images_and_tensors_are_the_same_pictures(trained, files):
    pixels = trained.pixels(files)
    assert pixels.dtype == torch.uint8
    opened = [Image.open(file) for file in files]
    for pictures in (pixels, [*pixels], opened, [str(file) for file in files]):
        assert torch.equal(trained.pixels(pictures), pixels)
    for one in (files[0], str(files[0]), opened[0], pixels[0]):
        assert torch.equal(trained.pixels(one), pixels[:1])
    folder = files[0].parent
    assert torch.equal(trained.pixels(folder), trained.pixels(sorted(folder.glob("*.png"))))
    large = Image.open(files[0]).resize((70, 64))
    tensor = torch.from_numpy(np.array(large.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(trained.pixels(large), trained.pixels(tensor))


def test_patterns_and_the_home_folder_are_paths(trained, files, monkeypatch):
    monkeypatch.setenv("HOME", str(files[0].parents[1]))
    pixels = trained.pixels(files[0].parent)
    for pattern in (files[0].parent / "*.png", f"~/{files[0].parent.name}/**/*.png"):
        assert torch.equal(trained.pixels(pattern), pixels)


def test_arrays_are_pictures_too(trained, files):
    """As NumPy and OpenCV hold them, (H, W, 3): one, a list, or all in one array, of any size."""
    pixels = trained.pixels(files)
    arrays = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    assert torch.equal(trained.pixels(arrays), pixels)
    assert torch.equal(trained.pixels(np.stack(arrays)), pixels)
    assert torch.equal(trained.pixels(arrays[1]), pixels[1:2])
    mirrored = trained.pixels(np.flip(arrays[1], axis=1))  # a view with negative strides
    assert torch.equal(mirrored, pixels[1:2].flip(3))
    large = Image.open(files[0]).convert("RGB").resize((70, 64))
    assert torch.equal(trained.pixels(np.asarray(large)), trained.pixels(large))
    expected = trained.predict(files[0])["fine"]
    assert torch.equal(trained.predict(arrays[0])["fine"], expected)
    assert torch.equal(trained.pixels(np.array([str(file) for file in files])), pixels)
    for wrong in (arrays[0].astype(float), arrays[0][..., 0], arrays[0].transpose(2, 0, 1)):
        with pytest.raises(UserError, match=r"is no picture; allowed: uint8 and shape \(H, W, 3\)"):
            trained.pixels(wrong)


@pytest.mark.parametrize("name", ["a=b[1], c (2)", "lr=0.1"])
def test_test_py_takes_paths_with_any_character(name, checkpoints, in_process, tmp_path, navon):
    place = tmp_path / name
    place.mkdir()
    (place / "best.ckpt").write_bytes(checkpoints["fine"].read_bytes())
    (place / "SET").symlink_to(navon)
    answers = place / "answers=1.csv.gz"
    status, out, err = in_process(
        arch_single_head.test.main,
        f"checkpoint={place}/best.ckpt",
        f"dataset.root={place}/SET",
        f"predictions={answers}",
    )
    assert (status, err) == (0, "")
    assert f"test images of {place}/SET/test/fine" in out.replace("\n", "")
    assert answers.is_file()


def test_batches_change_nothing(trained, navon, monkeypatch):
    images = load_folder(navon / "test" / "fine").images[:20]
    whole = trained.predict(images)["fine"]
    cams = trained.grad_cam(images, level="fine", hemisphere="right")
    monkeypatch.setattr("common.trained.inference.BATCH", 7)
    assert torch.allclose(trained.predict(images)["fine"], whole, atol=1e-5)
    assert torch.allclose(
        trained.grad_cam(images, level="fine", hemisphere="right"), cams, atol=1e-3
    )


def test_a_hemisphere_alone_contributes_its_part_and_the_bias(trained, files):
    both = trained.logits(files)
    alone = {side: trained.logits(files, alone=side) for side in trained.sides}
    for level in trained.levels:
        bias = trained.network.heads[level].linear.bias.detach()
        total = alone["left"][level] + alone["right"][level] - bias
        assert torch.allclose(total, both[level], atol=1e-4)
        assert not torch.allclose(alone["left"][level], both[level], atol=1e-2)
    weight = trained.network.heads["fine"].linear.weight.detach()
    right = trained.features(files)["right"]
    expected = right @ weight[:, -right.shape[1] :].T
    bias = trained.network.heads["fine"].linear.bias.detach()
    assert torch.allclose(alone["right"]["fine"], expected + bias, atol=1e-4)


def test_the_hemispheres_of_an_ensemble_are_named_by_member(checkpoints, files):
    ensemble = load(checkpoints["ensemble"])
    assert ensemble.sides == ("member0.left", "member1.left")
    assert tuple(ensemble.features(files)) == ensemble.sides


def test_nothing_changes_what_was_loaded(trained, files):
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    turned = Image.open(files[0]).convert("RGBA")
    trained.predict([turned], alone="left")
    trained.features(files)
    trained.grad_cam(files, level="coarse", hemisphere="left")
    assert turned.mode == "RGBA"
    after = trained.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not trained.predict(files)["fine"].requires_grad


@pytest.mark.parametrize(
    ("pictures", "named"),
    [
        (torch.zeros(3, 32, 32), r"torch.float32 and shape \(3, 32, 32\).*torch.uint8"),
        (torch.zeros(32, 32, dtype=torch.uint8), r"\(32, 32\)"),
        (torch.zeros(2, 1, 32, 32, dtype=torch.uint8), r"shape \(2, 1, 32, 32\) is no picture"),
        (np.zeros((2, 32, 32, 3)), r"float64 and shape \(2, 32, 32, 3\) is no picture"),
        (np.zeros((0, 32, 32, 3), np.uint8), "no pictures"),
        ([], "no pictures"),
        ("", "one or a list of them, not ''"),
        (torch.zeros(3, 0, 0, dtype=torch.uint8), r"\(3, 0, 0\) is no picture"),
        (Image.fromarray(np.full((32, 32), 2208, np.uint16)), "mode I;16.*no value above 4095"),
        (3, "one or a list of them, not 3"),
        ([5], "one or a list of them, not 5"),
        ([None], "one or a list of them, not None"),
        ([[__file__]], "one or a list of them, not .*test_inference"),
        (b"x", "one or a list of them, not b'x'"),
        (io.BytesIO(b"x"), "one or a list of them, not <_io.BytesIO"),
        (Image.new("F", (32, 32), 0.5), "mode F is no picture: its pixels are neither 8 nor 16"),
        ("nowhere.png", r"no picture at nowhere\.png"),
        (__file__, r"test_inference\.py cannot be read as an image"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(trained, pictures, named):
    with pytest.raises(UserError, match=named):
        trained.predict(pictures)


def test_a_head_that_is_not_there_is_refused(trained, files):
    with pytest.raises(UserError, match="no head 'fin'; there are fine, coarse"):
        trained.hires_cam(files, level="fin", hemisphere="left")


def test_the_class_to_explain_may_be_given_in_any_form_and_must_be_one(trained, files):
    def maps(classes) -> torch.Tensor:
        return trained.hires_cam(files[:3], level="coarse", hemisphere="left", classes=classes)

    expected = maps(torch.tensor([0, 1, 19]))
    for classes in ([0, 1, 19], (0, 1, 19), np.array([0, 1, 19], np.int32)):
        assert torch.equal(maps(classes), expected)
    wrong = [[0, 1], [0, 1, 20], [0, 1, -1], [0, 1, 0.5], [[0, 1, 1]], [True] * 3, "012", 5, []]
    for classes in (*wrong, torch.tensor([0, 1, 20]), np.array([0.0, 1.0, 1.0])):
        with pytest.raises(UserError, match=r"^classes is .* here 3, .* from 0 to 19[.]$"):
            maps(classes)


def test_halves_that_are_not_there_are_refused(trained, checkpoints, files):
    with pytest.raises(UserError, match="no hemisphere 'middle'; there are left, right"):
        trained.predict(files, alone="middle")
    for kind, side in (("fine", "left"), ("ensemble", "member0.left")):
        other = load(checkpoints[kind])
        assert not other.has_halves
        with pytest.raises(UserError, match="no two hemispheres"):
            other.predict(files, alone=side)


def test_checkpoints_that_cannot_be_loaded(tmp_path, checkpoints):
    with pytest.raises(UserError, match="no checkpoint at"):
        load(tmp_path / "nothing.ckpt")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.ckpt").touch()
    with pytest.raises(UserError, match=r"folder, no checkpoint; give .*/checkpoints/best.ckpt"):
        load(tmp_path)
    content = torch.load(checkpoints["fine"], weights_only=True)
    content[RECORD]["folder"] = "arch_triple_head"
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="written by arch_triple_head"):
        load(tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="'abacus' is no device"):
        load(checkpoints["fine"], device="abacus")
    with pytest.raises(UserError, match="'cuda:99' is not there; allowed here: cpu"):
        load(checkpoints["fine"], device="cuda:99")
    for wrong in (None, 3):
        with pytest.raises(UserError, match=rf"^checkpoint is {wrong}; allowed: the path of a"):
            load(wrong)


@pytest.mark.parametrize("device", ["mps", "meta", "cuda", None])
def test_devices_that_are_not_there_are_refused_with_those_that_are(
    checkpoints, monkeypatch, device
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"^'?{device}'? is .*; allowed here: cpu\.$"):
        load(checkpoints["fine"], device=device)


# ---------------------------------------------------------------- a study


def test_values_are_spelled_as_on_a_command_line():
    keys = {
        "dataset": "navon",
        "num_seeds": 2,
        "no_bilateral": True,
        "arch": None,
        "seeds": (0, 3),
        "hparams": {"lr": 1e-3, "model": {"path": 'a "b", c=d.ckpt'}},
    }
    text = spelled(keys)
    assert text[1:5] == ["num_seeds=2", "no_bilateral=true", "arch=null", "seeds=[0,3]"]
    assert [*override_keys(text)][-2:] == ["hparams.lr", "hparams.model.path"]


def test_from_python_too_a_mistake_is_one_sentence(tmp_path, monkeypatch):
    import train_system

    class Spoilt(Dataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> None:
            raise UserError("a.png cannot be read as an image.")

    # From a process that loads images torch brings it with a traceback.
    loader = DataLoader(Spoilt(), num_workers=1)
    monkeypatch.setattr(train_system, "execute", lambda *_: next(iter(loader)))
    with pytest.raises(UserError, match=r"^a\.png cannot be read as an image\.$"):
        study(dataset="navon", save_dir=str(tmp_path))


def test_a_study_from_python_is_recorded_as_the_command_that_does_the_same(tmp_path, monkeypatch):
    import sys

    import train_system

    monkeypatch.setattr(sys, "argv", ["kernel.py", "-f", "kernel.json"])
    seen = []

    def recorded(cfg, overrides):
        seen.extend(sys.argv)
        raise UserError("That is enough.")

    monkeypatch.setattr(train_system, "execute", recorded)
    with pytest.raises(UserError, match="enough"):
        study("hparams.lr=0.1", dataset="navon", save_dir=str(tmp_path))
    assert seen[:2] == ["train_system.py", "hparams.lr=0.1"]
    assert [*override_keys(seen[1:])] == ["hparams.lr", "dataset", "save_dir"]
    assert sys.argv[0] == "kernel.py"


@pytest.mark.slow
def test_a_study_from_python_is_that_of_the_command_line(
    tiny, tmp_path, monkeypatch, succeed, capsys
):
    import train_system

    short = [*tiny, "trainer_params.max_epochs=1", "analyse=false", f"save_dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["kernel", "-f", "not=a=key"])
    handlers = [signal.getsignal(number) for number in HANDLED]
    rows = study(*short, num_seeds=1, exp_name="python", epochs={"bilateral": 2})
    assert [signal.getsignal(n) for n in HANDLED] == handlers
    assert [(row.arm, row.level) for row in rows] == [
        ("fine", "fine"),
        ("coarse", "coarse"),
        ("bilateral", "fine"),
        ("bilateral", "coarse"),
    ]
    printed = " ".join(capsys.readouterr().out.split())  # a narrow table breaks its title
    assert "python (debug: no result): test accuracy" in printed
    succeed(train_system.main, *short, "num_seeds=1", "exp_name=shell", "epochs.bilateral=2")
    python, shell = (
        [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader((tmp_path / place / "summary.csv").read_text().splitlines())
        ]
        for place in ("python", "shell")
    )
    assert python == shell

    # Again, and from a thread, where signals cannot be taken over.
    again = []
    thread = threading.Thread(
        target=lambda: again.extend(
            study(*short, num_seeds=1, exp_name="python", epochs={"bilateral": 2})
        )
    )
    thread.start()
    thread.join()
    assert again == list(rows)
    assert capsys.readouterr().out.count("done before") == 3


@pytest.mark.parametrize(
    ("overrides", "keys", "named"),
    [
        ([], {"num_seed": 2}, "Unknown key num_seed: did you mean num_seeds"),
        (
            [],
            {"dataset": "imagenet"},
            "dataset=imagenet is not there; allowed: cifar100, cifar100_tenth, folders, navon",
        ),
        ([], {"num_seeds": 0}, "num_seeds is 0; allowed"),
        ([], {"num_seeds": 2, "seeds": [1]}, "not both"),
        (["hparams.lr"], {}, "'hparams.lr' is not KEY=VALUE"),
        ([3], {}, "'3' is not KEY=VALUE"),
        ([], {"hparams": {"farch": "vgg11"}}, "give farch="),
        ([], {"dataset": "navon", "exp_name": "a/b"}, "exp_name is 'a/b'; allowed"),
    ],
)
def test_a_study_refuses_in_one_sentence(overrides, keys, named):
    with pytest.raises(UserError, match=named) as caught:
        study(*overrides, **keys)
    assert "\n" not in str(caught.value)


def test_importing_costs_no_torch(command):
    done = command("-c", "import sys, bilateral; print('torch' in sys.modules)")
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@pytest.mark.slow
def test_without_the_data_set(checkpoints, tmp_path, navon):
    """Everything is in the checkpoint: a process that may open no file of the data set predicts the same."""
    picture = tmp_path / "one.png"
    source = next((navon / "test" / "fine" / "3").iterdir())
    picture.write_bytes(source.read_bytes())
    expected = load(checkpoints["bilateral"]).predict(picture)["fine"]
    program = (
        "import sys\n"
        f"sys.addaudithook(lambda event, args: event == 'open' and {str(navon)!r} in str(args[0])"
        " and sys.exit('opened ' + str(args[0])))\n"
        "import torch, bilateral\n"
        f"found = bilateral.load({str(checkpoints['bilateral'])!r}).predict({str(picture)!r})\n"
        "torch.save(found['fine'], sys.stdout.buffer)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert torch.allclose(torch.load(io.BytesIO(done.stdout)), expected, atol=1e-6)
