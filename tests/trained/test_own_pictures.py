"""A network that learned from prepared photographs is shown others exactly as those were: one size, and 8 bits."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_sets import write_study

import arch_dual_head.test
import data_scripts.prepare_folders as prepare_folders
import predict
from bilateral import load
from common.checkpoints.files import RECORD
from common.data.image_folder import load_folder
from common.data.images import decode
from common.data.prepared import read_made
from common.results.predictions import read_predictions
from common.system.errors import UserError

ORIENTATION = 0x0112
KINDS = ("plain.png", "turned.jpg", "cmyk.jpg", "grey.png", "twelve.tif", "sixteen.png")
PEAK = 3000  # of the set's wide pictures


def photograph(file: Path, seed: int) -> None:
    """A picture of one of `KINDS`, none of them square, and larger than training needs them."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (7, 10, 3), np.uint8))
    image = small.resize((300, 200), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    file.parent.mkdir(parents=True, exist_ok=True)
    match file.stem:
        case "turned":
            exif[ORIENTATION] = 6
            image.save(file, exif=exif)
        case "cmyk":
            image.convert("CMYK").save(file)
        case "grey":
            image.convert("L").save(file)
        case "twelve" | "sixteen":
            pixels = np.asarray(image.convert("L")).astype(np.uint16)
            pixels = (pixels * 11).clip(0, PEAK).astype(np.uint16)
            pixels[0, 0] = PEAK
            Image.fromarray(pixels).save(file)
        case _:
            image.save(file)


@pytest.fixture(scope="module", params=["cover", "pad", "keep"])
def studied(request, tmp_path_factory):
    """A study of untrained networks on prepared photographs: their folder, the set's and the bilateral checkpoint."""
    place = tmp_path_factory.mktemp(request.param)
    for n, (coarse, fine) in enumerate([("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")]):
        for m, kind in enumerate(KINDS):
            for k, split in enumerate(("train", "train", "test")):
                file = place / "photos" / split / coarse / fine / str(k) / kind
                photograph(file, 100 * n + 10 * m + k)
    how = ["--keep"] if request.param == "keep" else ["--fit", request.param]
    arguments = [place / "photos", "--out-dir", place / "SET", "--size", "24x16", *how]
    assert prepare_folders.main([str(one) for one in arguments]) == 0
    networks = write_study(place / "study", place / "SET")
    (checkpoint,) = (path for path, one in networks.items() if one.record.arm == "bilateral")
    content = torch.load(checkpoint, weights_only=True)
    content[RECORD]["config"]["trainer_params"]["precision"] = "32-true"
    torch.save(content, checkpoint)
    return place / "photos", place / "SET", checkpoint


def originals(photos: Path) -> dict[str, Path]:
    """The test pictures by their names in the set, without suffix."""
    files = (photos / "test").rglob("*.*")
    return {"_".join(f.relative_to(photos / "test").with_suffix("").parts): f for f in files}


def test_the_pixels_are_those_that_training_saw(studied):
    photos, made, checkpoint = studied
    trained, folder = load(checkpoint), load_folder(made / "test" / "fine")
    assert len(folder.names) == 4 * len(KINDS)
    paths = originals(photos)
    for row, name in enumerate(folder.names):
        file = paths[Path(name).stem]
        assert torch.equal(trained.pixels(file)[0], folder.images[row]), name
    # The set's own images are shown as they are.
    files = sorted((made / "test" / "fine").rglob("*.png"))
    if all(Path(name).suffix == ".png" for name in folder.names):
        assert torch.equal(trained.pixels(files), decode(files))


def test_test_and_predict_say_the_same_of_the_same_picture(studied, in_process, tmp_path):
    photos, _, checkpoint = studied
    table = tmp_path / "answers.csv.gz"
    status, _, err = in_process(
        arch_dual_head.test.main, f"checkpoint={checkpoint}", f"predictions={table}"
    )
    assert status == 0, err
    status, out, err = in_process(
        predict.main, f"checkpoint={checkpoint}", f"image={photos / 'test'}", "--json"
    )
    assert (status, err) == (0, "")
    said = {one["image"]: one for one in json.loads(out)["images"]}
    paths = originals(photos)
    answers = read_predictions(table)
    assert len(answers) == len(said) == 4 * len(KINDS)
    for one in answers:
        best = said[str(paths[Path(one.image).stem])]
        for level in ("fine", "coarse"):
            assert best[level][0]["label"] == one.answer[level]
            assert best[level][0]["probability"] == pytest.approx(one.probability[level], abs=3e-6)


def test_a_set_of_other_names_numbers_or_size_is_told_from_the_one_of_training(
    studied, in_process, tmp_path
):
    """The label ids may agree where the classes do not: an accuracy would then say nothing, in silence."""
    photos, made, checkpoint = studied
    test = arch_dual_head.test.main

    def other(name: str, *changes: tuple[str, str]) -> tuple[int, str, str]:
        shutil.copytree(made, tmp_path / name)
        file = tmp_path / name / "hierarchy.yaml"
        text = file.read_text(encoding="utf-8")
        for change in changes:
            assert change[0] in text
            text = text.replace(*change)
        file.write_text(text, encoding="utf-8")
        return in_process(test, f"checkpoint={checkpoint}", f"dataset.root={tmp_path / name}")

    status, out, err = other("same", ("a1", "a1"))
    assert (status, err) == (0, "")
    assert "called" not in out
    assert "pixels" not in out
    status, out, err = other("renamed", ("name: a1", "name: zz"))
    assert (status, err) == (0, "")
    assert "the fine class 0 is called zz, and a1 where the network was trained (1 of 4" in out
    status, _, err = other("moved", ("a1", "?"), ("a2", "a1"), ("?", "a2"))
    assert status == 1
    assert "the fine class a1 has label id 1, and 0 where" in err
    # The classes 0, 1, 2 and 4: as many as in training.
    (tmp_path / "same/test/fine/3").rename(tmp_path / "same/test/fine/4")
    index, hierarchy = tmp_path / "same/index.csv", tmp_path / "same/hierarchy.yaml"
    rows = [line.split(",") for line in index.read_text().splitlines()]
    index.write_text(
        "".join(",".join([a, b, "4" if c == "3" else c, d, e]) + "\n" for a, b, c, d, e in rows)
    )
    hierarchy.write_text(hierarchy.read_text().replace("  3: {name", "  4: {name"))
    status, _, err = in_process(
        test, f"checkpoint={checkpoint}", f"dataset.root={tmp_path / 'same'}"
    )
    assert status == 1
    assert "fine classes (4) than" in err
    assert "the first label id that differs is 4, and 3 in training." in err
    arguments = [photos, "--out-dir", tmp_path / "small", "--size", "12x8"]
    assert prepare_folders.main([str(one) for one in arguments]) == 0
    status, out, err = in_process(
        test, f"checkpoint={checkpoint}", f"dataset.root={tmp_path / 'small'}"
    )
    assert "images of 12 x 8 pixels, and the network was trained on 24 x 16" in out


def test_images_in_memory_are_brought_the_same_way(studied):
    photos, _, checkpoint = studied
    trained = load(checkpoint)
    wide = next(path for path in originals(photos).values() if path.name == "sixteen.png")
    with Image.open(wide) as image:
        assert torch.equal(trained.pixels(image), trained.pixels(wide))
    plain = wide.with_name("plain.png")
    assert torch.equal(trained.pixels(np.asarray(Image.open(plain))), trained.pixels(plain))


def test_what_is_brighter_than_the_set_is_white_and_half_of_its_peak_half(studied, tmp_path):
    _, _, checkpoint = studied
    for name, value, expected in (("a", 60_000, 255), ("b", PEAK, 255), ("c", PEAK // 2, 128)):
        Image.fromarray(np.full((16, 24), value, np.uint16)).save(tmp_path / f"{name}.png")
        assert load(checkpoint).pixels(tmp_path / f"{name}.png").unique().tolist() == [expected]


# A stand-in, whose files are a word and a PNG: what matters is who asks it, and when.
PILLOW_HEIF = """
import io
from PIL import Image, PngImagePlugin

def register_heif_opener():
    def opened(file, name):
        file.seek(4)
        return PngImagePlugin.PngImageFile(io.BytesIO(file.read()))
    Image.register_open("HEIF", opened, lambda start: start.startswith(b"heic"))
"""


def test_heic_is_read_where_pillow_heif_is_and_named_where_it_is_not(
    studied, tmp_path, monkeypatch, in_process
):
    photos, _, checkpoint = studied
    png = next(path for path in originals(photos).values() if path.name == "plain.png")
    heic = tmp_path / "pictures" / "telephone.HEIC"
    heic.parent.mkdir()
    heic.write_bytes(b"heic" + png.read_bytes())
    arguments = (f"checkpoint={checkpoint}", "--json")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    for named in (heic, heic.parent):
        status, _, err = in_process(predict.main, *arguments, f"image={named}")
        assert status == 1
        assert err.count("\n") == 1
        assert str(heic) in err
        assert "pip install pillow-heif" in err
    monkeypatch.delitem(sys.modules, "pillow_heif")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pillow_heif.py").write_text(PILLOW_HEIF)
    monkeypatch.syspath_prepend(tmp_path / "site")
    try:
        status, out, err = in_process(predict.main, *arguments, f"image={heic.parent}")
        assert (status, err) == (0, "")
        (found,) = json.loads(out)["images"]
        _, out, _ = in_process(predict.main, *arguments, f"image={png}")
        assert found | {"image": str(png)} == json.loads(out)["images"][0]
    finally:
        Image.OPEN.pop("HEIF", None)
        Image.ID.remove("HEIF")
        sys.modules.pop("pillow_heif", None)


def test_a_set_made_before_wide_pixels_were_noted_is_read(prepared):
    file = prepared / "prepared.yaml"
    made = read_made(prepared)
    assert "peak: 0\n" in file.read_text()
    file.write_text(file.read_text().replace("  peak: 0\n", ""))
    assert read_made(prepared) == made
    file.write_text(file.read_text().replace("  keep:", "  peak: 70000\n  keep:"))
    with pytest.raises(UserError, match="does not say how the set was prepared"):
        read_made(prepared)
