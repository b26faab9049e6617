"""The three scripts as commands: what they make, and one sentence for what goes wrong."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_scripts.index_folders as index_folders
import data_scripts.make_navon as make_navon
import data_scripts.prepare_cifar as prepare_cifar
import data_scripts.prepare_folders as prepare_folders
from common.data.hierarchy import read_hierarchy
from common.data.index import SUFFIXES, read_index, write_index
from common.data.listing import list_folder
from common.data.raw import read_raw, write_raw
from common.data.tree import write_tree
from common.system.atomic_files import only_one

ROOT = Path(__file__).resolve().parents[2]


def fails(capsys, main, *argv: object) -> str:
    """Run a command that must end with one line on stderr; return that line."""
    assert main([str(arg) for arg in argv]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert "Traceback" not in message
    return message


# ---------------------------------------------------------------- make_navon


def test_navon_is_deterministic() -> None:
    one, same, other = (make_navon.make_navon(200, 100, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.train.images, same.train.images)
    assert one.train.names == same.train.names
    assert not np.array_equal(one.train.images, other.train.images)
    assert not np.array_equal(one.train.images[:100], one.test.images)


def test_navon_classes() -> None:
    raw = make_navon.make_navon(200, 100)
    assert raw.train.images.shape == (200, 3, 32, 32)
    assert raw.train.images.dtype == np.uint8
    assert sorted(raw.train.fine) == sorted([*range(100)] * 2)
    assert raw.train.coarse == [label // 5 for label in raw.train.fine]
    assert (len(raw.fine_names), len(raw.coarse_names)) == (100, 20)
    for fine, name in enumerate(raw.fine_names):
        assert name.startswith(raw.coarse_names[fine // 5] + " of ")
    assert len(set(raw.train.names)) == 200
    assert make_navon.TEST >= 5000


def test_navon_letters_differ() -> None:
    for glyphs, shape in (
        (make_navon.LARGE, (20, 7, 5)),
        (make_navon.SMALL[0] | make_navon.SMALL[1], (10, 3, 3)),
    ):
        drawn = make_navon.bitmaps(glyphs)
        assert drawn.shape == shape
        assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_navon_draws_the_large_letter_out_of_small_ones() -> None:
    plain = make_navon.Difficulty(missing=0, worn=0, noise=0)
    coarse, small = list(make_navon.LARGE).index("L"), list(make_navon.SMALL[0]).index("X")
    label = np.array([5 * coarse + small])
    image = make_navon.draw(label, np.random.default_rng(0), plain).images[0]
    colours, inverse = np.unique(image.reshape(3, -1), axis=1, return_inverse=True)
    assert colours.shape[1] == 2
    inverse = inverse.reshape(32, 32)
    mask = inverse != inverse[0, -1] if (inverse == inverse[0, -1]).sum() > 512 else inverse
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert mask.shape == (27, 19)
    assert mask[:3, :3].tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert mask.sum() == 11 * 5  # an L has 7 + 4 cells, an X 5 pixels


def test_navon_figures_have_their_colours_and_are_at_different_places() -> None:
    plain = make_navon.Difficulty(missing=0, worn=0, noise=0, contrast=60)
    found = make_navon.draw(np.zeros(2000, int), np.random.default_rng(0), plain)
    assert found.images.shape == (2000, 3, 32, 32)
    inked = (found.images == found.ink.astype(np.uint8)[:, :, None, None]).all(1)
    ground = (found.images == found.paper.astype(np.uint8)[:, :, None, None]).all(1)
    assert (inked ^ ground).all()
    # An A of H: 18 cells of 7 pixels.
    assert set(inked.sum((1, 2))) == {18 * 7}
    places = {
        (rows.argmax(), columns.argmax())
        for rows, columns in zip(inked.any(2), inked.any(1), strict=True)
    }
    assert places == {(top, left) for top in range(6) for left in range(14)}
    distance = np.sqrt(((found.ink - found.paper) ** 2).mean(1))
    assert distance.min() >= 60


def test_worn_letters_lack_the_same_pixels_wherever_they_are_drawn() -> None:
    worn = make_navon.Difficulty(missing=0, worn=0.5, noise=0)
    label = np.full(400, 5 * list(make_navon.LARGE).index("T") + 2)  # T of I: 11 cells of 3 pixels
    found = make_navon.draw(label, np.random.default_rng(0), worn)
    inked = (found.images == found.ink.astype(np.uint8)[:, :, None, None]).all(1).sum((1, 2))
    assert set(inked) == {11, 22, 33}  # never none of the three
    # Of one, two and three pixels, given that not all are gone: 3/7, 3/7, 1/7.
    shares = [(inked == 11 * n).mean() for n in (1, 2, 3)]
    assert shares == pytest.approx([3 / 7, 3 / 7, 1 / 7], abs=0.08)


def test_navons_difficulty_is_an_option(tmp_path: Path, capsys) -> None:
    sets = []
    for name, *options in (("a",), ("b", "--worn", "0")):
        folder = tmp_path / name
        small = ["--train", "100", "--test", "100", "--out-dir", str(folder), *options]
        assert make_navon.main(small) == 0
        sets.append(read_raw(folder).train.images)
    assert not np.array_equal(sets[0], sets[1])


def test_navon_goes_the_road_of_any_raw_data(tmp_path: Path, capsys) -> None:
    raw, out = tmp_path / "navon-python", tmp_path / "NAVON"
    assert make_navon.main(["--train", "200", "--test", "100", "--out-dir", str(raw)]) == 0
    assert prepare_cifar.main(["--raw-dir", str(raw), "--out-dir", str(out)]) == 0
    assert "200 training images (100 of them" in capsys.readouterr().out
    index = read_index(out)
    assert index.counts() == {"train": 200, "held_out": 100, "test": 100}
    assert read_hierarchy(out).fine[0] == "A of H"
    assert len(list(out.glob("train/fine/*"))) == 100
    assert len(list(out.glob("train/coarse/*"))) == 20


def test_a_tenth_of_the_training_images_of_each_class(tmp_path: Path, capsys) -> None:
    raw, out, whole = tmp_path / "raw", tmp_path / "tenth", tmp_path / "whole"
    assert make_navon.main(["--train", "3000", "--test", "100", "--out-dir", str(raw)]) == 0
    assert prepare_cifar.main(["--raw-dir", str(raw), "--out-dir", str(out), "--tenth"]) == 0
    assert "300 training images (100 of them held out" in capsys.readouterr().out
    assert read_index(out).counts() == {"train": 300, "held_out": 100, "test": 100}
    assert {len([*folder.iterdir()]) for folder in out.glob("train/fine/*")} == {3}
    assert prepare_cifar.main(["--raw-dir", str(raw), "--out-dir", str(whole)]) == 0
    for split in ("train", "test"):
        for file in out.glob(f"{split}/*/*/*.png"):
            assert (whole / file.relative_to(out)).read_bytes() == file.read_bytes()
    assert prepare_cifar.main(["--raw-dir", str(raw), "--out-dir", str(out), "--tenth"]) == 0
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--train", 0], "--train 0"),
        (["--test", -5], "--test -5"),
        (["--seed", -1], "--seed -1"),
        (["--worn", 1.5], "--worn 1.5: allowed are 0 to 0.9"),
        (["--independent", "--small", 4], "--small 4: allowed are multiples of 3"),
        (["--independent", "--spacing", -1], "--spacing -1"),
        (["--independent", "--spacing", 3], "--size 32: allowed are 39"),
        (["--independent", "--size", 600], "to 512"),
        (["--independent", "--train", 50], "at least 100 images"),
    ],
)
def test_navon_bad_numbers(tmp_path: Path, capsys, flags: list[object], said: str) -> None:
    assert said in fails(capsys, make_navon.main, *flags, "--out-dir", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_navon_cannot_write(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in fails(capsys, make_navon.main, "--out-dir", tmp_path / "file" / "x")


# ---------------------------------------------------------------- prepare_cifar


@pytest.fixture
def raw_dir(tmp_path: Path) -> Path:
    write_raw(make_navon.make_navon(40, 20), tmp_path / "raw")
    return tmp_path / "raw"


def test_prepare_without_data_says_what_to_download(tmp_path: Path, capsys) -> None:
    message = fails(capsys, prepare_cifar.main, "--raw-dir", tmp_path / "no", "--out-dir", tmp_path)
    assert prepare_cifar.URL in message
    assert str(tmp_path / "no") in message


def test_prepare_without_network_says_what_to_download(tmp_path: Path, capsys, monkeypatch) -> None:
    import torchvision.datasets.utils as utils

    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setattr(utils, "download_and_extract_archive", no_network)
    raw = tmp_path / prepare_cifar.ARCHIVE_FOLDER
    message = fails(capsys, prepare_cifar.main, "--download", "--raw-dir", raw)
    assert prepare_cifar.URL in message
    assert str(raw) in message


def test_download_checks_the_sum_and_the_folder(tmp_path: Path, capsys, monkeypatch) -> None:
    import torchvision.datasets.utils as utils

    calls = []

    def fetch(url: str, root: str, *, md5: str) -> None:
        calls.append((url, root, md5))
        write_raw(make_navon.make_navon(40, 20), Path(root) / prepare_cifar.ARCHIVE_FOLDER)

    monkeypatch.setattr(utils, "download_and_extract_archive", fetch)
    out = tmp_path / "OUT"
    assert "--raw-dir" in fails(capsys, prepare_cifar.main, "--download", "--raw-dir", tmp_path)
    raw = tmp_path / "new" / prepare_cifar.ARCHIVE_FOLDER
    argv = ["--download", "--raw-dir", str(raw), "--out-dir", str(out)]
    assert prepare_cifar.main(argv) == 0
    assert calls == [(prepare_cifar.URL, str(raw.parent), "eb9058c3a382ffc7106e4002c42a8d85")]
    assert len(read_index(out)) == 60


def test_prepare_damaged_data(raw_dir: Path, tmp_path: Path, capsys) -> None:
    whole = (raw_dir / "train").read_bytes()
    (raw_dir / "train").write_bytes(whole[: len(whole) // 2])
    message = fails(capsys, prepare_cifar.main, "--raw-dir", raw_dir, "--out-dir", tmp_path / "OUT")
    assert str(raw_dir / "train") in message
    assert not (tmp_path / "OUT").exists()


def test_prepare_impossible_folders_and_seeds(raw_dir: Path, tmp_path: Path, capsys) -> None:
    def message(*argv: object) -> str:
        return fails(capsys, prepare_cifar.main, "--raw-dir", raw_dir, *argv)

    assert "lies inside" in message("--out-dir", raw_dir.parent)
    assert "--split-seed -1" in message("--split-seed", -1, "--out-dir", tmp_path / "OUT")
    (tmp_path / "file").write_text("")
    assert "file" in message("--out-dir", tmp_path / "file" / "OUT")
    assert "file" in message("--out-dir", tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="/dev/full")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full")
def test_full_disk(raw_dir: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    real = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda im, path, **kw: real(im, "/dev/full", "PNG"))
    message = fails(capsys, prepare_cifar.main, "--raw-dir", raw_dir, "--out-dir", tmp_path / "OUT")
    assert "No space left" in message
    assert sorted(os.listdir(tmp_path)) == ["raw"]


@pytest.mark.parametrize("how", ["root", "inside", "module"])
def test_three_ways_to_start(how: str, raw_dir: Path, tmp_path: Path) -> None:
    command, cwd = {
        "root": (["data_scripts/prepare_cifar.py"], ROOT),
        "inside": (["prepare_cifar.py"], ROOT / "data_scripts"),
        "module": (["-m", "data_scripts.prepare_cifar"], ROOT),
    }[how]
    flags = ["--raw-dir", str(raw_dir), "--out-dir", str(tmp_path / "OUT")]
    done = subprocess.run(
        [sys.executable, *command, *flags], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "40 training images" in done.stdout


def test_constants_stand_on_the_repository() -> None:
    assert ROOT / "datasets" / "cifar-100-python" == prepare_cifar.RAW_DIR
    assert ROOT / "datasets" / "CIFAR100" == prepare_cifar.OUT_DIR
    assert ROOT / "datasets" / "navon-python" == make_navon.OUT_DIR


def test_two_preparations_of_one_folder(raw_dir: Path, tmp_path: Path, capsys) -> None:
    argv = ["--raw-dir", str(raw_dir), "--out-dir", str(tmp_path / "OUT")]
    with only_one(tmp_path / "OUT"):
        message = fails(capsys, prepare_cifar.main, *argv)
    assert f"another command is preparing {tmp_path / 'OUT'}" in message
    assert prepare_cifar.main(argv) == 0
    assert sorted(os.listdir(tmp_path)) == ["OUT", "raw"]


# ---------------------------------------------------------------- index_folders


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A person's own set: 2 coarse classes, fine classes 0, 3 and 10, no description."""
    for split, count in (("train", 4), ("test", 2)):
        for fine, coarse in ((0, 7), (3, 7), (10, 12)):
            for i in range(count):
                for level, label in (("fine", fine), ("coarse", coarse)):
                    path = tmp_path / "SET" / split / level / str(label) / f"{fine}_{i}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (2, 2), (fine, i, 0)).save(path)
    return tmp_path / "SET"


