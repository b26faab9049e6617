"""A collection of pictures becomes a data set: every layout, every picture, and all that is wrong said at once."""

import csv
import errno
import os
import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import data_scripts.index_folders as index_folders
import data_scripts.prepare_folders as prepare_folders
from common.data.hierarchy import Hierarchy, read_hierarchy, write_hierarchy
from common.data.image_folder import load_folder
from common.data.index import Index, read_index, write_index
from common.data.listing import list_folder
from common.data.pictures import look_for_pictures
from common.settings.compose import SHARED

FAMILIES = {
    "beetle": ["Carabus auratus", "Lucanus cervus"],
    "Käfer, groß": ["Marienkäfer", "Rüssler 'Otto'"],
}
SIZES = [(30, 20), (64, 48), (16, 40), (20, 20)]
PER_CLASS = 5
ORIENTATION = 0x0112


def drawing(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """A picture that no other seed gives, whose left half is brighter than its right one."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(100, 156, 3).tolist()))
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 2 - 1, size[1]), fill=(250, 240, seed % 200))
    return image


def collection(root: Path, layout: str) -> Path:
    """Photographs as a camera leaves them: several sizes, colour modes and suffixes, names that repeat."""
    rows, seed = [], 0
    for family, names in FAMILIES.items():
        for species in names:
            for k in range(PER_CLASS):
                image = drawing(seed, SIZES[k % 4])
                if k < 2:
                    image = image.convert(("L", "CMYK")[k])
                name = f"IMG_{k:04d}{('.jpg', '.JPG', '.jpeg')[k % 3]}"
                split = ("train", "val")[k == 4]
                path = {
                    "nested": root / family / species / name,
                    "splits": root / split / family / species / name,
                    "one level": root / split / species / name,
                    "table": root / "photos" / f"{seed:03d}_{name}",
                }[layout]
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path, "JPEG", quality=90)
                rows.append((path.relative_to(root), species, family))
                seed += 1
    if layout == "table":
        write_csv(root / "labels.csv", ["path", "species", "family"], rows)
    if layout == "one level":
        pairs = sorted({(species, family) for _, species, family in rows})
        write_csv(root / "families.csv", ["species", "family"], pairs)
    return root


def write_csv(file: Path, header, rows, *, delimiter=",", encoding="utf-8") -> Path:
    with file.open("w", newline="", encoding=encoding) as opened:
        writer = csv.writer(opened, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return file


@pytest.fixture
def prepare(tmp_path, capsys):
    """Run the script on a collection; gives the set's folder and what was printed."""

    def run(source: Path, *options: object, size: object = 16, status: int = 0) -> str:
        arguments = [source, "--out-dir", tmp_path / "SET", "--size", size, *options]
        assert prepare_folders.main([str(one) for one in arguments]) == status
        out, err = capsys.readouterr()
        assert bool(err) == bool(status)
        assert "Traceback" not in err
        assert err.count("\n") == status
        return err or out

    run.out = tmp_path / "SET"
    run.forget = capsys.readouterr
    return run


@pytest.fixture
def nested(tmp_path) -> Path:
    return collection(tmp_path / "photos", "nested")


def add(root: Path, coarse: str, fine: str, seeds, *, name: str = "{}.png", **how) -> None:
    """Add pictures to a nested collection."""
    for seed in seeds:
        path = root / coarse / fine / name.format(seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing(seed, **how).save(path)


def small(root: Path, count: int = 10, start: int = 0) -> Path:
    """Two coarse classes of two fine ones with ``count`` different pictures each."""
    for n, (coarse, fine) in enumerate([("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")]):
        add(root, coarse, fine, range(start + n * count, start + (n + 1) * count))
    return root


def classes(root: Path) -> dict[str, str]:
    """The coarse class of each fine one, by name."""
    found = read_hierarchy(root)
    return {name: found.coarse[found.parent[label]] for label, name in found.fine.items()}


def counts(root: Path) -> dict[str, Counter[str]]:
    """How many images of each fine class every part has."""
    index, names = read_index(root), read_hierarchy(root).fine
    found: dict[str, Counter[str]] = {part: Counter() for part in ("train", "held out", "test")}
    for split, label, out in zip(index.split, index.fine.tolist(), index.held_out, strict=True):
        found["held out" if out else split][names[label]] += 1
    return found


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# ---------------------------------------------------------------- layouts

WANTED = {name: family for family, names in FAMILIES.items() for name in names}


@pytest.mark.parametrize("layout", ["nested", "splits", "one level", "table"])
def test_each_layout_becomes_a_set_that_training_reads(tmp_path, prepare, layout):
    source = collection(tmp_path / "photos", layout)
    before = snapshot(source)
    said = prepare(source)
    assert snapshot(source) == before
    assert classes(prepare.out) == WANTED
    found = counts(prepare.out)
    # A fifth for test, and a tenth of the rest, but at least one, held out.
    assert found == {
        part: Counter(dict.fromkeys(WANTED, n)) for part, n in zip(found, (3, 1, 1), strict=True)
    }
    for split, n in (("train", 16), ("test", 4)):
        for level in ("fine", "coarse"):
            folder = load_folder(prepare.out / split / level)
            assert folder.images.shape == (n, 3, 16, 16)
    told = {"nested": "coarse/fine", "splits": "train, val", "one level": "families.csv"}
    assert told.get(layout, "family → coarse class") in said.splitlines()[0]
    if layout in ("splits", "one level"):
        assert "val is the test set" in said
    assert "passed over" not in said


def test_tables_are_read_as_spreadsheets_write_them(tmp_path, prepare):
    source = collection(tmp_path / "photos", "table")
    rows = list(csv.reader((source / "labels.csv").open(encoding="utf-8")))[1:]
    (source / "labels.csv").unlink()
    rows = [(path.replace("/", "\\"), "x", species, family) for path, species, family in rows]
    header = ["File", "Note", "Art", "Familie"]
    write_csv(tmp_path / "mine.txt", header, rows, delimiter=";", encoding="cp1252")
    shutil.move(tmp_path / "mine.txt", source / "mine.txt")
    assert "Note" in prepare(source, status=1)  # three columns beside the path: which two?
    prepare(source, "--columns", "File,Art,Familie")
    assert classes(prepare.out) == WANTED
    shutil.rmtree(prepare.out)
    rows = [(Path(path.replace("\\", "/")).name, *rest[1:]) for path, *rest in rows]
    (source / "mine.txt").unlink()
    write_csv(source / "mine.tsv", ["image", "a", "b"], rows, delimiter="\t", encoding="utf-8-sig")
    prepare(source)  # by names alone, and by the number of classes
    assert classes(prepare.out) == WANTED
    shutil.rmtree(prepare.out)
    # What some programs take for the end of a line may be part of a field.
    rows = [(path, f"{species}\x85", f"\u2028{family}") for path, species, family in rows]
    write_csv(source / "mine.tsv", ["image", "a", "b"], rows, delimiter="\t", encoding="utf-8")
    prepare(source)
    assert classes(prepare.out) == WANTED


@pytest.mark.parametrize("first", ["\n \r\n", "sep=;\r\n"])
def test_what_stands_before_the_header_is_passed_over(tmp_path, prepare, first):
    source = collection(tmp_path / "photos", "table")
    table = source / "labels.csv"
    text = table.read_text(encoding="utf-8").replace('"Käfer, groß"', "Käfer")
    table.write_text(first + text.replace(",", ";"), encoding="utf-8")
    prepare(source)
    assert set(classes(prepare.out)) == set(WANTED)


def test_a_picture_is_itself_however_a_table_writes_its_path(tmp_path, prepare):
    source = small(tmp_path / "photos", 4)
    paths = sorted(source.rglob("*.png"))
    rows = [(path, path.parent.name, path.parts[-3]) for path in paths[1:]]
    rows += [(source / "a" / ".." / "b/b2/15.png", "b2", "b"), ("x" * 300 + ".png", "b2", "b")]
    write_csv(source / "t.csv", ["path", "fine", "coarse"], rows)
    said = prepare(source)
    assert "15 pictures in 4 fine" in said
    assert "does not list: 1." in said
    assert "1 × listed twice, in rows 16 and 17 of t.csv" in said
    assert "1 × not there (xxx" in said


def test_a_table_says_splits_and_groups(tmp_path, prepare):
    source = small(tmp_path / "photos", 6)
    rows = []
    for n, path in enumerate(sorted(source.rglob("*.png"))):
        split = ("train", "train", "Validation", "TEST", "training", "nowhere")[n % 6]
        rows.append((path.relative_to(source), path.parent.name, path.parts[-3], split))
    table = write_csv(tmp_path / "photos" / "t.csv", ["path", "fine", "coarse", "split"], rows)
    said = prepare(table)
    assert "train, val and test as given" in said
    per_class = {"train": 3, "held out": 1, "test": 1}
    assert counts(prepare.out) == {
        part: Counter(dict.fromkeys(("a1", "a2", "b1", "b2"), n)) for part, n in per_class.items()
    }
    assert "Skipped pictures: 4" in said
    assert "its split is 'nowhere'" in said


@pytest.mark.parametrize("described", [True, False])
def test_labelled_folders_are_read_and_their_wide_pixels_scaled(tmp_path, prepare, described):
    """What index_folders.py refuses because it would become black is sent here."""
    source = tmp_path / "LABELLED"
    for split, n in (("train", 10), ("test", 2)):
        for label in range(4):
            for k in range(n):
                for level, number in (("fine", label), ("coarse", label // 2)):
                    path = source / split / level / str(number) / f"{label}_{k}.tif"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    pixels = np.full((8, 8), 1000 * (label + 1) + k, np.uint16)
                    Image.fromarray(pixels).save(path)
    refused = index_folders.main([str(source)])
    assert refused == 1
    names = ["one", "two", "three", "four"] if described else ["0", "1", "2", "3"]
    held = {f"{label}_7.tif" for label in range(4)}
    if described:
        parent = {0: 0, 1: 0, 2: 1, 3: 1}
        fine = dict(enumerate(names))
        write_hierarchy(Hierarchy(fine, {0: "a", 1: "b"}, parent, 0, "raw-sha256:0"), source)
        rows = sorted(
            (split, path.name, int(path.parent.name))
            for split in ("train", "test")
            for path in (source / split / "fine").rglob("*.tif")
        )
        labels = np.array([label for *_, label in rows])
        out = np.array([split == "train" and name in held for split, name, _ in rows])
        splits, images = [s for s, *_ in rows], [name for _, name, _ in rows]
        write_index(Index(splits, images, labels, labels // 2, out), source)
    prepare.forget()
    said = prepare(source, size=8)
    assert "labelled folders, fine and coarse" in said
    assert "from 0 to 4,009 to 0 to 255" in said
    assert "4 pictures" not in said
    assert sorted(classes(prepare.out)) == sorted(names)
    assert all(part == Counter(dict.fromkeys(names, n)) for part, n in zip(
        counts(prepare.out).values(), (9, 1, 2), strict=True
    ))  # fmt: skip
    if described:
        index = read_index(prepare.out)
        chosen = {i for i, out in zip(index.image, index.held_out, strict=True) if out}
        assert {Path(name).stem for name in chosen} == {Path(name).stem for name in held}


def test_one_class_may_be_called_train(tmp_path, prepare):
    add(tmp_path / "photos", "train", "steam", range(5))
    add(tmp_path / "photos", "bus", "double", range(5, 10))
    prepare(tmp_path / "photos")
    assert classes(prepare.out) == {"steam": "train", "double": "bus"}


def test_all_folders_below_a_fine_class_are_that_class(tmp_path, prepare):
    source = small(tmp_path / "photos", 4)
    add(source / "a" / "a1", "2024", "march", range(90, 94))
    prepare(source)
    assert sum(part["a1"] for part in counts(prepare.out).values()) == 8


def test_classes_of_one_name_in_two_coarse_ones_are_two(tmp_path, prepare):
    for n, coarse in enumerate(("beetle", "butterfly")):
        add(tmp_path / "photos", coarse, "other", range(n * 5, n * 5 + 5))
        add(tmp_path / "photos", coarse, f"x{n}", range(n * 5 + 50, n * 5 + 55))
    assert "other (beetle and butterfly)" in prepare(tmp_path / "photos")
    assert classes(prepare.out)["other (beetle)"] == "beetle"
    assert classes(prepare.out)["other (butterfly)"] == "butterfly"


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (lambda root: None, [], "is not there"),
        (
            lambda root: small(root / "val", 2) and small(root / "test", 2, 50),
            [],
            "there are no training pictures",
        ),
        (lambda root: root.mkdir(), [], "holds no pictures"),
        (lambda root: add(root, "one", ".", range(3)), [], "--hierarchy FILE"),
        (lambda root: small(root, 2), ["--test", "1.5"], "--test 1.5"),
        (lambda root: small(root, 2), ["--size", "64x"], "--size 64x"),
        (lambda root: small(root, 2), ["--size", "4"], "8 to 4096"),
        (lambda root: small(root, 2), ["--columns", "a,b,c"], "--columns a,b,c"),
        (lambda root: small(root, 2), ["--columns", "a"], "path,species,family"),
        (lambda root: small(root, 2), ["--group", "site"], "or give --group-by-folder"),
        (lambda root: small(root, 2), ["--hierarchy", "no.csv"], "no.csv is missing"),
        (lambda root: small(root, 2), ["--split-seed", "-1"], "--split-seed -1"),
        (
            lambda root: small(root, 2) and (root / "head.csv").write_text("fine,coarse\n"),
            ["--hierarchy", "{root}/head.csv"],
            "none of its columns (fine, coarse) names the classes",
        ),
        (
            lambda root: (
                small(root, 2) and (root / "t.csv").write_text("path,kind,Kind\na/a1/0.png,x,y\n")
            ),
            ["--columns", "path,kind,Kind"],
            "has several columns 'kind'",
        ),
        (lambda root: collection(root, "splits"), ["--test", "0.2"], "--test 0.2"),
    ],
)
def test_what_cannot_be_prepared_is_one_sentence(tmp_path, prepare, make, options, said):
    make(tmp_path / "photos")
    options = [one.replace("{root}", str(tmp_path / "photos")) for one in options]
    assert said in prepare(tmp_path / "photos", *options, status=1)
    assert not prepare.out.exists()


def test_a_table_of_something_else_is_no_table_of_coarse_classes(tmp_path, prepare):
    source = small(tmp_path / "photos", 4)
    table = write_csv(source / "counts.csv", ["family", "pictures"], [("a", 8), ("b", 9)])
    said = prepare(source, status=1)
    assert f"give --hierarchy {table}, and if it says something else, move it elsewhere" in said
    prepare(source, "--hierarchy", table)
    assert classes(prepare.out) == {"a": "8", "b": "9"}
    table.unlink()
    prepare(source)
    assert classes(prepare.out) == {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}


@pytest.mark.parametrize("share", ["1.5", "1", "0", "-1", "nan"])
def test_a_share_that_is_none_is_refused_before_pictures_are_decoded(
    tmp_path, prepare, monkeypatch, share
):
    monkeypatch.setattr("common.data.folders.prepare.decode_all", None)
    assert "allowed is a share" in prepare(small(tmp_path / "photos", 2), "--test", share, status=1)


def test_an_archive_and_folders_in_each_other_are_refused(tmp_path, prepare):
    (tmp_path / "photos.zip").write_bytes(b"PK")
    assert "unpack it" in prepare(tmp_path / "photos.zip", status=1)
    small(prepare.out / "photos", 2)
    assert "keep them apart" in prepare(prepare.out / "photos", status=1)


# ---------------------------------------------------------------- pictures


def test_pictures_cover_the_size_and_are_cut_in_the_middle(tmp_path, prepare):
    """Three stripes of equal width: of a wide picture the middle one remains."""
    source = small(tmp_path / "photos", 2)
    stripes = np.zeros((20, 60, 3), np.uint8)
    stripes[:, 20:40] = 200
    for name in ("a/a1/wide.png", "a/a1/wide2.png"):
        Image.fromarray(stripes).save(source / name)
    prepare(source, size="8x8")
    found = [np.asarray(Image.open(path)) for path in prepare.out.glob("*/fine/*/*wide*.png")]
    assert len(found) == 2
    assert all(image.shape == (8, 8, 3) and image.min() > 180 for image in found)
    prepare(source, "--fit", "pad", size="12x8")
    padded = np.asarray(Image.open(next(prepare.out.glob("*/fine/*/*wide.png"))))
    assert padded.shape == (8, 12, 3)
    assert padded[[0, 1, 6, 7]].max() == 0
    assert padded[4, 6].min() > 180


def test_pictures_are_turned_as_exif_says(tmp_path, prepare):
    source = small(tmp_path / "photos", 2)
    upright = drawing(7, (24, 24))  # bright on the left
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned by a quarter, clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(source / "a/a1/turned.jpg", exif=exif)
    prepare(source)
    pixels = np.asarray(Image.open(next(prepare.out.glob("*/fine/*/*turned.png")))).astype(int)
    assert (pixels[:, :6, 0] - pixels[:, -6:, 0]).min() > 50


def test_wide_pixels_are_scaled_over_the_set(tmp_path, prepare):
    """12-bit data in 16-bit files: the brightest value of all becomes 255, and half of it half of that."""
    source = tmp_path / "photos"
    for n, (fine, value) in enumerate({"a1": 4095, "a2": 2048, "b1": 1024, "b2": 0}.items()):
        for k in range(3):
            path = source / fine[0] / fine / f"{k}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((20, 20), value, np.uint16)
            pixels[0, 0] = n + 4 * k  # so that no two are alike
            Image.fromarray(pixels).save(path)
    assert "from 0 to 4,095 to 0 to 255" in prepare(source, size=10)
    names = read_hierarchy(prepare.out).fine
    for label, name in names.items():
        for path in prepare.out.glob(f"*/fine/{label}/*"):
            assert path.suffix == ".png"
            pixel = Image.open(path).getpixel((6, 6))
            assert (
                pixel == {"a1": (255,) * 3, "a2": (128,) * 3, "b1": (64,) * 3, "b2": (0,) * 3}[name]
            )


def test_names_come_from_paths_and_are_unique(nested, prepare):
    add(nested, "beetle", "Carabus auratus", [1], name="x.png")
    add(nested, "beetle", "Carabus auratus", [2], name="X.png")
    add(nested, "beetle", "Carabus auratus", [3], name="é" * 100 + ".png")
    prepare(nested)
    images = read_index(prepare.out).image
    assert "beetle_Lucanus_cervus_IMG_0003.png" in images
    assert len({image.lower() for image in images}) == len(images) == 4 * PER_CLASS + 3
    assert all(len(image.encode()) <= 200 for image in images)


def test_what_computers_leave_between_pictures_is_passed_over(nested, prepare):
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "beetle/.hidden/a.jpg", "notes.txt"):
        path = nested / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    for folder in ("@eaDir", "__MACOSX"):
        (nested / "beetle" / folder / "Lucanus cervus").mkdir(parents=True)
        drawing(3).save(nested / "beetle" / folder / "Lucanus cervus" / "._a.jpg")
        drawing(3).save(nested / "beetle" / folder / "Lucanus cervus" / "a.jpg")
    said = prepare(nested)
    assert classes(prepare.out) == WANTED
    assert "Other files were passed over: 1 .txt." in said
    assert "kipped" not in said
    assert (prepare.out / "skipped.csv").read_text() == "picture,reason\n"


def test_what_cannot_be_used_is_skipped_by_name_or_stops(nested, prepare, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    place = nested / "beetle" / "Lucanus cervus"
    (place / "empty.jpg").write_bytes(b"")
    (place / "cut.jpg").write_bytes((place / "IMG_0000.jpg").read_bytes()[:-200])
    (place / "text.png").write_text("no picture")
    (place / "photo.heic").write_bytes(b"x")
    (place / "raw.CR2").write_bytes(b"x")
    drawing(1).save(nested / "beetle" / "loose.png")
    drawing(1).save(nested / "top.png")
    said = prepare(nested, "--strict", status=1)
    assert said == (
        "error: --strict: 7 pictures cannot be used (see above): mend or remove what is named\n"
    )
    assert not prepare.out.exists()
    said = prepare(nested)
    assert "Skipped pictures: 7" in said
    rows = list(csv.DictReader((prepare.out / "skipped.csv").open()))
    reasons = {Path(row["picture"]).name: row["reason"] for row in rows}
    for name, word in {
        "empty.jpg": "empty",
        "cut.jpg": "truncated",
        "text.png": "unknown kind",
        "photo.heic": "pillow-heif",
        "raw.CR2": "export",
        "loose.png": "no fine class",
        "top.png": "no class folder",
    }.items():
        assert word in reasons[name].lower() or word in reasons[name]
        assert (
            f"`{next(row['picture'] for row in rows if name in row['picture'])}`"
            in (prepare.out / "prepared.md").read_text()
        )


def test_linked_folders_take_nothing_from_real_ones(tmp_path, prepare):
    """Whichever name comes first; and that one is not read twice is said."""
    source = tmp_path / "photos"
    small(source / "train", 4)
    small(source / "test", 2, 100)
    add(tmp_path / "disk", "a3", ".", range(200, 204))
    (source / "train" / "a" / "a3").symlink_to(tmp_path / "disk" / "a3")
    (source / "train" / "a" / "a0").symlink_to("a1")
    (source / "favourites").symlink_to("train/b/b1")
    (source / "circle").symlink_to(source)
    for place in ("circle", "favourites"):
        (tmp_path / "disk" / "a3" / place).symlink_to(source / place)
    said = prepare(source)
    assert classes(prepare.out) == {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b"}
    found = counts(prepare.out)
    assert {name: found["train"][name] + found["held out"][name] for name in found["train"]} == (
        dict.fromkeys(("a1", "a2", "a3", "b1", "b2"), 4)
    )
    assert "Skipped pictures: 5" in said
    skipped = dict(csv.reader((prepare.out / "skipped.csv").open()))
    assert skipped["favourites"] == "this folder is train/b/b1 too, by a link, and is read there"
    assert "train/a/a0" in skipped


def test_a_folder_that_cannot_be_read_is_named(tmp_path, prepare, monkeypatch):
    source = small(tmp_path / "photos", 4)
    scandir, shut = os.scandir, source / "a" / "a1"

    def refuses(path="."):
        if path == str(shut):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuses)
    said = prepare(source)
    assert "1 × this folder cannot be read: Permission denied (a/a1)" in said
    assert "left out: a/a1." in said
    assert "--strict: 1 picture" in prepare(source, "--strict", status=1)
    found = look_for_pictures(source)
    assert len(found.pictures) == 12
    assert found.others == {shut: f"{shut} cannot be read: Permission denied"}


def test_names_that_are_no_text_are_skipped_and_written_by_their_codes(tmp_path, prepare):
    source = small(tmp_path / "photos", 4)
    try:  # as where an archive of another system was unpacked; some file systems refuse such names
        os.rename(source / "a" / "a1", os.fsencode(source / "a") + b"/a\xe4")
        os.rename(source / "b" / "b1" / "8.png", os.fsencode(source / "b" / "b1") + b"/x\xe4.png")
    except OSError:
        pytest.skip("this file system takes no such names")
    said = prepare(source)
    assert "4 × the name of its folder is no text in UTF-8: rename the folder" in said
    assert set(classes(prepare.out)) == {"a2", "b1", "b2"}
    rows = list(csv.reader((prepare.out / "skipped.csv").open(encoding="utf-8")))
    assert ["b/b1/x\\udce4.png", "its name cannot be shown: rename it"] in rows
    assert "`a/a\\udce4/0.png`" in (prepare.out / "prepared.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["my set", "a=b[1]", "Käfer", "it's $HOME", 'a "b" \\', "plain-1.x"]
)
def test_the_next_command_is_one_that_a_shell_and_hydra_read(tmp_path, name, capsys):
    out = tmp_path / name
    arguments = [small(tmp_path / "photos", 3), "--out-dir", out, "--size", 8]
    assert prepare_folders.main([str(one) for one in arguments]) == 0
    command = shlex.split(capsys.readouterr().out.splitlines()[-1].partition(": ")[2])
    assert command[:3] == ["python", "train_system.py", "dataset=folders"]
    parsed = OverridesParser.create().parse_override(command[3])
    assert (parsed.key_or_group, parsed.value()) == ("dataset.root", str(out))


def test_a_table_of_coarse_classes_needs_no_header(tmp_path, prepare):
    source = tmp_path / "photos"
    for n, fine in enumerate("abcd"):
        add(source, fine, ".", range(4 * n, 4 * n + 4))
    table = tmp_path / "above.csv"
    table.write_text("a,X\nb,X\nc,Y\nd,Y\n")
    prepare(source, "--hierarchy", table)
    assert classes(prepare.out) == {"a": "X", "b": "X", "c": "Y", "d": "Y"}


def test_a_column_that_is_missing_is_named(tmp_path, prepare):
    source = collection(tmp_path / "photos", "table")
    options = ["--columns", "path,species,kind"]
    said = prepare(source / "labels.csv", *options, status=1)
    assert "has no column 'kind'; it has path, species, family" in said
    assert "(labels.csv has path, species, family)" in prepare(source, *options, status=1)


def test_an_emptied_prepared_yaml_says_what_helps(tmp_path, prepare):
    source = small(tmp_path / "photos", 3)
    prepare(source)
    (prepare.out / "prepared.yaml").write_text("")
    assert "prepared.yaml is empty: delete it" in prepare(source, status=1)
    (prepare.out / "prepared.yaml").unlink()
    prepare(source)
    assert yaml.safe_load((prepare.out / "prepared.yaml").read_text())["name"] == "SET"


@pytest.mark.parametrize("harm", ["cut off", "another picture"])
@pytest.mark.parametrize("options", [(), ("--keep",)], ids=str)
def test_an_image_of_the_set_that_is_no_longer_its_picture_is_written_again(
    nested, prepare, harm, options
):
    prepare(nested, *options)
    before = snapshot(prepare.out)
    image = next((prepare.out / "train/fine/0").iterdir())
    other = next((prepare.out / "train/fine/1").iterdir()).read_bytes()
    content = image.read_bytes()[:-20] if harm == "cut off" else other
    image.unlink()  # with --keep it is another name of the original
    image.write_bytes(content)
    assert "nothing to do" not in prepare(nested, *options)
    assert {name: found[0] for name, found in snapshot(prepare.out).items()} == {
        name: found[0] for name, found in before.items()
    }
    assert "nothing to do" in prepare(nested, *options)


@pytest.mark.parametrize("name", ["hierarchy.yaml", "index.csv", "prepared.yaml"])
@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"{"], ids=["empty", "zeros", "cut off"])
def test_a_damaged_description_of_the_set_says_how_to_make_it_anew(nested, prepare, name, content):
    prepare(nested)
    (prepare.out / name).write_bytes(content)
    said = prepare(nested, status=1)
    assert name in said
    assert f"once {prepare.out} is moved away, the set is made anew" in said
    prepare.out.rename(prepare.out.with_name("aside"))
    prepare(nested)


def test_more_pictures_than_a_few_are_decoded_by_several_processes(tmp_path, prepare):
    source = small(tmp_path / "photos", 17)
    prepare(source)
    index = read_index(prepare.out)
    assert len(index) == 68
    names = read_hierarchy(prepare.out).fine
    for split, image, label in zip(index.split, index.image, index.fine.tolist(), strict=True):
        seed = int(image.removesuffix(".png").rpartition("_")[2])
        pixels = np.asarray(Image.open(prepare.out / split / "fine" / str(label) / image))
        # Blue of the left half, far from the edge: see `drawing`.
        assert abs(int(pixels[8, 2, 2]) - seed % 200) < 12
        assert image.startswith(f"{names[label][0]}_{names[label]}_")


# ---------------------------------------------------------------- splits


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    share=st.sampled_from([0.1, 0.2, 0.5, 0.9]),
    seed=st.integers(0, 3),
    grouped=st.booleans(),
)
def test_test_pictures_are_drawn_of_each_class_and_groups_stay_whole(sizes, share, seed, grouped):
    from common.data.folders.collection import Picture
    from common.data.folders.split import divide, hold_out

    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    pictures = [
        Picture(Path("x"), f"{n}", f"{n}", "f", "c", group=f"g{n // 3}" if grouped else None)
        for n in range(len(labels))
    ]
    if grouped and len(labels) <= 3:
        return
    division = divide(pictures, labels, test=share, seed=seed)
    held = hold_out(pictures, labels, [one.name for one in pictures], seed)
    for chosen, part in (([s == "test" for s in division.splits], share), (held.tolist(), 0.1)):
        drawn = Counter(label for label, one in zip(labels, chosen, strict=True) if one)
        for label, size in enumerate(sizes):
            assert drawn[label] < size  # some of each class remain
            if not grouped:
                assert abs(drawn[label] - part * size) <= 1
                assert drawn[label] or size == 1
        if grouped:
            sides = {(one.group, side) for one, side in zip(pictures, chosen, strict=True)}
            assert len(sides) == len({one.group for one in pictures})


@pytest.mark.parametrize("by", ["column", "folder"])
def test_groups_are_on_one_side_of_both_splits(tmp_path, prepare, by):
    source, rows = tmp_path / "photos", []
    for n in range(4 * 24):
        fine = ("a1", "a2", "b1", "b2")[n % 4]
        animal = f"animal{n // 4 % 6}"
        add(source / fine[0], fine, animal, [n])
        rows.append((f"{fine[0]}/{fine}/{animal}/{n}.png", fine, fine[0], f"{fine}-{animal}"))
    if by == "column":
        write_csv(source / "t.csv", ["path", "fine", "coarse", "animal"], rows)
        prepare(source, "--group", "animal")
    else:
        prepare(source, "--group-by-folder")
    index = read_index(prepare.out)
    sides: dict[str, set[str]] = {}
    animals = {path.replace("/", "_"): animal for path, _, _, animal in rows}
    for split, image, out in zip(index.split, index.image, index.held_out, strict=True):
        sides.setdefault(animals[image], set()).add("held out" if out else split)
    assert {len(parts) for parts in sides.values()} == {1}
    assert Counter(part for parts in sides.values() for part in parts) == {
        "train": 16,
        "held out": 4,
        "test": 4,
    }


def test_groups_that_are_divided_are_named(tmp_path, prepare):
    """By the splits that a person gives, or by a second run without the option."""
    source = tmp_path / "photos"
    for n in range(48):
        add(source / "ab"[n % 2], f"{n % 4}", f"site{n // 12}", [n])
    prepare(source, "--group-by-folder")
    said = "Pictures of one group stayed together before, and are divided now"
    assert said not in prepare(source, "--group-by-folder")
    assert said in prepare(source)
    assert said not in prepare(source)
    for split in ("train", "test"):
        (source / split).mkdir()
    for coarse in "ab":
        (source / coarse).rename(source / "train" / coarse)
    add(source / "test" / "a", "0", "site0", [100])
    add(source / "test" / "a", "0", "site9", [101])
    said = prepare(source, "--group-by-folder")
    assert "Groups that are divided (1): a/0/site0 (" in said


@pytest.mark.parametrize("layout", ["nested", "one level"])
def test_folders_that_group_nothing_are_a_problem(tmp_path, prepare, layout):
    source = collection(tmp_path / "photos", layout)
    said = "--group-by-folder groups nothing"
    assert f"Problem: {said}" in prepare(source, "--group-by-folder")
    assert f"- {said}" in (prepare.out / "prepared.md").read_text()
    picture = next(source.rglob("*.jpg"))
    (picture.parent / "walk").mkdir()
    picture.rename(picture.parent / "walk" / picture.name)
    assert said not in prepare(source, "--group-by-folder")
    assert said not in prepare(source)


# ---------------------------------------------------------------- again


def test_a_second_run_changes_nothing(nested, prepare):
    prepare(nested)
    before = snapshot(prepare.out)
    assert "nothing to do" in prepare(nested)
    assert snapshot(prepare.out) == before
    (nested / "beetle" / "Lucanus cervus" / "new.jpg").write_text("no picture")
    assert "nothing to do" in prepare(nested)  # but what is skipped is listed
    assert "new.jpg" in (prepare.out / "skipped.csv").read_text()
    assert "new.jpg" in (prepare.out / "prepared.md").read_text()
    next((prepare.out / "train" / "fine").rglob("*.png")).unlink()
    assert "nothing to do" not in prepare(nested)
    assert snapshot(prepare.out).keys() == before.keys()


def test_names_stay_with_their_classes_when_others_are_added(nested, prepare):
    prepare(nested)
    before = read_hierarchy(prepare.out)
    add(nested, "ant", "Apis bee", range(100, 105))
    add(nested, "beetle", "Abax", range(110, 115))
    prepare(nested)
    after = read_hierarchy(prepare.out)
    assert before.fine.items() < after.fine.items()
    assert before.coarse.items() < after.coarse.items()
    assert classes(prepare.out) == {**WANTED, "Apis bee": "ant", "Abax": "beetle"}
    index = read_index(prepare.out)
    for image, label in zip(index.image, index.fine.tolist(), strict=True):
        assert after.fine[label].replace(" ", "_").replace("'", "_") in image
    shutil.rmtree(nested / "beetle" / "Lucanus cervus")
    (prepare.out / "prepared.yaml").unlink()
    prepare(nested)
    assert read_hierarchy(prepare.out).fine.items() < after.fine.items()


def test_the_number_of_a_class_that_is_gone_is_given_to_no_other(nested, prepare):
    prepare(nested)
    before = read_hierarchy(prepare.out)
    last = before.fine[max(before.fine)]
    (folder,) = nested.rglob(last)
    shutil.rmtree(folder)
    add(nested, "beetle", "Abax", range(100, 105))
    said = prepare(nested)
    after = read_hierarchy(prepare.out)
    assert {label: name for label, name in after.fine.items() if name in before.fine.values()} == {
        label: name for label, name in before.fine.items() if name != last
    }
    assert after.fine[max(before.fine) + 1] == "Abax"
    assert f"Classes that are gone, whose numbers stay free: {last}." in said


def test_a_class_whose_namesake_is_gone_keeps_its_number(tmp_path, prepare):
    source = small(tmp_path / "photos", 4)
    for n, coarse in enumerate("ab"):
        add(source, coarse, "other", range(90 + 4 * n, 94 + 4 * n))
    prepare(source)
    before = {name: label for label, name in read_hierarchy(prepare.out).fine.items()}
    shutil.rmtree(source / "b" / "other")
    said = prepare(source)
    after = {name: label for label, name in read_hierarchy(prepare.out).fine.items()}
    assert after["other"] == before["other (a)"]
    assert "Classes that are gone, whose numbers stay free: other (b)." in said


@pytest.mark.parametrize("described", [True, False])
def test_labelled_folders_keep_their_numbers(tmp_path, prepare, described):
    """Of which there are more than ten, so that they come in another order as text."""
    for n in range(24):
        for level, label in (("fine", n % 12 + 1), ("coarse", n % 12 // 4 * 5)):
            path = tmp_path / "own" / ("train", "test")[n // 12] / level / str(label) / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            drawing(n).save(path)
    if described:
        assert index_folders.main([str(tmp_path / "own")]) == 0
        prepare.forget()
    prepare(tmp_path / "own", status=1)  # too few pictures to hold any out
    found = read_hierarchy(prepare.out)
    assert found.fine == {label: str(label) for label in range(1, 13)}
    assert found.coarse == {label: str(label) for label in (0, 5, 10)}


@pytest.mark.parametrize(
    ("options", "way"),
    [
        (["--size", "20x12"], "--size 20x12 --fit cover"),
        (["--fit", "pad"], "--size 16x16 --fit pad"),
        (["--keep"], "--size 16x16 --fit cover --keep"),
    ],
)
def test_another_way_of_making_a_set_says_what_becomes_of_it(tmp_path, prepare, options, way):
    source = small(tmp_path / "photos", 4)
    assert "made anew" not in prepare(source)
    (line,) = [one for one in prepare(source, *options).splitlines() if "made anew" in one]
    assert f"by {way} in place of --size 16x16 --fit cover" in line
    assert "another exp_name" in line
    assert line in (prepare.out / "prepared.md").read_text()
    again = prepare(source, *options)
    assert "made anew" not in again
    assert "nothing to do" in again


def test_a_second_run_says_which_pictures_came_went_and_moved(tmp_path, prepare):
    source = small(tmp_path / "photos")
    assert "last prepared" not in prepare(source)
    before = read_index(prepare.out)
    sides = dict(zip(before.image, before.split, strict=True))
    gone = next(image for image in sides if sides[image] == "train" and image.startswith("a_a1"))
    (source / "a" / "a1" / gone.removeprefix("a_a1_")).unlink()
    add(source, "b", "b1", range(100, 103))
    said = prepare(source)
    after = read_index(prepare.out)
    moved = sum(
        sides.get(image, split) != split
        for image, split in zip(after.image, after.split, strict=True)
    )
    (line,) = [one for one in said.splitlines() if "last prepared" in one]
    told = (
        f"Since the set was last prepared: 3 pictures more, 1 no longer there ({Path(gone).stem})"
    )
    assert line == told + (f", {moved} moved between training and test." if moved else ".")
    assert gone not in after.image
    said = prepare(source, "--split-seed", 5)
    other = read_index(prepare.out)
    split = dict(zip(after.image, after.split, strict=True))
    moved = sum(split[i] != s for i, s in zip(other.image, other.split, strict=True))
    assert moved > 0
    assert f"last prepared: {moved} moved between training and test." in said


def test_an_edited_held_out_and_edited_settings_are_kept(tmp_path, prepare):
    source = small(tmp_path / "photos")
    prepare(source)
    index = read_index(prepare.out)
    train = index.split.count("train")
    index.held_out[:train] = np.arange(train) % 2 == 0
    write_index(index, prepare.out)
    chosen = {image for image, out in zip(index.image, index.held_out, strict=True) if out}
    settings = yaml.safe_load((prepare.out / "prepared.yaml").read_text())
    file = prepare.out / "prepared.yaml"
    file.write_text(file.read_text().replace(f"width: {settings['width']}", "width: 0.125"))
    for size in (16, 20):  # the second one makes the set anew
        assert "as they were edited" in prepare(source, size=size)
        again = read_index(prepare.out)
        assert {i for i, out in zip(again.image, again.held_out, strict=True) if out} == chosen
        assert yaml.safe_load(file.read_text())["width"] == 0.125
    add(source, "a", "a1", range(200, 230))
    assert "width" in prepare(source)
    again = read_index(prepare.out)
    rows = zip(again.split, again.image, again.held_out.tolist(), strict=True)
    held = {image: out for split, image, out in rows if split == "train"}
    known = [image for image in held if image in set(index.image[:train])]
    assert len(known) > train / 2
    assert all(held[image] == (image in chosen) for image in known)
    assert sum(held.values()) > sum(held[image] for image in known)  # some of the new ones


def test_settings_follow_the_size_of_the_set_unless_edited(tmp_path):
    from common.data.folders.earlier import Earlier
    from common.data.pictures import Frame
    from common.data.prepared import Made, settings_for

    # What this project's own sets use.
    for name, images in (("cifar100", 50_000), ("cifar100_tenth", 5_000)):
        shipped = yaml.safe_load((SHARED / "dataset" / f"{name}.yaml").read_text())
        found = settings_for(images)
        assert {key: shipped[key] for key in ("batch_size", "epochs")} == {
            key: found[key] for key in ("batch_size", "epochs")
        }
    assert settings_for(60)["batch_size"] == 16
    first = {"name": "S", **settings_for(60)}
    index = Index([], [], np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool))
    tree = Hierarchy({}, {}, {}, 0, "", {"train": 60, "held_out": 6, "test": 18})
    made = Made(Frame(8, 8), keep=False, grouped=False, held_out="")
    larger = {"name": "S", **settings_for(50_000)}
    assert Earlier(tree, index, made, first).kept_settings(larger) == (larger, [])
    edited = first | {"batch_size": 5}
    found, names = Earlier(tree, index, made, edited).kept_settings(larger)
    assert found == larger | {"batch_size": 5}
    assert names == ["batch_size"]


def test_another_folder_is_left_alone(nested, prepare):
    prepare.out.mkdir()
    (prepare.out / "mine.txt").write_text("precious")
    assert "no hierarchy.yaml" in prepare(nested, status=1)
    assert os.listdir(prepare.out) == ["mine.txt"]


# ---------------------------------------------------------------- the report


def test_the_report_says_all_that_looks_wrong_at_once(tmp_path, prepare):
    source = tmp_path / "photos"
    small(source / "train")
    small(source / "test", 2, 100)
    # The same picture in train and test, in another format; a class of test alone; one of one picture.
    image = Image.open(source / "train/a/a1/3.png")
    image.save(source / "test/a/a1/copy.bmp")
    add(source / "test", "b", "unseen", [300])
    add(source / "train", "b", "single", [301])
    said = prepare(source)
    (same,) = [line for line in said.splitlines() if "a_a1_3.png and a_a1_copy.png" in line]
    assert "and test (1), which make accuracies too high" in same
    assert "Classes without training pictures (1), which cannot be learned: unseen." in said
    assert "Classes without validation pictures (2): single, unseen." in said
    assert "Classes without test pictures (1): single." in said
    assert "The smallest class is single, with 1 for training" in said
    page = (prepare.out / "prepared.md").read_text()
    for line in said.splitlines():
        if line.startswith("Problem: "):
            assert line.removeprefix("Problem: ") in page
    assert "| b | unseen | 5 | 0 | 0 | 1 |" in page or "| b | unseen | 4 | 0 | 0 | 1 |" in page
    with Image.open(prepare.out / "contact-sheet.png") as sheet:
        assert len(sheet.getcolors(1 << 20) or []) > 20


def test_names_that_differ_by_case_or_spaces_alone_look_like_slips(tmp_path, prepare):
    source = tmp_path / "photos"
    names = [("fam", "Lucanus"), ("fam", "lucanus"), ("Fam", "A x"), ("b", "a  x")]
    for number, (family, species) in enumerate(names):
        add(source, family, species, [*range(10 * number, 10 * number + 6)])
    said = prepare(source)
    told = "classes whose names differ by case or spaces alone"
    assert f"Problem: Fine {told} (2): A x and a  x, Lucanus and lucanus." in said
    assert f"Problem: Coarse {told} (1): Fam and fam." in said


def test_a_name_is_no_html(tmp_path, prepare):
    source = tmp_path / "photos"
    add(source, "a", "<b>bold|", [1, 2, 3])
    prepare(source)
    page = (prepare.out / "prepared.md").read_text()
    assert r"| a | \<b>bold\| |" in page
    assert "<" not in page.replace(r"\<", "")


@pytest.mark.parametrize("layout", ["nested", "splits", "one level", "table"])
def test_classes_without_pictures_are_named(tmp_path, prepare, layout):
    source = collection(tmp_path / "photos", layout)
    first = source / ("train" if layout in ("splits", "one level") else "")
    absent = ["beetle/Abax ater", "beetle/Bad"]
    if layout == "one level":
        pairs = list(WANTED.items())
        pairs += [("Abax ater", "beetle"), ("Bad", "beetle"), ("Not here", "beetle")]
        write_csv(source / "families.csv", ["species", "family"], pairs)
        folders = {name: first / name for name in ("Abax ater", "Bad")}
    else:
        folders = {name: first / "beetle" / name for name in ("Abax ater", "Bad")}
    if layout == "table":
        with (source / "labels.csv").open("a", encoding="utf-8") as table:
            table.write("photos/none.jpg,Abax ater,beetle\nphotos/empty.jpg,Bad,beetle\n")
        (source / "photos" / "empty.jpg").touch()
    else:
        for folder in folders.values():
            folder.mkdir()
        (folders["Bad"] / "empty.jpg").touch()
    if layout in ("nested", "splits"):
        (first / "Empty family").mkdir()
        absent.insert(0, "Empty family")
    if layout == "splits":
        (source / "test" / "beetle").mkdir(parents=True)
    said = prepare(source)
    told = f"Classes without any picture that can be used ({len(absent)}) are left out"
    assert f"Problem: {told}: {', '.join(absent)}." in said
    assert ("The folder test holds no pictures." in said) == (layout == "splits")
    assert classes(prepare.out) == WANTED


def test_numbers_agree_with_their_nouns(tmp_path, prepare):
    add(tmp_path / "photos", "a", "a1", [1, 2, 3])
    assert "3 pictures in 1 fine and 1 coarse class: 1 training" in prepare(tmp_path / "photos")
    add(tmp_path / "photos", "b", "b1", [4, 5, 6])
    assert "6 pictures in 2 fine and 2 coarse classes: 2 training" in prepare(tmp_path / "photos")


def test_a_set_on_which_nothing_can_be_trained_is_no_success(tmp_path, prepare):
    source = tmp_path / "photos"
    add(source, "a", "a1", [1])
    said = prepare(source, status=1)
    assert "has no validation and no test pictures, so nothing can be trained on it" in said
    add(source, "a", "a1", [2, 3])
    assert "The smallest class is a1, with 1 for training" in prepare(source)
    assert all(part["a1"] == 1 for part in counts(prepare.out).values())
    add(source, "b", "b1", [4, 5, 6])
    assert "Every class has 1 for training" in prepare(source)


def test_a_set_made_of_a_set_knows_what_was_done_to_its_pictures(tmp_path, prepare):
    """Its pictures have 8 bits and no folders of groups, but new ones are still to be scaled as they were."""
    for n in range(24):
        path = tmp_path / "photos" / "ab"[n % 2] / f"{n % 4}" / f"site{n // 4}" / f"{n}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 200 * n, np.uint16)).save(path)
    prepare(tmp_path / "photos", "--group-by-folder")
    prepare(prepare.out, "--out-dir", tmp_path / "AGAIN", size=8)
    made = [yaml.safe_load((root / "prepared.yaml").read_text())["made"]
            for root in (prepare.out, tmp_path / "AGAIN")]  # fmt: skip
    assert [(one["peak"], one["grouped"]) for one in made] == [(4600, True)] * 2


# ---------------------------------------------------------------- originals that are kept


def test_originals_are_linked_and_brought_to_size_when_they_are_read(nested, tmp_path, prepare):
    prepare(nested)
    written = {name: load_folder(prepare.out / name / "fine") for name in ("train", "test")}
    shutil.rmtree(prepare.out)
    before = snapshot(nested)
    place = nested / "beetle" / "Lucanus cervus"
    prepare(nested, "--keep")
    assert snapshot(nested) == before
    for name, folder in written.items():
        kept = load_folder(prepare.out / name / "fine")
        assert kept.images.shape == folder.images.shape
        assert [Path(n).stem for n in kept.names] == [Path(n).stem for n in folder.names]
        assert np.array_equal(kept.images.numpy(), folder.images.numpy())
        on_disk = load_folder(prepare.out / name / "coarse", memory_gib=1e-9)
        assert np.array_equal(on_disk.images[:].numpy(), folder.images.numpy())
    inodes = {path.stat().st_ino for path in list_folder(prepare.out / "train/fine").paths}
    assert inodes & {path.stat().st_ino for path in place.iterdir()}
    assert not list(prepare.out.rglob("decoded"))
