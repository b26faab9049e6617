"""Folders of images to one tensor: known pixels, what is refused by name, and the cache."""

import fcntl
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

import common.data.image_folder as image_folder
from common.data.image_folder import ImageFolder, load_folder
from common.data.images import decode
from common.data.index import SUFFIXES
from common.data.listing import list_folder
from common.data.pictures import find_pictures, read_picture
from common.system.errors import UserError

SIZE = (4, 6)  # rows, columns


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """NAME/train/fine with three classes whose label ids have gaps: 0, 2 and 10; names in another order."""
    directory = tmp_path / "NAME" / "train" / "fine"
    for seed, place in enumerate(["10/a.png", "0/c.png", "2/b.png", "2/d.png"]):
        save(directory / place, picture(seed))
    return directory


@pytest.fixture
def decodings(monkeypatch) -> list[int]:
    """How many images each call of `decode` decodes."""
    counts: list[int] = []

    def counting(paths, **how):
        counts.append(len(paths))
        return decode(paths, **how)

    monkeypatch.setattr(image_folder, "decode", counting)
    return counts


# Pixels, labels, names


def test_images_are_ordered_by_name_with_their_own_pixels_and_label_ids(folder):
    loaded = load_folder(folder)
    assert loaded.names == ["a.png", "b.png", "c.png", "d.png"]
    assert loaded.labels.tolist() == [10, 2, 0, 2]
    assert loaded.images.dtype == torch.uint8
    assert loaded.images.shape == (4, 3, *SIZE)
    for row, seed in enumerate([0, 2, 1, 3]):
        assert np.array_equal(loaded.images[row].permute(1, 2, 0).numpy(), picture(seed))


def test_grey_images_become_three_equal_channels(tmp_path):
    grey = picture(0)[:, :, 0]
    loaded = decode([save(tmp_path / "grey.png", grey)])[0].numpy()
    assert all(np.array_equal(channel, grey) for channel in loaded)


@pytest.mark.parametrize("alpha", [255, 51, 0])
def test_transparent_images_stand_on_white(tmp_path, alpha):
    rgba = np.dstack([picture(0), np.full(SIZE, alpha, np.uint8)])
    loaded = decode([save(tmp_path / "rgba.png", rgba)])[0].permute(1, 2, 0).numpy()
    shown = 255 - (255.0 - picture(0)) * alpha / 255
    assert abs(loaded - shown).max() <= (0 if alpha in (0, 255) else 1)


def test_palette_images_take_their_palette_s_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "palette.png")
    red, blue = [255, 0, 0], [0, 0, 255]
    loaded = decode([tmp_path / "palette.png"])[0].permute(1, 2, 0)
    assert loaded.tolist() == [[red, blue], [blue, red]]


def test_one_folder_may_hold_several_modes_and_formats(tmp_path):
    grey = save(tmp_path / "a.png", picture(0)[:, :, 0])
    bitmap = save(tmp_path / "b.BMP", picture(1))
    loaded = decode([grey, bitmap])
    assert np.array_equal(loaded[1].permute(1, 2, 0).numpy(), picture(1))


def test_hidden_files_are_overlooked(folder):
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "2" / ".thumbnail.png").write_bytes(b"x")
    assert len(load_folder(folder).names) == 4


# What is refused, by name


def refusal(directory: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_folder(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_folder_is_refused(tmp_path):
    sentence = refusal(tmp_path / "NAME" / "train" / "fine")
    assert str(tmp_path / "NAME/train/fine") in sentence
    assert "dataset.root" in sentence


def test_image_of_another_size_is_refused(folder):
    save(folder / "2" / "e.png", np.zeros((5, 7, 3), np.uint8))
    sentence = refusal(folder)
    assert str(folder / "2" / "e.png") in sentence
    assert "7 x 5" in sentence
    assert "6 x 4" in sentence


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_corrupt_image_is_refused(folder, content):
    file = folder / "2" / "b.png"
    file.write_bytes(file.read_bytes()[:60] if content == "half" else content)
    assert str(file) in refusal(folder)


def test_image_that_cannot_be_read_is_refused_and_leaves_no_cache(folder):
    (folder / "2" / "b.png").write_bytes(b"")
    refusal(folder)
    assert not (folder.parent.parent / ".cache").exists()


@pytest.mark.parametrize("stray", ["readme.txt", "2/notes.txt"])
def test_stray_file_among_classes_or_images_is_refused(folder, stray):
    (folder / stray).write_text("x")
    assert str(folder / stray) in refusal(folder)


def test_folder_among_images_is_refused(folder):
    (folder / "2" / "deeper.png").mkdir()
    assert "deeper.png" in refusal(folder)


# /dev/null stands for the devices without an end.
@pytest.mark.parametrize("target", ["/dev/null", "."])
def test_link_to_what_is_no_regular_file_is_never_read(folder, target):
    link = folder / "2" / "e.png"
    link.symlink_to(target)
    assert str(link) in refusal(folder)
    assert link not in find_pictures(folder / "2")
    with pytest.raises(UserError, match=r"e\.png cannot be read as an image .*regular"):
        read_picture(link)


def test_device_is_no_picture(tmp_path):
    (tmp_path / "a.png").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="neither a regular file nor a folder"):
        find_pictures(tmp_path / "a.png")


def test_link_to_a_picture_is_one(folder, tmp_path):
    (folder / "2" / "e.png").symlink_to(folder / "10" / "a.png")
    assert folder / "2" / "e.png" in find_pictures(folder / "2")
    assert len(load_folder(folder).names) == 5


def test_no_file_starts_another_program(folder, monkeypatch):
    """Pillow hands EPS files to Ghostscript, and knows them by their content."""
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args: pytest.fail("started"))
    file = folder / "2" / "b.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n")
    assert Image.open(file).format == "EPS"
    assert f"{file} cannot be read as an image (of an unknown kind)" in refusal(folder)


