"""Damaged and hostile files beside those of the other tests: handled as documented, or refused by their name."""

import io
import os
import shutil
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import arch_dual_head.trainer
import arch_single_head.trainer
import train_system
from arch_single_head.schema import SingleConfig
from common.checkpoints.files import load
from common.data.datamodule import warn_once
from common.data.hierarchy import read_hierarchy
from common.data.image_folder import load_folder
from common.data.images import decode
from common.data.index import read_index
from common.data.pictures import read_picture
from common.data.tree import write_tree
from common.data.unpickling import unpickle
from common.results.rows import read_result, write_result
from common.runs.fingerprint import refuse_other_configuration
from common.system.atomic_files import write_text
from common.system.errors import UserError
from data_scripts import prepare_cifar
from data_scripts.index_folders import index_folders
from data_scripts.make_navon import make_navon

SINGLE, STUDY = arch_single_head.trainer.main, train_system.main
DUAL = arch_dual_head.trainer.main
FLIPS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def flip(data, file: Path, content: bytes) -> None:
    """Write ``content`` with one to three bits changed, or cut off."""
    changed = bytearray(content)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=3)):
        changed[bit // 8] ^= 1 << bit % 8
    if data.draw(st.booleans()):
        changed = changed[: data.draw(st.integers(0, len(content)))]
    file.write_bytes(bytes(changed))


def one_line(sentence: object, *named: object) -> None:
    assert len(str(sentence).splitlines()) == 1, sentence
    assert [name for name in named if str(name) not in str(sentence)] == [], sentence


@pytest.fixture
def own(navon, tmp_path) -> Path:
    """A copy of the data set that may be changed."""
    shutil.copytree(navon, tmp_path / "OWN")
    shutil.rmtree(tmp_path / "OWN/.cache", ignore_errors=True)
    return tmp_path / "OWN"


@pytest.fixture
def train(in_process, tiny, tmp_path):
    """Train the fine hemisphere on a data set for an epoch; gives status, output, error."""

    def run(root: Path, *more: str):
        arguments = [*tiny, f"dataset.root={root}", f"save_dir={tmp_path}/runs"]
        return in_process(SINGLE, *arguments, "trainer_params.max_epochs=1", *more)

    return run


# Damage


@FLIPS
@given(st.data())
def test_a_damaged_image_is_the_same_picture_or_refused_by_its_name(tmp_path, data):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(pixels).save(good)
    flip(data, bad, good.read_bytes())
    try:
        images = decode([good, bad])
    except UserError as error:
        one_line(error, bad)
    else:
        assert images[0].equal(images[1])


@pytest.mark.parametrize(("name", "read"), [("hierarchy", read_hierarchy), ("index", read_index)])
def test_a_damaged_description_is_read_or_refused_by_its_name(name, read, navon, tmp_path):
    (file,) = navon.glob(f"{name}.*")
    content = file.read_bytes()

    @FLIPS
    @given(st.data())
    def damage(data):
        flip(data, tmp_path / file.name, content)
        try:
            read(tmp_path)
        except UserError as error:
            one_line(error, tmp_path / file.name)

    damage()


@FLIPS
@given(st.data())
def test_a_damaged_result_is_never_another_result(tmp_path, data):
    levels = {"fine": {"accuracy": 0.5, "loss": 1.25}}
    result = {"arm": "fine", "seed": 0, "checkpoint": "best.ckpt", "best_epoch": 1, "epochs": 2}
    result |= {"seconds": 1.5, "validation": levels, "test": levels}
    file = tmp_path / "result.yaml"
    write_result(file, result)
    flip(data, file, file.read_bytes())
    found = read_result(file)
    if found is not None and found != result:
        # Its digest's own name was hit: then nothing else of three bits was lost but names.
        assert "digest" not in yaml.safe_load(file.read_text())


@FLIPS
@given(st.data())
def test_a_damaged_fingerprint_is_refused_by_its_name_or_folder(tmp_path, data):
    identity = {"data": {"train": "00ff", "test": None}, "hparams": {"lr": 0.1, "arch": "vgg11"}}
    place = tmp_path / "fine/seed0"
    write_text(place / "fingerprint.yaml", yaml.safe_dump(identity | {"sources": {}}))
    write_text(place / "result.yaml", "")
    refuse_other_configuration(place, identity, {}, schema=SingleConfig)
    flip(data, place / "fingerprint.yaml", (place / "fingerprint.yaml").read_bytes())
    try:
        refuse_other_configuration(place, identity, {}, schema=SingleConfig)
    except UserError as error:
        one_line(error, place)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"fine: [", b"fine: 2024-13-45\ncoarse: []\n", b"[" * 5000,
        b"fine: !!python/object/apply:os.system [touch harm]\n", b"- 1\n", b"fine: [a]\ncoarse: [null]\n",
    ],
)  # fmt: skip
def test_a_damaged_list_of_trained_models_is_refused_by_its_name(content, in_process, tmp_path):
    file = tmp_path / "models.yaml"
    file.write_bytes(content)
    status, _, err = in_process(STUDY, f"trained_models={file}", "num_seeds=1", "dataset=navon")
    assert status == 1
    one_line(err, file)
    assert not Path("harm").exists()


