"""Contrasts image by image, from the files that tested stages left."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from helpers import finish

from common.results.agreement import error_consistency
from common.results.bootstrap import images_and_seeds, seeds_with_their_images
from common.results.comparison import Comparison
from common.results.images import image_contrasts
from common.results.rows import collect, finished
from common.results.tables import write_tables
from common.system.errors import UserError

IMAGES = 200


def stage(experiment: Path, arm: str, seed: int, *, hit=0.7, images=IMAGES, first=0, **result):
    """A tested stage with two heads, and its answers: columns as evaluation writes them, and further ones."""
    rng = np.random.default_rng([len(arm), seed])
    right = {level: rng.random(images) < hit for level in ("fine", "coarse")}
    metrics = {level: {"accuracy": float(one.mean()), "loss": 1.0} for level, one in right.items()}
    finish(experiment, arm, seed, {"seeds": [seed]} | result, **metrics)
    with gzip.open(experiment / arm / f"seed{seed}/predictions.csv.gz", "wt", newline="") as text:
        table = csv.writer(text)
        table.writerow(
            ["image", *(f"{lv}{end}" for lv in right for end in ("", "_answer", "_probability"))]
        )
        for n in range(images):
            cells = [[7, 7 if one[n] else 3, 0.5] for one in right.values()]
            table.writerow([f"{first + n}, a.png", *cells[0], *cells[1]])
    return right


@pytest.fixture
def study(tmp_path):
    """Right answers by arm, level and seed of a study of three seeds."""
    right = {
        arm: [stage(tmp_path, arm, seed, hit=hit) for seed in range(3)]
        for arm, hit in (("bilateral", 0.7), ("other", 0.6))
    }
    return {
        (arm, level): np.stack([one[level] for one in stages])
        for arm, stages in right.items()
        for level in ("fine", "coarse")
    }


def test_each_arm_is_compared_with_the_reference_on_the_same_images(study, tmp_path):
    found = image_contrasts(tmp_path, collect(finished(tmp_path)), reference="bilateral")
    assert [(row.arm, row.minus, row.level) for row in found] == [
        ("other", "bilateral", "fine"),
        ("other", "bilateral", "coarse"),
    ]
    for row in found:
        ours, theirs = study["other", row.level], study["bilateral", row.level]
        assert (row.seeds, row.images) == (3, IMAGES)
        assert (row.mean, row.ci95_low, row.ci95_high) == images_and_seeds(ours, theirs)
        assert row.kappa == pytest.approx(error_consistency(ours, theirs).mean())
        assert row.kappa_seeds == 3
        assert row.ahead == (ours.mean(1) > theirs.mean(1)).mean()
        assert 0 <= row.ahead_ci95_low <= row.ahead <= row.ahead_ci95_high <= 1
        assert row.mcnemar in (0, 1 / 3, 2 / 3, 1)


def test_they_stand_in_a_file_and_on_the_page(study, tmp_path):
    write_tables(tmp_path, Comparison(reference="bilateral"))
    with (tmp_path / "images.csv").open(newline="") as text:
        first, _ = csv.DictReader(text)
    assert (first["arm"], first["level"], first["seeds"], first["images"]) == (
        *("other", "fine", "3"),
        str(IMAGES),
    )
    page = (tmp_path / "summary.md").read_text()
    assert "Image by image: arm minus bilateral" in page
    assert f"| other | fine | {100 * float(first['mean']):+.2f} |" in page


def test_without_answers_there_is_neither(study, tmp_path):
    for file in tmp_path.glob("other/seed*/predictions.csv.gz"):
        file.unlink()
        write_tables(tmp_path, Comparison(reference="bilateral"))
        assert not (tmp_path / "images.csv").exists()
        assert "Image by image" not in (tmp_path / "summary.md").read_text()


def test_a_table_of_before_does_not_outlive_its_answers(study, tmp_path):
    write_tables(tmp_path, Comparison(reference="bilateral"))
    (tmp_path / "other/seed0/predictions.csv.gz").unlink()
    write_tables(tmp_path, Comparison(reference="bilateral"))
    assert not (tmp_path / "images.csv").exists()


def test_seeds_of_other_images_cannot_be_crossed(study, tmp_path):
    stage(tmp_path, "bilateral", 3, first=5)
    stage(tmp_path, "other", 3, first=5)
    stage(tmp_path, "shorter", 0, images=IMAGES - 1)
    assert image_contrasts(tmp_path, collect(finished(tmp_path)), reference="bilateral") == []


def own_sets(tmp_path, names=lambda seed: seed) -> dict[str, list]:
    """Right answers of three seeds with images of their own; by names, or by what fingerprints say of equal names."""
    right = {}
    for arm, hit in (("bilateral", 0.7), ("other", 0.6)):
        right[arm] = []
        for seed in range(3):
            first, images = 1000 * names(seed), IMAGES + 50 * seed * (names(1) != names(0))
            answers = stage(tmp_path, arm, seed, hit=hit, first=first, images=images)
            right[arm].append(answers["fine"])
            identity = f"data: {{train: t{seed}, test: x{seed}, set: per_seed}}"
            (tmp_path / arm / f"seed{seed}" / "fingerprint.yaml").write_text(identity)
    return right


@pytest.mark.parametrize("names", [lambda seed: seed, lambda seed: 0], ids=["named", "digests"])
def test_images_of_a_seed_of_its_own_are_drawn_within_it(tmp_path, names):
    right = own_sets(tmp_path, names)
    row, _ = image_contrasts(tmp_path, collect(finished(tmp_path)), reference="bilateral")
    ours, theirs = right["other"], right["bilateral"]
    accuracies = [np.array([one.mean() for one in arm]) for arm in (ours, theirs)]
    assert (row.seeds, row.images) == (3, sum(map(len, ours)))
    assert row.mean == pytest.approx((accuracies[0] - accuracies[1]).mean())
    expected = seeds_with_their_images(ours, theirs)
    assert (row.ci95_low, row.ci95_high) == expected[1:]
    assert row.ahead == (accuracies[0] > accuracies[1]).mean()
    kappas = [error_consistency(a[None], b[None])[0] for a, b in zip(ours, theirs, strict=True)]
    assert row.kappa == pytest.approx(np.mean(kappas))


def test_arms_of_a_seed_must_have_answered_the_same_images(tmp_path):
    own_sets(tmp_path)
    stage(tmp_path, "third", 0, first=0)
    stage(tmp_path, "third", 1, first=5)
    found = image_contrasts(tmp_path, collect(finished(tmp_path)), reference="bilateral")
    assert {row.arm for row in found} == {"other"}


def test_kappa_is_of_the_seeds_that_have_one_and_says_of_how_many(tmp_path):
    right = {}
    for arm in ("bilateral", "other"):
        for seed in range(2):
            stage(tmp_path, arm, seed, hit=1.0)
        right[arm] = stage(tmp_path, arm, 2, hit=0.7)
    for row in image_contrasts(tmp_path, collect(finished(tmp_path)), reference="bilateral"):
        third = [right[arm][row.level][None] for arm in ("other", "bilateral")]
        assert row.kappa == pytest.approx(error_consistency(*third)[0])
        assert (row.seeds, row.kappa_seeds) == (3, 1)
    write_tables(tmp_path, Comparison(reference="bilateral"))
    page = (tmp_path / "summary.md").read_text()
    assert f"{row.kappa:.2f} (1)" in page
    assert "(1): kappa of one seed" in page


def test_without_errors_there_is_no_kappa(tmp_path):
    for arm in ("bilateral", "other"):
        for seed in range(3):
            stage(tmp_path, arm, seed, hit=1.0)
    row, _ = image_contrasts(tmp_path, collect(finished(tmp_path)), reference="bilateral")
    assert (row.kappa, row.kappa_seeds) == (None, 0)
    write_tables(tmp_path, Comparison(reference="bilateral"))
    page = (tmp_path / "summary.md").read_text()
    assert "| 0 of 3 | – |" in page
    assert "(1)" not in page


def test_two_seeds_and_shared_networks_have_no_interval(study, tmp_path):
    for seed in range(3):
        stage(tmp_path, "mixed", seed, seeds=[seed, (seed + 1) % 3])
    for seed in range(2):
        stage(tmp_path, "two", seed)
    found = image_contrasts(tmp_path, collect(finished(tmp_path)), reference="bilateral")
    assert {row.arm: row.seeds for row in found} == {"other": 3, "mixed": 3, "two": 2}
    for row in found:
        assert (row.ci95_low is None) == (row.ahead is None) == (row.arm != "other")
        assert row.kappa is not None


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"image,fine\na,1\n", mtime=0), gzip.compress(b"", mtime=0)],
)
def test_a_damaged_file_is_named(study, tmp_path, content):
    file = tmp_path / "other/seed1/predictions.csv.gz"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"other/seed1/predictions.csv.gz is damaged"):
        write_tables(tmp_path, Comparison(reference="bilateral"))