def test_photographs_of_several_pictures_are_read(tmp_path):
    image = Image.new("RGB", (32, 32), "red")
    image.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[image])
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    assert read_picture(tmp_path / "a.jpg").size == (32, 32)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_has_a_format_that_is_read(tmp_path, suffix):
    file = tmp_path / f"a{suffix}"
    Image.new("L", (32, 32), 128).save(file)
    assert read_picture(file).getpixel((0, 0)) == (128, 128, 128)


# 02 and 2 would be the same label; the data scripts refuse it too.
@pytest.mark.parametrize("name", ["dolphin", "-1", "1.5", "²", "٣", "1 ", "02"])
def test_class_folder_that_is_not_named_by_a_label_id_is_refused(folder, name):
    save(folder / name / "z.png", picture(9))
    assert str(folder / name) in refusal(folder)


def test_empty_class_is_refused(folder):
    (folder / "3").mkdir()
    assert str(folder / "3") in refusal(folder)


def test_folder_without_classes_is_refused(tmp_path):
    directory = tmp_path / "NAME" / "train" / "fine"
    directory.mkdir(parents=True)
    assert str(directory) in refusal(directory)


def test_name_in_two_classes_is_refused(folder):
    save(folder / "0" / "a.png", picture(9))
    sentence = refusal(folder)
    assert str(folder / "0" / "a.png") in sentence
    assert str(folder / "10" / "a.png") in sentence


# The cache


def test_second_load_decodes_nothing_and_gives_the_same(folder, decodings):
    first, second = load_folder(folder), load_folder(folder)
    assert decodings == [4]
    assert torch.equal(first.images, second.images)
    assert first.labels.tolist() == second.labels.tolist()
    assert (first.names, first.digest) == (second.names, second.digest)


def change_pixels(folder):
    file = save(folder / "2" / "b.png", picture(9))
    os.utime(file, ns=(1, 1))


def add(folder):
    save(folder / "2" / "z.png", picture(9))


def remove(folder):
    (folder / "2" / "d.png").unlink()


def relabel(folder):
    (folder / "2" / "d.png").rename(folder / "0" / "d.png")


def rename(folder):
    (folder / "2" / "d.png").rename(folder / "2" / "e.png")


@pytest.mark.parametrize("change", [change_pixels, add, remove, relabel, rename])
def test_cache_and_digest_are_made_anew_when_the_folder_changes(folder, decodings, change):
    before = load_folder(folder)
    change(folder)
    after = load_folder(folder)
    assert len(decodings) == 2
    assert after.digest != before.digest
    assert torch.equal(after.images, decode(list_folder(folder).paths))


def test_digest_tells_nothing_of_where_the_folder_lies(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "OTHER" / "train" / "fine")
    assert load_folder(folder).digest == load_folder(tmp_path / "OTHER" / "train" / "fine").digest


@pytest.mark.parametrize(("memory_gb", "cache"), [(8, "train-fine.pt"), (1e-9, "train-fine.yaml")])
def test_what_killed_commands_left_of_a_cache_is_deleted_and_what_is_being_written_stays(
    folder, memory_gb, cache
):
    place = folder.parent.parent / ".cache"
    place.mkdir()
    left, written, other = (
        place / name for name in (f".{cache}.a.tmp", f".{cache}.b.tmp", ".train-coarse.pt.c.tmp")
    )
    for file in (left, written, other):
        file.write_bytes(b"half")
    with written.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        load_folder(folder, memory_gib=memory_gb)
    assert {file.name for file in place.iterdir()} == {cache, written.name, other.name}


def test_each_tree_and_split_has_a_cache_of_its_own(folder, decodings):
    other = folder.parent.parent / "test" / "fine"
    save(other / "0" / "t.png", picture(5))
    coarse = folder.parent / "coarse"
    save(coarse / "1" / "a.png", picture(6))
    for directory in (folder, other, coarse) * 2:
        load_folder(directory)
    assert decodings == [4, 1, 1]


def truncate(cache):
    cache.write_bytes(cache.read_bytes()[:-100])


def scribble(cache):
    content = bytearray(cache.read_bytes())
    pixels = decode([cache.parent.parent / "train/fine/10/a.png"]).numpy().tobytes()
    content[content.index(pixels)] ^= 1
    cache.write_bytes(content)