def test_index_folders(own: Path) -> None:
    assert index_folders.main([str(own), "--split-seed", "3"]) == 0
    index, hierarchy = read_index(own), read_hierarchy(own)
    assert index.fine.tolist() == [0] * 4 + [3] * 4 + [10] * 4 + [0] * 2 + [3] * 2 + [10] * 2
    assert index.coarse.tolist() == [7] * 8 + [12] * 4 + [7] * 4 + [12] * 2
    assert index.held_out.sum() == 3
    assert hierarchy.fine == {0: "0", 3: "3", 10: "10"}
    assert hierarchy.parent == {0: 7, 3: 7, 10: 12}
    assert hierarchy.split_seed == 3


def test_index_folders_keeps_names_and_sees_changes(own: Path) -> None:
    index_folders.main([str(own)])
    path = own / "hierarchy.yaml"
    path.write_text(path.read_text().replace("10: {name: '10'", "10: {name: ten"))
    first = read_hierarchy(own)
    assert first.fine[10] == "ten"
    index_folders.main([str(own)])
    assert read_hierarchy(own) == first
    for place in ("fine/0", "coarse/7"):
        Image.new("RGB", (2, 2), (9, 9, 9)).save(own / "train" / place / "0_0.png")
    index_folders.main([str(own)])
    assert read_hierarchy(own).digest != first.digest


