"""How maps cross from one hemisphere to the other: the kinds of a callosum, and the keys that describe one.

Imports no torch. The modules are in `common.networks.links` and `common.networks.callosum`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from common.settings.choices import Choice
from common.settings.levels import SIDES
from common.settings.schema import key
from common.system.errors import UserError

KINDS = {
    "add": Choice("a projection of the other side's maps is added", "common.networks.links:Add"),
    "gate": Choice(
        "maps are multiplied by 1 + tanh of such a projection", "common.networks.links:Gate"
    ),
    "attend": Choice(
        "each map is multiplied by a factor from the means of the other side's maps",
        "common.networks.links:Attend",
    ),
    "concatenate": Choice(
        "the maps of both sides side by side are projected to the own width",
        "common.networks.links:Concatenate",
    ),
}
BOTH_WAYS = "both"
# Each direction: who sends, who receives.
DIRECTIONS = {"left_to_right": SIDES, "right_to_left": SIDES[::-1]}
# What each weight may be, as in Dale's law: any number, none below 0, none above 0.
SIGNS = {"free": 0, "excitatory": 1, "inhibitory": -1}
PAIR = ":"  # between two stages of different names, the left one's first


@dataclass
class CallosumKeys:
    """What crosses between the hemispheres of one network, and where: ``hparams.callosum.*``."""

    kind: str | None = key(
        None,
        f"what crossing maps do on the other side: {'; '.join(f'{k}: {row.help}' for k, row in KINDS.items())}; "
        "null: nothing crosses",
        choices=(None, *KINDS),
    )
    at: Any = key(
        -2,
        "the stage after which maps cross, or a list: by name, as layer2 (layer2:block3 where the right one has "
        "another name), or by number: 1 is the first stage, -1 the last, -2 the last but one",
        words="a name of a stage, a number other than 0, or a list of these",
    )
    direction: str = key(BOTH_WAYS, "which way maps cross", choices=(BOTH_WAYS, *DIRECTIONS))
    sign: str = key(
        "free",
        "sign of the weights of a crossing: excitatory: none below 0; inhibitory: none above 0",
        choices=SIGNS,
    )
    width: float = key(1.0, "share of the channels that cross, the first ones", above=0, high=1)
    rank: int | None = key(
        None, "channels of the bottleneck through which they cross; null: no bottleneck", low=1
    )
    delay: int = key(0, "stages later at which maps arrive on the other side", low=0, high=100)

    @classmethod
    def read(cls, hparams: Mapping[str, Any]) -> "CallosumKeys | None":
        """Read the keys of a run, or of the record of a checkpoint; None where nothing crosses."""
        values = hparams.get("callosum") or {}
        if values.get("kind") is None:
            return None
        found = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        at = found.get("at", cls.at)
        return cls(
            **found | {"at": [*at] if isinstance(at, Sequence) and not isinstance(at, str) else at}
        )

    def places(self, names: Mapping[str, list[str]]) -> list[dict[str, int]]:
        """Find the stages after which maps cross: for each crossing, the place of a stage on each side, from 0.

        Args:
            names: of the stages of each hemisphere, by side.

        Raises:
            UserError: there is no such stage, none or one twice is named, or maps would arrive after the last stage.
        """
        listed = self.at if isinstance(self.at, list) else [self.at]
        if not listed:
            raise UserError(
                "hparams.callosum.at=[] names no stage; allowed: a name, a number, or a list of these."
            )
        found = [self._place(one, names) for one in listed]
        for side, own in names.items():
            places = [one[side] for one in found]
            if len(set(places)) < len(places):
                raise UserError(
                    f"hparams.callosum.at={listed} names a stage of the {side} hemisphere twice."
                )
            if max(places) + self.delay >= len(own):
                raise UserError(
                    f"hparams.callosum.delay={self.delay} after {own[max(places)]} would let maps arrive behind the "
                    f"last stage of the {side} hemisphere, {own[-1]}; allowed: at most "
                    f"{len(own) - 1 - max(places)}, or an earlier stage in hparams.callosum.at."
                )
        return found

    def _place(self, at: Any, names: Mapping[str, list[str]]) -> dict[str, int]:
        """Find one stage of each side."""
        text = str(at)
        spelled = dict(zip(names, text.split(PAIR), strict=True)) if text.count(PAIR) == 1 else {}
        found = {}
        for side, own in names.items():
            wanted = spelled.get(side, text)
            number = int(wanted) if wanted.removeprefix("-").isdecimal() else None
            if number and -len(own) <= number <= len(own):
                found[side] = number - 1 if number > 0 else len(own) + number
            elif wanted in own:
                found[side] = own.index(wanted)
            else:
                raise UserError(
                    f"hparams.callosum.at={text}: the {side} hemisphere has no such stage; it has {', '.join(own)}, or "
                    f"by number 1 to {len(own)} and -{len(own)} to -1."
                )
        return found


def channels_sent(width: float, channels: int) -> int:
    """Count the channels that cross: a share of them, and one at least."""
    return max(1, round(width * channels))