def empty(cache):
    cache.write_bytes(b"")


def other_content(cache):
    torch.save({"pixels": torch.zeros(3)}, cache)


def other_types(cache):
    torch.save({"signature": 3, "digest": None, "images": "none"}, cache)


def no_mapping(cache):
    torch.save([1, 2], cache)


def text_for_images(cache):
    held = torch.load(cache)
    torch.save(held | {"images": "none"}, cache)


def too_few_images(cache):
    held = torch.load(cache)
    torch.save(held | {"images": held["images"][:-1]}, cache)


def hostile(cache):
    class Hostile:
        def __reduce__(self):
            return (Path(cache.parent / "ran").touch, ())

    cache.write_bytes(pickle.dumps(Hostile()))


DAMAGES = [
    truncate,
    scribble,
    empty,
    other_content,
    other_types,
    no_mapping,
    text_for_images,
    too_few_images,
    hostile,
]


def same(one: ImageFolder, other: ImageFolder) -> None:
    assert (one.digest, one.names) == (other.digest, other.names)
    assert (one.labels == other.labels).all()
    assert torch.equal(one.pixel_counts, other.pixel_counts)
    everything = torch.arange(len(one.names))
    assert torch.equal(one.images[everything], other.images[everything])


@pytest.mark.parametrize("memory_gb", [8, 0])
def test_bits_of_a_cache_that_flip_change_no_image(folder, memory_gb):
    expected = load_folder(folder, memory_gib=memory_gb)
    (cache,) = (folder.parent.parent / ".cache").glob("train-fine.*")
    whole, draw = cache.read_bytes(), random.Random(0)
    for _ in range(100):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        cache.write_bytes(content[: draw.choice([None, None, draw.randrange(len(content))])])
        same(load_folder(folder, memory_gib=memory_gb), expected)


@pytest.mark.parametrize(
    "text", ["digest: 2024-13-45", "check: 0x_", "[" * 5000, "- 1", "\xff", "", "\0"]
)
def test_a_summary_that_is_no_summary_is_made_anew(folder, text):
    expected = load_folder(folder, memory_gib=0)
    (cache,) = (folder.parent.parent / ".cache").glob("train-fine.*")
    cache.write_text(text, encoding="latin-1")
    same(load_folder(folder, memory_gib=0), expected)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_is_made_anew(folder, decodings, damage):
    expected = load_folder(folder)
    cache = folder.parent.parent / ".cache" / "train-fine.pt"
    damage(cache)
    again = load_folder(folder)
    assert torch.equal(again.images, expected.images)
    assert again.digest == expected.digest
    assert decodings == [4, 4]
    assert not (cache.parent / "ran").exists()
    load_folder(folder)
    assert decodings == [4, 4]


def test_data_set_that_cannot_be_written_to_is_decoded_each_time(folder, decodings, caplog):
    # A file in the cache folder's place: no permission can keep root out.
    (folder.parent.parent / ".cache").write_text("")
    for _ in range(2):
        assert len(load_folder(folder).names) == 4
    assert decodings == [4, 4]
    assert "cannot be written" in caplog.text


def test_cache_of_a_shared_data_set_is_readable_by_others(folder):
    before = os.umask(0o022)
    try:
        load_folder(folder)
    finally:
        os.umask(before)
    cache = folder.parent.parent / ".cache" / "train-fine.pt"
    assert cache.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]


def test_a_folder_of_12_bits_in_16_is_refused_and_one_dark_image_is_not(folder):
    for path in list(folder.rglob("*.png")):
        Image.fromarray(np.full(SIZE, 4095, np.uint16)).save(path)
    with pytest.raises(UserError, match=r"16-bit images .*prepare_folders\.py"):
        load_folder(folder)
    with pytest.raises(UserError, match=r"a\.png .* 4095"):
        read_picture(folder / "10" / "a.png")
    Image.fromarray(np.full(SIZE, 0x8000, np.uint16)).save(folder / "2" / "d.png")
    assert load_folder(folder).images.unique().tolist() == [0x0F, 0x80]


# In a process of its own, as pytest shows warnings otherwise. A limit that a small picture exceeds.
LARGE = """
import sys
from pathlib import Path
from PIL import Image
from common.data.pictures import read_picture
Image.MAX_IMAGE_PIXELS = int(sys.argv[2])
print(read_picture(Path(sys.argv[1])).size)
"""


def test_large_pictures_are_read_in_silence(tmp_path):
    file = save(tmp_path / "a.png", picture(0))  # 24 pixels: above the limit, below its double
    done = subprocess.run(
        [sys.executable, "-c", LARGE, file, "20"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("(6, 4)\n", "")


def test_too_large_pictures_are_refused_with_size_and_limit(tmp_path, monkeypatch):
    file = save(tmp_path / "a.png", np.zeros((40, 30, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 550)
    said = f"{file} cannot be read as an image (it has 1,200 pixels; allowed are 1,100: scale it down)."
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        read_picture(file)