def test_index_folders_keeps_the_choice_of_held_out_images(own: Path) -> None:
    """A person's, or that of a val folder of pictures: only new images are drawn."""
    assert index_folders.main([str(own), "--split-seed", "3"]) == 0
    index = read_index(own)
    mine = ["0_0.png", "0_3.png", "10_1.png"]
    index.held_out = np.array([image in mine for image in index.image]) & (
        np.array(index.split) == "train"
    )
    write_index(index, own)
    for level, label in (("fine", 0), ("coarse", 7)):
        (own / "train" / level / str(label) / "0_2.png").unlink()
    for level, label in (("fine", 99), ("coarse", 12)):
        folder = own / "train" / level / str(label)
        folder.mkdir(exist_ok=True)
        for name in ("new", "newer"):
            Image.new("RGB", (2, 2), "blue").save(folder / f"{name}.png")
    for seed in ([], ["--split-seed", "3"]):
        assert index_folders.main([str(own), *seed]) == 0
        *kept, drawn = held_out_names(own)
        assert kept == mine
        assert drawn in ("new.png", "newer.png")
        assert read_hierarchy(own).split_seed == 3
    assert index_folders.main([str(own), "--split-seed", "4"]) == 0
    assert len(held_out_names(own)) == 4  # one of each class
    assert held_out_names(own)[:3] != mine


