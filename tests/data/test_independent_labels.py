"""Two independent labels of an image: what describes them, which images are held out, and which labels are read."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_sets import two_labels

from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.schema import DualConfig
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.schema import SingleConfig
from common.data.held_out import held_out
from common.data.hierarchy import read_hierarchy, write_hierarchy
from common.data.index import read_index
from common.data.raw import read_raw, write_raw
from common.data.tree import write_tree
from common.settings.compose import ROOT, compose
from common.system.errors import UserError
from data_scripts import index_folders
from data_scripts.prepare_cifar import tenth


def drawn(labels: list, names: list[str], seed: int) -> set[str]:
    """The held-out images, stratum by stratum, as the docstring of `held_out` says it."""
    found = set()
    for label in sorted(set(labels)):
        of = sorted(name for name, one in zip(names, labels, strict=True) if one == label)
        count = min(max(1, (len(of) + 5) // 10), len(of) - 1)
        order = np.random.default_rng([seed, *label]).permutation(len(of))
        found |= {of[place] for place in order[:count]}
    return found


@given(
    counts=st.lists(st.integers(1, 24), min_size=4, max_size=4),
    seed=st.integers(0, 5),
    shuffle=st.randoms(use_true_random=False),
)
def test_images_are_held_out_of_each_pair_of_ten_or_more_and_else_of_each_fine_class(
    counts, seed, shuffle
):
    pairs = [divmod(kind, 2) for kind, count in enumerate(counts) for _ in range(count)]
    shuffle.shuffle(pairs)
    names = [f"{i:03}" for i in range(len(pairs))]
    fine, coarse = (list(labels) for labels in zip(*pairs, strict=True))
    by_fine = [(one,) for one in fine]
    chosen = held_out(fine, names, seed, coarse=coarse)
    strata = pairs if min(counts) >= 10 else by_fine
    assert {name for name, out in zip(names, chosen, strict=True) if out} == drawn(
        strata, names, seed
    )
    nested = held_out(fine, names, seed)
    assert {name for name, out in zip(names, nested, strict=True) if out} == drawn(
        by_fine, names, seed
    )


def test_a_set_of_two_labels_says_so_and_holds_every_pair(independent):
    found = read_hierarchy(independent)
    assert (found.nested, found.parent) == (False, {})
    assert found.level_names == {"fine": "local", "coarse": "global"}
    assert "nested: false" in (independent / "hierarchy.yaml").read_text()
    index = read_index(independent, nested=False)
    out = Counter(zip(index.fine[index.held_out], index.coarse[index.held_out], strict=True))
    assert len(out) == 12
    assert set(out.values()) == {1}
    with pytest.raises(UserError, match="exactly one coarse class"):
        read_index(independent)


def test_raw_data_keeps_the_names_of_levels(tmp_path):
    raw = two_labels(2, 1)
    write_raw(raw, tmp_path / "raw")
    assert read_raw(tmp_path / "raw").independent == ["local", "global"]
    write_raw(replace(raw, independent=[]), tmp_path / "nested")
    assert b"level_names" not in (tmp_path / "nested" / "meta").read_bytes()
    with pytest.raises(UserError, match="exactly one coarse class"):
        write_tree(replace(raw, independent=[]), tmp_path / "SET", split_seed=0)


def test_a_tenth_has_one_image_of_each_pair():
    raw = tenth(two_labels())
    assert Counter(zip(raw.train.fine, raw.train.coarse, strict=True)) == Counter(
        (fine, coarse) for fine in range(3) for coarse in range(4)
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nested: maybe", "nested is 'maybe'; allowed are true and false"),
        ("levels: [local]", "are no names of levels"),
        ("levels: [a|b, c]", "are no names of levels"),
        ("levels: [same, same]", "are no names of levels"),
        ("levels: [coarse, fine]", "the fine level cannot be called coarse"),
        ("levels: 7", "are no names of levels"),
    ],
)
def test_a_mistake_in_hierarchy_yaml_is_one_sentence(tmp_path, line, said):
    (tmp_path / "hierarchy.yaml").write_text(
        f"split_seed: 0\ndigest: d\n{line}\ncoarse: {{0: a}}\nfine: {{0: {{name: b, coarse: 0}}}}\n"
    )
    with pytest.raises(UserError, match=said.replace("|", r"\|")) as caught:
        read_hierarchy(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_class_that_belongs_to_another_one_is_refused_where_labels_are_independent(tmp_path):
    (tmp_path / "hierarchy.yaml").write_text(
        "split_seed: 0\ndigest: d\nnested: false\ncoarse: {0: a}\nfine: {0: {name: b, coarse: 0}}\n"
    )
    with pytest.raises(UserError, match="nested is false, so that no class belongs to another"):
        read_hierarchy(tmp_path)


def test_a_nested_set_may_choose_names_of_levels_too(navon, tmp_path):
    named = replace(
        read_hierarchy(navon), level_names={"fine": "species", "coarse": "plant family"}
    )
    write_hierarchy(named, tmp_path)
    assert read_hierarchy(tmp_path) == named


def test_both_labels_of_an_image_are_read(independent):
    index = read_index(independent, nested=False)
    training = np.array([split == "train" for split in index.split])
    labels = zip(index.fine[training], index.coarse[training], strict=True)
    of = dict(zip(np.array(index.image)[training], labels, strict=True))
    root = f"dataset.root={independent}"
    dual = DualHeadData(
        compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=[root]), seed=0
    )
    singles = [
        SingleHeadData(
            compose(
                ROOT / "arch_single_head",
                schema=SingleConfig,
                overrides=[root, f"hparams.mode={level}"],
            ),
            seed=0,
        )
        for level in ("fine", "coarse")
    ]
    for data in (dual, *singles):
        data.load()
        assert data.coarse_of_fine == []
        folder = Path(data.cfg.dataset.train_dir)
        names = sorted(file.name for file in folder.rglob("*.png"))
        assert sorted(of) == names
        for level, found in data.train_set.labels.items():
            place = ("fine", "coarse").index(level)
            counts = Counter(int(pair[place]) for pair in of.values())
            assert Counter(found.tolist()) == counts
    pairs = zip(
        *(dual.train_set.labels[level].tolist() for level in ("fine", "coarse")), strict=True
    )
    assert set(Counter(pairs).values()) == {12}
    # The same images are held out everywhere.
    assert len({data.train_images for data in (dual, *singles)}) == 1


def test_another_split_seed_holds_out_one_image_of_each_pair_too(independent):
    overrides = [f"dataset.root={independent}", "dataset.split_seed=5"]
    cfg = compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=overrides)
    data = DualHeadData(cfg, seed=0)
    data.load()
    held = data.val_set.subset
    pairs = zip(
        *(data.val_set.labels[level][held].tolist() for level in ("fine", "coarse")), strict=True
    )
    assert Counter(pairs) == Counter((fine, coarse) for fine in range(3) for coarse in range(4))


def test_folders_of_two_labels_are_indexed(tmp_path, capsys):
    for split, count in (("train", 2), ("test", 1)):
        for fine in range(2):
            for coarse in range(2):
                for i in range(count):
                    for level, label in (("fine", fine), ("coarse", coarse)):
                        path = tmp_path / split / level / str(label) / f"{fine}{coarse}{i}.png"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        Image.new("RGB", (2, 2), (99 * fine, 99 * coarse, i)).save(path)
    assert index_folders.main([str(tmp_path)]) == 1
    assert "exactly one coarse class" in capsys.readouterr().err
    assert index_folders.main([str(tmp_path), "--independent", "--levels", "colour", "shape"]) == 0
    found = read_hierarchy(tmp_path)
    assert not found.nested
    assert found.level_names == {"fine": "colour", "coarse": "shape"}
    # Run again, it stays what it is.
    assert index_folders.main([str(tmp_path)]) == 0
    assert read_hierarchy(tmp_path) == found