EMPTY, FOLDER = "is empty", "is a folder"


@pytest.mark.parametrize(
    ("read", "name"),
    [
        pytest.param(read_picture, "a.png", id="picture"),
        (load, "best.ckpt"),
        (unpickle, "train"),
        (lambda path: read_index(path.parent), "index.csv"),
        (lambda path: read_hierarchy(path.parent), "hierarchy.yaml"),
    ],
)
@pytest.mark.parametrize("what", [EMPTY, FOLDER])
def test_an_empty_file_is_called_empty_and_a_folder_a_folder(what, read, name, tmp_path):
    file = tmp_path / name
    file.touch() if what == EMPTY else file.mkdir()
    with pytest.raises(UserError) as caught:
        read(file)
    one_line(caught.value, file, what)


@pytest.mark.parametrize(
    "folder", ["", "small", "small/bilateral", "small/bilateral/seed0", "small/coarse/seed0/.."]
)
def test_a_folder_in_place_of_a_checkpoint_names_one_in_it(folder, tmp_path):
    for name in ("small/coarse/seed1", "small/bilateral/seed0", "small/bilateral/seed1"):
        file = tmp_path / name / "checkpoints/best.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
    (tmp_path / "small/coarse/seed0").mkdir()
    place = tmp_path / folder
    first = "small/coarse/seed1" if "coarse" in folder else "small/bilateral/seed0"
    with pytest.raises(UserError) as caught:
        load(place)
    one_line(caught.value, f"{place} is a folder", "such as", "checkpoints/best.ckpt")
    named = str(caught.value).partition("such as ")[2].removesuffix(".")
    assert Path(named).resolve() == tmp_path / first / "checkpoints/best.ckpt"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        load(tmp_path / "empty")
    one_line(caught.value, f"{tmp_path / 'empty'} is a folder", "allowed: a best.ckpt")


@pytest.mark.parametrize("content", [b"arm,seed\nfine,0\n", b"\x89PNG", b"P", bytes(999)])
def test_a_file_of_another_kind_is_no_checkpoint_and_training_anew_no_remedy(content, tmp_path):
    file = tmp_path / "results.csv"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load(file)
    one_line(caught.value, f"{file} is no checkpoint", "allowed: a best.ckpt or last.ckpt")
    assert "anew" not in str(caught.value)


@pytest.mark.parametrize("name", ["cifar-100-python.tar.gz", "raw.zip", "train"])
def test_an_archive_in_place_of_raw_data_is_to_be_unpacked(name, tmp_path, capsys):
    file = tmp_path / name
    file.write_bytes(b"packed")
    assert prepare_cifar.main(["--raw-dir", str(file), "--out-dir", str(tmp_path / "OUT")]) == 1
    said = capsys.readouterr().err
    one_line(said, file, "is a file" if name == "train" else "is an archive: unpack it")
    with pytest.raises(UserError, match="is a"):
        unpickle(file / "train")  # as dataset.raw_data_dir


@pytest.mark.parametrize(
    ("key", "what"),
    [("train", "training"), ("test", "test"), ("images", "the images have changed")],
)
def test_changed_images_are_said_in_words_and_not_in_digests(key, what, tmp_path):
    place = tmp_path / "fine/seed0"
    data = {"train": "00ffee", "test": "11ddcc", "images": "22bbaa"}
    write_text(place / "fingerprint.yaml", yaml.safe_dump({"data": data, "sources": {}}))
    write_text(place / "result.yaml", "")
    with pytest.raises(UserError) as caught:
        refuse_other_configuration(place, {"data": data | {key: "99aabb"}}, {}, schema=SingleConfig)
    one_line(caught.value, place, what, "have changed since", "fresh=true")
    assert data[key] not in str(caught.value)
    assert "99aabb" not in str(caught.value)


# What a data set may lack