def test_index_folders_mends_an_index_in_which_a_class_has_two_coarse_ones(own: Path) -> None:
    """As an image that was moved and forgotten leaves it."""
    assert index_folders.main([str(own)]) == 0
    text = (own / "index.csv").read_text()
    (own / "index.csv").write_text(text.replace("train,3_0.png,3,7", "train,3_0.png,3,12"))
    assert index_folders.main([str(own)]) == 0
    assert (own / "index.csv").read_text() == text


def test_index_folders_draws_no_images_of_a_set_whose_groups_stay_together(
    tmp_path: Path, capsys
) -> None:
    for n in range(24):
        path = tmp_path / "photos" / "ab"[n % 2] / f"{n % 4}" / f"site{n // 4}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (n, 0, 0)).save(path)
    out, script = tmp_path / "SET", prepare_folders.main
    assert script([str(tmp_path / "photos"), "--out-dir", str(out), "--group-by-folder"]) == 0
    before = (out / "index.csv").read_text()
    assert index_folders.main([str(out)]) == 0
    said = "run data_scripts/prepare_folders.py on your own pictures"
    assert said in fails(capsys, index_folders.main, out, "--split-seed", 1)
    for level in ("fine", "coarse"):
        Image.new("RGB", (64, 64), "blue").save(out / "train" / level / "0" / "new.png")
    assert "(new.png)" in fails(capsys, index_folders.main, out)
    assert (out / "index.csv").read_text() == before


