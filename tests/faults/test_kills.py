"""SIGKILL at random moments, each followed by the same command: the results are the uninterrupted ones."""

import random

import pytest


@pytest.mark.slow
def test_fifty_kills_and_more(killed, start, same, tmp_path):
    draw = random.Random(50)
    kills = studies = 0
    while kills < 50:
        place = tmp_path / f"study{studies}"
        for _ in range(8):
            if not killed(place, draw):
                break
            kills += 1
        assert start(place).wait(300) == 0, place.with_suffix(".log").read_text()
        same(place)
        studies += 1
        print(f"{kills} kills in {studies} studies")
