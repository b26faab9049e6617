"""What the tab key adds to a line that is being typed."""

from dataclasses import dataclass

import pytest

from common.settings.completion import completions
from common.settings.schema import key
from study.arms import ARMS, names
from study.schema import StudyConfig


@dataclass
class Fruit:
    """A schema."""

    basket: list = key([], "fruits", each=("apple", "apricot", "pear"))
    size: str = key("small", "", choices=("small", "large", None))
    weight: float = key(1.0, "")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("basket=", ["basket=apple", "basket=apricot", "basket=pear"]),
        ("basket=ap", ["basket=apple", "basket=apricot"]),
        ("basket=[", ["basket=[apple", "basket=[apricot", "basket=[pear"]),
        ("'basket=[p", ["basket=[pear"]),
        ("basket=[apple,", ["basket=[apple,apricot", "basket=[apple,pear"]),
        ("basket=[apple,pear,apr", ["basket=[apple,pear,apricot"]),
        ("size=", ["size=small", "size=large"]),
        ("size=[", []),
        ("weight=", []),
        ("bas", []),
        ("other=", []),
        ("basket=[pear] ", []),
        ("", []),
    ],
)
def test_the_last_word_goes_on_with_what_its_key_may_be(typed, found):
    assert completions(f"python fruit.py size=small {typed}", Fruit) == found


def test_every_arm_is_completed_by_its_name():
    found = completions("python train_system.py arms=[", StudyConfig)
    assert {one.removeprefix("arms=[") for one in found} >= {*names()} & {*ARMS}
    assert completions("python train_system.py arms=[bilateral,unspec", StudyConfig) == [
        "arms=[bilateral,unspecialised_pair"
    ]
