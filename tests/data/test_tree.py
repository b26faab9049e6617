"""The labelled tree: every image in both trees, complete or not there, safe to run again."""

import errno
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import common.data.tree as tree
import common.system.atomic_files as files_module
from common.data.held_out import held_out
from common.data.hierarchy import Hierarchy, read_hierarchy, write_hierarchy
from common.data.index import Index, read_index, write_index
from common.data.raw import Raw, RawSplit
from common.data.tree import write_tree
from common.system.errors import UserError

FINE = ["zero", "one", "two", *map(str, range(3, 12))]


def split_of(fine: list[int], names: list[str], seed: int) -> RawSplit:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (len(fine), 3, 4, 4), np.uint8)
    return RawSplit(images, fine, [label % 2 for label in fine], names)


def tiny_raw(seed: int = 0) -> Raw:
    """Fine classes 2 and 10 share the coarse class 0 and, in each split, the name baby.png."""
    fine = [2, 10, 1, 2, 10, 1]
    names = ["baby.png", "baby.png", *(f"i{i}.png" for i in range(4))]
    return Raw(
        split_of(fine, names, seed), split_of(fine[:3], names[:3], seed + 1), FINE, ["even", "odd"]
    )


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def stamps(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in files(folder)}


def test_every_image_is_in_both_trees_with_its_labels(tmp_path: Path) -> None:
    raw, out = tiny_raw(), tmp_path / "SET"
    write_tree(raw, out, 0)
    index = read_index(out)
    expected = {"hierarchy.yaml", "index.csv"}
    for split, image, fine, coarse in zip(
        index.split, index.image, index.fine, index.coarse, strict=True
    ):
        expected |= {f"{split}/fine/{fine}/{image}", f"{split}/coarse/{coarse}/{image}"}
    assert files(out) == expected
    assert len(expected) == 2 + 2 * (6 + 3)
    for name, split in raw.splits():
        for i, fine in enumerate(split.fine):
            image = split.names[i].replace("baby", f"baby_fine{fine}")  # occurs twice
            for level, label in (("fine", fine), ("coarse", split.coarse[i])):
                pixels = np.asarray(Image.open(out / name / level / str(label) / image))
                assert np.array_equal(pixels, split.images[i].transpose(1, 2, 0))


def test_many_images_each_come_to_their_place(tmp_path: Path) -> None:
    """More than one process writes at once."""
    draw = np.random.default_rng(0)
    fine = draw.integers(0, 3, 2_400).tolist()
    images = draw.integers(0, 256, (2_400, 3, 4, 4), dtype=np.uint8)
    whole = RawSplit(
        images, fine, [label % 2 for label in fine], [f"{i}.png" for i in range(2_400)]
    )
    write_tree(
        Raw(whole, split_of([0], ["0.png"], 0), ["a", "b", "c"], FINE[:2]), tmp_path / "SET", 0
    )
    for i, label in enumerate(fine):
        pixels = np.asarray(Image.open(tmp_path / f"SET/train/fine/{label}/{i}.png"))
        assert np.array_equal(pixels, images[i].transpose(1, 2, 0))
        assert (tmp_path / f"SET/train/coarse/{label % 2}/{i}.png").exists()
    assert len(files(tmp_path / "SET/train")) == 2 * 2_400


def test_images_are_written_once(tmp_path: Path) -> None:
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    fine = tmp_path / "SET/train/fine/10/baby_fine10.png"
    assert fine.samefile(tmp_path / "SET/train/coarse/0/baby_fine10.png")


