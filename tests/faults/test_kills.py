"""SIGKILL at random moments, each followed by the same command: the results are the uninterrupted ones."""

import random

import pytest


def run_until_done(place, draw, killed, most: int) -> int:
    """The same command again and again, killed at most ``most`` times; gives the number of kills."""
    kills = 0
    while kills < most and killed(place, draw):
        kills += 1
    return kills


def finish(place, start) -> None:
    assert start(place).wait(300) == 0, place.with_suffix(".log").read_text()


@pytest.mark.slow
def test_fifty_kills_and_more(killed, start, same, tmp_path):
    draw = random.Random(50)
    kills = studies = 0
    while kills < 50:
        place = tmp_path / f"study{studies}"
        kills += run_until_done(place, draw, killed, 8)
        finish(place, start)
        same(place)
        studies += 1
        print(f"{kills} kills in {studies} studies")
