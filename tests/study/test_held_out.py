"""Validation and test images are held out, in every stage of a study."""

from collections import defaultdict

import numpy as np
from PIL import Image

from common.data.index import read_index


def test_all_stages_validate_and_test_on_the_same_held_out_images(small_study, navon):
    index = read_index(navon)
    pixels = defaultdict(set)
    for split, image, fine, held in zip(
        index.split, index.image, index.fine, index.held_out, strict=True
    ):
        part = "validation" if held else {"train": "training"}.get(split, split)
        file = Image.open(navon / split / "fine" / str(fine) / image)
        pixels[part].add(np.asarray(file).transpose(2, 0, 1).tobytes())
    assert {part: len(images) for part, images in pixels.items()} == {
        "training": 500,
        "validation": 100,
        "test": 200,
    }
    assert set(small_study.shown) == {"fine", "coarse", "bilateral"}
    for arm, shown in small_study.shown.items():
        assert shown["validation"] == pixels["validation"], arm
        assert shown["test"] == pixels["test"], arm
        # The last, incomplete batch of an epoch is left out, each time another one.
        assert shown["training"] <= pixels["training"], arm
        assert len(shown["training"]) > 490, arm


def test_no_stage_trains_on_another_stages_validation_or_test_image(small_study):
    for arm, shown in small_study.shown.items():
        for other in small_study.shown:
            assert not shown["training"] & small_study.shown[other]["validation"], (arm, other)
            assert not shown["training"] & small_study.shown[other]["test"], (arm, other)