def test_trees_whose_pictures_differ_are_refused(own: Path, capsys) -> None:
    """By what is seen: the same picture may be written in another way."""
    fine, coarse = own / "test/fine/3/3_1.png", own / "test/coarse/7/3_1.png"
    Image.open(fine).convert("RGBA").save(coarse)
    assert coarse.read_bytes() != fine.read_bytes()
    assert index_folders.main([str(own)]) == 0
    Image.new("RGB", (2, 2), (3, 1, 1)).save(coarse)
    capsys.readouterr()
    message = fails(capsys, index_folders.main, own)
    assert f"{coarse} is another picture than {fine}" in message


def test_a_table_of_images_that_a_spreadsheet_saved_is_read(own: Path) -> None:
    index_folders.main([str(own)])
    before = read_index(own)
    file = own / "index.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read_index(own).image == before.image


def test_index_folders_refuses_names_of_other_classes(own: Path, capsys) -> None:
    """A class came in between, and the folders got other numbers: `ten` would be the new one's name."""
    index_folders.main([str(own)])
    path = own / "hierarchy.yaml"
    path.write_text(path.read_text().replace("10: {name: '10'", "10: {name: ten"))
    for split in ("train", "test"):
        fine = own / split / "fine"
        (fine / "10").rename(fine / "11")
        (fine / "10").mkdir()
        for level, label in (("fine", 10), ("coarse", 12)):
            Image.new("RGB", (2, 2), "red").save(own / split / level / str(label) / "new.png")
    message = fails(capsys, index_folders.main, own)
    assert "class 10 (ten) are in class 11 now" in message
    path.write_text(path.read_text().replace("10: {name: ten", "11: {name: ten"))
    (own / "index.csv").unlink()
    assert index_folders.main([str(own)]) == 0
    assert read_hierarchy(own).fine == {0: "0", 3: "3", 10: "10", 11: "ten"}