def test_a_class_may_be_missing_from_one_split(own, train):
    for tree, label in (("test", 3), ("train", 7)):
        for image in (own / tree / "fine" / str(label)).iterdir():
            next((own / tree / "coarse").glob(f"*/{image.name}")).unlink()
        shutil.rmtree(own / tree / "fine" / str(label))
    index_folders(own, 0)
    warn_once.cache_clear()
    status, _, err = train(own)
    unlearnt, untested = (read_hierarchy(own).fine[label] for label in (7, 3))
    assert (status, err) == (
        0,
        f"warning: {own}/train has no training image of fine class 7 ({unlearnt}): networks cannot learn it.\n"
        f"warning: {own}/test has no test image of fine class 3 ({untested}): how well it is recognised is not "
        "measured.\n",
    )


@pytest.mark.parametrize("role", ["test", "val"])
def test_images_of_another_size_than_the_training_images_are_refused(role, own, train, tmp_path):
    for file in (own / "test").rglob("*.png"):
        Image.new("RGB", (24, 20)).save(file)
    more = [f"dataset.val_dir={own / 'test/fine'}"] if role == "val" else []
    status, _, err = train(own, *more)
    assert status == 1
    assert not [*tmp_path.rglob("*.ckpt")]
    one_line(
        err,
        f"{own / 'test/fine'} holds images of 24 x 20 pixels",
        f"{own / 'train/fine'} of 32 x 32",
    )


def test_training_images_neither_choose_an_epoch_nor_test_a_network(own, train, tmp_path):
    """Under whatever path, and with either level's labels."""
    copy = tmp_path / "COPY"
    shutil.copytree(own, copy)
    (tmp_path / "link").symlink_to(own / "train")
    for key, folder in (
        ("val_dir", own / "train/fine"),
        ("val_dir", copy / "train/fine"),
        ("test_dir", tmp_path / "link/fine"),
        ("test_dir", copy / "train/fine"),
    ):
        status, _, err = train(own, f"dataset.{key}={folder}")
        assert status == 1
        one_line(err, f"dataset.{key}: {folder} holds the training images of {own / 'train/fine'}")
    assert not [*tmp_path.rglob("*.ckpt")]


def test_test_images_choose_an_epoch_only_where_the_tables_say_so(own, train, tmp_path):
    shutil.copytree(own / "test", tmp_path / "again")
    status, _, err = train(own, f"dataset.val_dir={tmp_path / 'again/fine'}")
    assert status == 1
    one_line(err, f"{tmp_path / 'again/fine'} holds the test images of {own / 'test/fine'}")
    status, out, _ = train(own, f"dataset.val_dir={own / 'test/fine'}")
    assert status == 0
    assert "chosen on the test images" in out


def test_nothing_is_built_on_a_network_chosen_on_test_images_without_saying_so(
    own, train, tiny, in_process, tmp_path
):
    assert train(own, f"dataset.val_dir={own / 'test/fine'}")[0] == 0
    (best,) = tmp_path.rglob("best.ckpt")
    shutil.copytree(own, tmp_path / "OTHER", ignore=shutil.ignore_patterns(".cache"))
    Image.new("RGB", (32, 32)).save(next((tmp_path / "OTHER/test/fine").glob("*/*.png")))
    status, _, err = in_process(
        DUAL,
        *tiny,
        "--config-name=fine_refit",
        f"dataset.root={own}",
        f"save_dir={tmp_path / 'built'}",
        f"hparams.model_path_fine={best}",
        f"dataset.val_dir={tmp_path / 'OTHER/test/fine'}",
    )
    assert status == 1
    one_line(err, f"hparams.model_path_fine: the epoch of {best} was chosen on the test images")


def test_trees_that_disagree_are_refused_by_the_image(own, train, tiny, tmp_path):
    image = next((own / "train/coarse/0").iterdir())
    image.rename(own / "train/coarse/1" / image.name)
    status, _, err = train(own, "hparams.mode=coarse")
    assert status == 1
    one_line(err, image.name, own / "index.csv")
    with pytest.raises(UserError) as caught:
        index_folders(own, 0)
    one_line(caught.value, "coarse")


def test_one_image_in_all_is_refused(tmp_path, train):
    root = tmp_path / "ONE"
    for split in ("train", "test"):
        for level in ("fine", "coarse"):
            folder = root / split / level / "0"
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(folder / "a.png")
    index_folders(root, 0)
    status, _, err = train(root)
    assert status == 1
    one_line(err, root / "train/fine", "validation")


def test_label_ids_with_gaps_in_folders_of_ones_own(tmp_path):
    root = tmp_path / "GAPS"
    for split in ("train", "test"):
        for i, label in enumerate((2, 40, 999)):
            for level, name in (("fine", label), ("coarse", 5)):
                folder = root / split / level / str(name)
                folder.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8)).save(folder / f"{i}.png")
    assert list(index_folders(root, 0).fine) == [2, 40, 999]
    assert load_folder(root / "train/fine").labels.tolist() == [2, 40, 999]