def test_images_are_copied_where_links_fail(tmp_path: Path, monkeypatch) -> None:
    def no_link(*args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    fine = tmp_path / "SET/train/fine/10/baby_fine10.png"
    coarse = tmp_path / "SET/train/coarse/0/baby_fine10.png"
    assert not fine.samefile(coarse)
    assert fine.read_bytes() == coarse.read_bytes()


def test_label_ids_are_numbers_not_positions(tmp_path: Path) -> None:
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    hierarchy = read_hierarchy(tmp_path / "SET")
    assert hierarchy.fine == {1: "one", 2: "two", 10: "10"}
    assert hierarchy.coarse == {0: "even", 1: "odd"}
    assert hierarchy.parent == {1: 1, 2: 0, 10: 0}
    assert read_index(tmp_path / "SET").fine.tolist() == [1, 1, 2, 2, 10, 10, 1, 2, 10]


def test_run_again_changes_nothing(tmp_path: Path, capsys) -> None:
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    before = stamps(tmp_path)
    capsys.readouterr()
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    assert stamps(tmp_path) == before
    assert "nothing to do" in capsys.readouterr().out


def test_raw_data_in_another_order_is_the_same_data(tmp_path: Path) -> None:
    raw = tiny_raw()
    first = write_tree(raw, tmp_path / "SET", 0)
    order = [3, 5, 0, 1, 4, 2]
    s = raw.train
    raw.train = RawSplit(
        s.images[order], *([values[i] for i in order] for values in (s.fine, s.coarse, s.names))
    )
    before = stamps(tmp_path)
    assert write_tree(raw, tmp_path / "SET", 0) == first
    assert stamps(tmp_path) == before


def test_other_data_or_seed_replaces_the_tree(tmp_path: Path) -> None:
    out = tmp_path / "SET"
    first = write_tree(tiny_raw(), out, 0)
    (out / "cache.bin").write_text("made from the old images")
    second = write_tree(tiny_raw(7), out, 0)
    assert first.digest != second.digest == read_hierarchy(out).digest
    assert "cache.bin" not in files(out)
    assert write_tree(tiny_raw(7), out, 1).split_seed == read_hierarchy(out).split_seed == 1
    assert os.listdir(tmp_path) == ["SET"]


def test_lost_images_are_made_again(tmp_path: Path) -> None:
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    lost = tmp_path / "SET/test/coarse/0/baby_fine10.png"
    lost.unlink()
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    assert lost.exists()


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("step", ["write_index", "write_hierarchy", "_link", "_swap"])
def test_an_interrupted_run_leaves_the_old_tree(tmp_path: Path, monkeypatch, step: str) -> None:
    def killed(*args: object) -> None:
        raise KilledError

    out, old = tmp_path / "SET", None
    for again in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(tree, step, killed)
            patch.setattr(tree.shutil, "rmtree", lambda *args, **kwargs: None)  # no time to clean
            with pytest.raises(KilledError):
                write_tree(tiny_raw(7), out, 0)
        assert out.exists() == again
        if again:
            assert read_hierarchy(out) == old
        old = write_tree(tiny_raw(), out, 0)
        assert os.listdir(tmp_path) == ["SET"]
        assert len(files(out)) == 20


def test_interrupted_between_the_two_renames(tmp_path: Path) -> None:
    out = tmp_path / "SET"
    write_tree(tiny_raw(), out, 0)
    before = stamps(out)
    out.rename(tmp_path / ".SET.previous")
    write_tree(tiny_raw(), out, 0)
    assert stamps(out) == before
    assert os.listdir(tmp_path) == ["SET"]


def test_full_disk_cleans_up_and_keeps_the_old_tree(tmp_path: Path, monkeypatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_tree(tiny_raw(), tmp_path / "SET", 0)
    before = stamps(tmp_path)
    monkeypatch.setattr(tree, "write_index", full)
    with pytest.raises(OSError, match="No space"):
        write_tree(tiny_raw(7), tmp_path / "SET", 0)
    assert stamps(tmp_path) == before


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match=r"no hierarchy\.yaml"):
        write_tree(tiny_raw(), tmp_path, 0)
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    hierarchy = replace(read_hierarchy(tmp_path / "SET"), digest="folders-sha256:0")
    write_hierarchy(hierarchy, tmp_path / "SET")
    with pytest.raises(UserError, match="left alone"):
        write_tree(tiny_raw(7), tmp_path / "SET", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        write_tree(tiny_raw(), tmp_path / "file", 0)


def test_a_linked_folder_stays_linked(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "SET").symlink_to(tmp_path / "disk")
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    assert (tmp_path / "SET").is_symlink()
    assert len(files(tmp_path / "disk")) == 20


def test_two_parents_are_refused(tmp_path: Path) -> None:
    raw = tiny_raw()
    raw.train.coarse[0] = 1
    with pytest.raises(UserError, match="fine class 2 have coarse classes 0 and 1"):
        write_tree(raw, tmp_path / "SET", 0)
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- two at once, and other people's links


def test_a_second_preparation_at_once_is_refused(tmp_path: Path) -> None:
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    before = stamps(tmp_path / "SET")
    script = "import sys, time; from pathlib import Path; from common.system.atomic_files import only_one\n"
    script += "with only_one(Path(sys.argv[1])): print('in', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", script, str(tmp_path / "SET")]
    root = Path(tree.__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "in\n"
            with pytest.raises(UserError, match=r"another command is preparing .*/SET: wait"):
                write_tree(tiny_raw(7), tmp_path / "SET", 0)
            assert stamps(tmp_path / "SET") == before
        finally:
            first.kill()
    # The lock went with the process that was killed.
    write_tree(tiny_raw(7), tmp_path / "SET", 0)
    assert os.listdir(tmp_path) == ["SET"]


def test_a_complete_tree_needs_no_lock_where_none_can_be_made(tmp_path: Path, monkeypatch) -> None:
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    before = stamps(tmp_path / "SET")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(files_module, "open_lock", None)
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    assert stamps(tmp_path / "SET") == before


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".SET.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=r"\.SET\.lock is a link"):
        write_tree(tiny_raw(), tmp_path / "SET", 0)
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "SET").exists()


def test_links_do_not_lead_the_description_outside(tmp_path: Path) -> None:
    out, victim = tmp_path / "SET", tmp_path / "victim"
    write_tree(tiny_raw(), out, 0)
    index, hierarchy = read_index(out), read_hierarchy(out)
    victim.write_text("mine")
    for name in ("index.csv", "hierarchy.yaml"):
        (out / f".{name}.partial").symlink_to(victim)
    write_index(index, out)
    write_hierarchy(hierarchy, out)
    assert victim.read_text() == "mine"
    for name in ("index.csv", "hierarchy.yaml"):
        assert not (out / name).is_symlink()
        (out / name).unlink()
        (out / name).symlink_to(victim)
    write_index(index, out)
    write_hierarchy(hierarchy, out)
    assert victim.read_text() == "mine"
    assert read_hierarchy(out) == hierarchy
    assert read_index(out).image == index.image
    assert not list(out.glob(".*.tmp"))


def test_what_is_written_is_flushed_and_so_are_the_names(tmp_path: Path, monkeypatch) -> None:
    synced, real = [], os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    for path in ("SET/index.csv", "SET/hierarchy.yaml", "SET", "."):
        assert (tmp_path / path).stat().st_ino in synced, path
    assert synced[-1] == tmp_path.stat().st_ino


def test_the_description_is_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_tree(tiny_raw(), tmp_path / "SET", 0)
    finally:
        os.umask(before)
    for name in ("index.csv", "hierarchy.yaml"):
        assert (tmp_path / "SET" / name).stat().st_mode & 0o777 == 0o644


# ---------------------------------------------------------------- held_out

CLASSES = st.lists(st.integers(0, 12), min_size=1, max_size=120)


@given(fine=CLASSES, seed=st.integers(0, 5), data=st.data())
def test_held_out_is_a_stratified_tenth_in_any_order(fine, seed, data) -> None:
    names = [f"i{i}.png" for i in range(len(fine))]
    chosen = held_out(fine, names, seed)
    assert chosen.dtype == bool
    picked = Counter(label for label, out in zip(fine, chosen, strict=True) if out)
    for label, size in Counter(fine).items():
        assert picked[label] == (0 if size == 1 else max(1, (size + 5) // 10))
    order = data.draw(st.permutations(range(len(fine))))
    again = held_out([fine[i] for i in order], [names[i] for i in order], seed)
    assert again.tolist() == [chosen[i] for i in order]


def test_held_out_depends_on_the_seed_and_on_nothing_else() -> None:
    fine = [i % 4 for i in range(400)]
    names = [f"i{i:03}" for i in range(400)]
    zero = held_out(fine, names, 0)
    assert zero.sum() == 40
    assert np.array_equal(zero, held_out(fine, names, 0))
    assert not np.array_equal(zero, held_out(fine, names, 1))
    rest = [i for i in range(400) if fine[i] != 3]  # without one class, the others stay
    fewer = held_out([fine[i] for i in rest], [names[i] for i in rest], 0)
    assert np.array_equal(fewer, zero[rest])
    # Classes are drawn apart from one another, not all at the same places.
    assert len({tuple(np.flatnonzero(zero[label::4])) for label in range(4)}) == 4


def test_held_out_known_answer() -> None:
    """Frozen: another choice here would mix training and validation images of earlier runs."""
    chosen = held_out([0] * 20 + [7] * 20, [f"i{i:02}" for i in range(40)], 0)
    assert np.flatnonzero(chosen).tolist() == [4, 19, 37, 38]


def test_no_test_image_is_held_out(tmp_path: Path) -> None:
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    index = read_index(tmp_path / "SET")
    assert (
        index.held_out.tolist()
        == held_out(index.fine[:6].tolist(), index.image[:6], 0).tolist() + [False] * 3
    )
    assert index.counts() == {"train": 6, "held_out": 3, "test": 3}
    assert read_hierarchy(tmp_path / "SET").counts == index.counts()


# ---------------------------------------------------------------- index.csv and hierarchy.yaml

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=9)
NAME = TEXT.filter(lambda s: not set(s) & set("/\\:") and s[0] != "." and s.isprintable())


@given(st.dictionaries(st.tuples(st.sampled_from(["train", "test"]), NAME), st.integers(0, 99),
                       min_size=1, max_size=9))  # fmt: skip
def test_index_round_trip(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    folder = tmp_path_factory.mktemp("set")
    split, image = map(list, zip(*rows, strict=True))
    fine = np.array(list(rows.values()), np.int64)
    index = Index(split, image, fine, fine // 5, np.array([s == "train" for s in split]))
    write_index(index, folder)
    found = read_index(folder)
    assert (found.split, found.image) == (split, image)
    for column in ("fine", "coarse", "held_out"):
        values = getattr(found, column)
        assert values.dtype == (bool if column == "held_out" else np.int64)
        assert np.array_equal(values, getattr(index, column))


@given(names=st.lists(st.one_of(TEXT, st.sampled_from(["10", "yes", "null", "a: b", "- x"])),
                      min_size=1, max_size=6))  # fmt: skip
def test_hierarchy_round_trip(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("set")
    made = Hierarchy(
        fine={5 * i: name for i, name in enumerate(names)},
        coarse={3: names[0], 10: "other"},
        parent={5 * i: 3 if i % 2 else 10 for i in range(len(names))},
        split_seed=3,
        digest="raw-sha256:00",
    )
    write_hierarchy(made, folder)
    assert read_hierarchy(folder) == made


def test_hierarchy_reads_well(tmp_path: Path) -> None:
    write_tree(tiny_raw(), tmp_path / "SET", 0)
    lines = (tmp_path / "SET/hierarchy.yaml").read_text().splitlines()
    assert "  0: even" in lines
    assert "  2: {name: two, coarse: 0}" in lines


HEADER = "split,image,fine,coarse,held_out\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,b\n", "line 1"),
        (HEADER, "no image"),
        (HEADER + "train,a.png,1,0,0\ntrain,b.png,1,0\n", "line 3: 4 fields"),
        (HEADER + "val,a.png,1,0,0\n", "line 2: split is 'val'"),
        (HEADER + "train,a.png,x,0,0\n", "line 2: 'x' is not a label id"),
        (HEADER + "train,a.png,1,-1,0\n", "line 2: '-1' is not a label id"),
        (HEADER + "train,a.png,01,0,0\n", "without a zero before it"),
        (HEADER + "train,a.png,4294967296,0,0\n", "from 0 to 999999999"),
        (HEADER + "train,a.png,1,0,yes\n", "line 2: held_out"),
        (HEADER + "test,a.png,1,0,1\n", "line 2: held_out"),
        (HEADER + "train," + "a" * 200_000 + ",1,0,1\n", "commas"),
        (HEADER + "train,../a.png,1,0,1\n", "line 2: '../a.png'"),
        (HEADER + "train,a.png,1,0,0\ntrain,a.png,1,0,0\n", "line 3: train image a.png"),
        (HEADER + "train,a.png,1,0,0\ntest,a.png,1,2,0\n", "coarse classes 0 and 2"),
    ],
)
def test_malformed_index(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(UserError, match=r"index\.csv") as caught:
        read_index(tmp_path)
    assert words in str(caught.value)


GOOD = {"split_seed": "0", "digest": "d", "coarse": "{0: a}", "fine": "{0: {name: b, coarse: 0}}"}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("split_seed", "-1", "split_seed"),
        ("split_seed", "true", "split_seed"),
        ("digest", "7", "digest"),
        ("coarse", "[a]", "coarse"),
        ("coarse", "{a: b}", "coarse"),
        ("coarse", "{0: 1}", "coarse.0"),
        ("fine", "{0: a}", "fine.0"),
        ("fine", "{0: {name: b, coarse: 1}}", "fine.0"),
        ("fine", "{0: {name: b, coarse: [0, 1]}}", "fine.0"),
        ("fine", "{0: {coarse: 0}}", "fine.0"),
        ("fine", "{", "not valid YAML"),
        ("fine", f"{{? 0x{'f' * 9999} : a}}", "bits"),
        ("split_seed", f"-0x{'f' * 9999}", "bits"),
        ("images", f"{{? 0x{'f' * 9999} : 1}}", "bits"),
    ],
)
def test_malformed_hierarchy(tmp_path: Path, key: str, value: str, words: str) -> None:
    def write(content: dict[str, str]) -> None:
        text = "".join(f"{k}: {v}\n" for k, v in content.items())
        (tmp_path / "hierarchy.yaml").write_text(text)

    write(GOOD)
    assert read_hierarchy(tmp_path).parent == {0: 0}
    write(GOOD | {key: value})
    with pytest.raises(UserError, match=r"hierarchy\.yaml") as caught:
        read_hierarchy(tmp_path)
    assert words in str(caught.value)


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 18))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("split_seed", "*a17"),
        ("digest", "*a17"),
        ("coarse", "*a17"),
        ("coarse", "{0: *a17}"),
        ("fine", "{0: *a17}"),
        ("fine", "{0: {name: b, coarse: *a17}}"),
        ("images", "{train: *a17}"),
    ],
)
def test_a_text_that_grows_when_it_is_shown_is_refused(tmp_path: Path, key, value) -> None:
    content = BOMB + "".join(f"{k}: {v}\n" for k, v in (GOOD | {key: value}).items())
    (tmp_path / "hierarchy.yaml").write_text(content)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"hierarchy\.yaml") as caught:
        read_hierarchy(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert peak < 2**20  # written out, it would be 2**18 texts


def test_missing_files_say_how_to_make_them(tmp_path: Path) -> None:
    for read in (read_index, read_hierarchy):
        with pytest.raises(UserError, match="prepare_cifar"):
            read(tmp_path)