def test_index_folders_allows_single_images_to_move(own: Path) -> None:
    index_folders.main([str(own)])
    path = own / "hierarchy.yaml"
    path.write_text(path.read_text().replace("name: '3'", "name: three"))
    (own / "train/fine/3/3_0.png").rename(own / "train/fine/0/3_0.png")
    assert index_folders.main([str(own)]) == 0
    assert read_hierarchy(own).fine[3] == "three"


def test_index_folders_says_what_looks_wrong(own: Path, capsys) -> None:
    for level, label in (("fine", 0), ("coarse", 7)):
        shutil.copy(own / "train/fine/0/0_2.png", own / "test" / level / str(label) / "again.png")
    for level, label in (("fine", 99), ("coarse", 12)):
        folder = own / "test" / level / str(label)
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2), "blue").save(folder / "late.png")
    # The two test images of a class are training images too: see `own`.
    assert index_folders.main([str(own)]) == 0
    said = capsys.readouterr().out
    part = "validation" if "0_2.png" in held_out_names(own) else "training"
    assert f"Same pictures in {part} and test" in said
    assert "0_2.png and again.png" in said
    assert "Classes without training pictures (1), which cannot be learned: 99." in said


def held_out_names(root: Path) -> list[str]:
    index = read_index(root)
    return [image for image, out in zip(index.image, index.held_out, strict=True) if out]


def test_index_folders_refuses_12_bits_in_16(own: Path, capsys) -> None:
    pixels = np.full((2, 2), 4095, np.uint16)
    for file in own.rglob("*.png"):
        Image.fromarray(pixels).save(file.with_suffix(".tif"))
        file.unlink()
    assert "data_scripts/prepare_folders.py" in fails(capsys, index_folders.main, own)
    pixels[0, 0] = 4096  # one image of the split that uses the range is enough
    for name in ("3_0.tif", "10_3.tif"):
        for path in own.rglob(name):  # in both trees
            Image.fromarray(pixels).save(path)
    assert index_folders.main([str(own)]) == 0


def test_index_folders_agrees_with_write_tree(tmp_path: Path) -> None:
    write_tree(make_navon.make_navon(40, 20), tmp_path / "SET", 5)
    made, text = read_hierarchy(tmp_path / "SET"), (tmp_path / "SET/index.csv").read_text()
    assert index_folders.main([str(tmp_path / "SET"), "--split-seed", "5"]) == 0
    assert (tmp_path / "SET/index.csv").read_text() == text
    found = read_hierarchy(tmp_path / "SET")
    assert (found.fine, found.coarse, found.parent) == (made.fine, made.coarse, made.parent)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_index_folders_takes_what_training_takes(own: Path, suffix: str) -> None:
    for level, label in (("fine", 0), ("coarse", 7)):
        folder = own / "train" / level / str(label)
        (folder / "0_0.png").rename(folder / f"0_0{suffix.upper()}")
    assert index_folders.main([str(own)]) == 0
    assert f"0_0{suffix.upper()}" in list_folder(own / "train" / "fine").names


def test_index_folders_reads_no_device(own: Path, capsys) -> None:
    (own / "train/fine/0/zero.png").symlink_to("/dev/zero")
    assert "zero.png is not a regular file" in fails(capsys, index_folders.main, own)


def test_index_folders_errors(own: Path, capsys) -> None:
    def message() -> str:
        text = fails(capsys, index_folders.main, own)
        assert not (own / "index.csv").exists()
        return text

    def wrong(path: Path) -> str:
        path.write_text("x")
        text = message()
        path.unlink()
        assert str(path) in text
        return text

    assert "not a folder" in wrong(own / "train/fine/notes.txt")
    assert "not an image" in wrong(own / "train/fine/0/notes.txt")
    for name in ("cat", "-1", "03"):
        (own / "train/fine" / name).mkdir()
        assert "not a label id" in message()
        (own / "train/fine" / name).rmdir()
    (own / "test/coarse/5").mkdir()
    assert "holds no image" in message()
    (own / "test/coarse/5").rmdir()
    assert "fine tree only" in wrong(own / "test/fine/0/alone.png")
    assert "coarse tree only" in wrong(own / "test/coarse/7/alone.png")
    twice = own / "train/fine/3/0_0.png"
    assert "have the same name" in wrong(twice)
    moved = own / "train/coarse/7/0_0.png"
    moved.rename(own / "train/coarse/12/0_0.png")
    assert "fine class 0 have coarse classes 7 and 12" in message()
    (own / "train/coarse/12/0_0.png").rename(moved)
    (own / "train/fine/0/.DS_Store").write_text("")
    assert index_folders.main([str(own)]) == 0