# Hostile names and links


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", "\u202eb.png", "a\udcffb.png"])
def test_names_that_no_terminal_should_show_are_refused_on_one_line(name, own, capsys):
    for level in ("fine", "coarse"):
        Image.new("RGB", (32, 32)).save(own / "train" / level / "0" / name, format="png")
    from data_scripts.index_folders import main

    assert main([str(own)]) == 1
    err = capsys.readouterr().err
    one_line(err, "is not allowed as the name of an image")
    assert err.rstrip("\n").isprintable()


def test_a_name_that_no_terminal_should_show_is_refused_by_training_too(own, train):
    Image.new("RGB", (32, 32)).save(own / "train/fine/0" / "a\n\x1b.png", format="png")
    status, _, err = train(own)
    assert status == 1
    one_line(err, "a\\n\\x1b.png", "plain file name")


def test_names_that_differ_only_in_case_stay_two_images(tmp_path):
    raw = make_navon(train=200, test=100, seed=0)
    raw.train.names[:2] = ["Same.png", "sAME.png"]
    raw.train.fine[:2] = [raw.train.fine[0]] * 2
    raw.train.coarse[:2] = [raw.train.coarse[0]] * 2
    write_tree(raw, tmp_path / "SET", split_seed=0)
    names = [path.name.casefold() for path in (tmp_path / "SET/train/fine").glob("*/*")]
    assert len(names) == len(set(names)) == 200


def test_links_do_not_lead_a_writer_outside(tmp_path, own):
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "victim"
    victim.write_text("mine")
    target = tmp_path / "result.yaml"
    target.symlink_to(victim)
    write_text(target, "new")
    assert not target.is_symlink()
    assert victim.read_text() == "mine"
    # Where a data set is built before it is moved into place.
    (tmp_path / ".SET.building").symlink_to(outside / "nowhere")
    raw = make_navon(train=100, test=100, seed=0)
    with pytest.raises((OSError, UserError)):
        write_tree(raw, tmp_path / "SET", split_seed=0)
    assert [path.name for path in outside.iterdir()] == ["victim"]
    (tmp_path / ".SET.building").unlink()
    (tmp_path / ".SET.building").symlink_to(outside)
    with pytest.raises((OSError, UserError)):
        write_tree(raw, tmp_path / "SET", split_seed=0)
    assert [path.name for path in outside.iterdir()] == ["victim"]


def test_a_lock_that_is_a_link_is_refused_and_leads_nowhere(own, train, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    experiment = tmp_path / "runs/locked"
    experiment.mkdir(parents=True)
    (experiment / ".lock").symlink_to(victim)
    status, _, err = train(own, "exp_name=locked")
    assert status == 1
    one_line(err, experiment / ".lock", "is a link")
    assert victim.read_text() == "mine"


# Hostile checkpoints


def packed(file: Path) -> None:
    """A part of 128 MB that takes a fraction of one."""
    saved = io.BytesIO()
    torch.save({"state_dict": {}, "bilateral": {}}, saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
        with new.open("archive/data/0", "w", force_zip64=True) as large:
            for _ in range(8):
                large.write(bytes(2**24))


def oversized(file: Path) -> None:
    """A tensor that says it is of a terabyte, over a storage of four bytes."""
    saved = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(1)}, "bilateral": {}}, saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(file, "w") as new:
        for part in old.infolist():
            content = old.read(part)
            if part.filename.endswith("data.pkl"):
                # The storage's size, 1, and the tensor's shape, (1,), as pickle writes them.
                assert b"K\x01" in content
                content = content.replace(b"K\x01", b"J" + struct.pack("<i", 2**30))
            new.writestr(part.filename, content)


def of_the_old_kind(file: Path) -> None:
    torch.save({"state_dict": {}}, file, _use_new_zipfile_serialization=False)


def nested(file: Path) -> None:
    """A pickle so deep that a reader might run out of stack."""
    content: list = []
    for _ in range(200):
        content = [content]
    torch.save(content, file)


@pytest.mark.parametrize("make", [packed, oversized, of_the_old_kind, nested])
def test_a_checkpoint_that_asks_for_too_much_is_refused(make, tmp_path):
    file = tmp_path / "hostile.ckpt"
    make(file)
    tracemalloc.start()
    with pytest.raises(UserError) as caught:
        load(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    one_line(caught.value, file)
    assert peak < 2**26
    assert os.listdir(tmp_path) == ["hostile.ckpt"]