def test_index_folders_missing(tmp_path: Path, capsys) -> None:
    assert str(tmp_path / "no") in fails(capsys, index_folders.main, tmp_path / "no")
    assert "--split-seed -2" in fails(capsys, index_folders.main, tmp_path, "--split-seed", -2)


def test_raw_files_of_navon_can_be_read_back(raw_dir: Path) -> None:
    assert read_raw(raw_dir).fine_names == make_navon.fine_names()


# ---------------------------------------------------------------- independent Navon figures


def test_independent_letters_come_in_all_pairs_equally_often() -> None:
    raw = make_navon.make_navon(200, 100, independent=True)
    letters = list(make_navon.LETTERS)
    assert len(letters) == 10
    assert raw.fine_names == raw.coarse_names == letters
    assert raw.independent == ["local", "global"]
    for split, count in ((raw.train, 2), (raw.test, 1)):
        pairs = Counter(zip(split.fine, split.coarse, strict=True))
        assert pairs == {(small, large): count for small in range(10) for large in range(10)}
        for name, small, large in zip(split.names, split.fine, split.coarse, strict=True):
            assert name.startswith(f"{letters[large]}_of_{letters[small]}_")
    for place, shape in ((0, (10, 7, 5)), (1, (10, 3, 3))):
        drawn = make_navon.bitmaps({name: pair[place] for name, pair in make_navon.LETTERS.items()})
        assert drawn.shape == shape
        assert len(np.unique(drawn, axis=0)) == 10


@pytest.mark.parametrize(
    ("small", "spacing", "size"), [(3, 1, 32), (3, 0, 21), (6, 2, 60), (9, 4, 96)]
)
def test_independent_figures_have_the_sizes_that_are_asked_for(small, spacing, size) -> None:
    plain = make_navon.Difficulty(missing=0, worn=0, noise=0)
    layout = make_navon.Layout(small, spacing, size)
    letters = list(make_navon.LETTERS)
    found = make_navon.draw_independent(
        np.array([letters.index("X")]),
        np.array([letters.index("L")]),
        np.random.default_rng(0),
        plain,
        layout,
    )
    assert found.images.shape == (1, 3, size, size)
    mask = (found.images == found.ink.astype(np.uint8)[:, :, None, None]).all(1)[0]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pitch = small + spacing
    # An L of Xs: a column of seven and, at its foot, four more.
    expected = np.zeros((7 * pitch, 5 * pitch), bool)
    x = np.kron(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]]), np.ones((small // 3, small // 3)))
    for row, column in [(row, 0) for row in range(7)] + [(6, column) for column in range(1, 5)]:
        top, left = row * pitch, column * pitch
        expected[top : top + small, left : left + small] = x
    assert np.array_equal(mask, expected[: 7 * pitch - spacing, : 5 * pitch - spacing])


def test_independent_figures_become_a_set_of_two_labels(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "NAVON"
    flags = ["--independent", "--train", "1000", "--test", "100", "--out-dir", str(raw)]
    assert make_navon.main(flags) == 0
    assert prepare_cifar.main(["--raw-dir", str(raw), "--out-dir", str(out)]) == 0
    assert not read_hierarchy(out).nested
    index = read_index(out, nested=False)
    held = Counter(zip(index.fine[index.held_out], index.coarse[index.held_out], strict=True))
    assert len(held) == 100
    assert set(held.values()) == {1}
