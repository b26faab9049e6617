"""The callosum: maps of one hemisphere that reach the other one while both compute. Two streams remain.

What crosses is what a stage of the sender makes, before anything arrives there (`common.networks.links` says what it
does on the other side). Sources of the question: the sign of the link decides specialisation (Reggia, Goodall & Shkuro
1998); late convergence of two streams gives the human bias, early does not (Hsiao, Shieh & Cottrell 2008).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from common.networks.backbones.backbone import run
from common.networks.crossings import BOTH_WAYS, DIRECTIONS, KINDS, CallosumKeys
from common.networks.hemisphere import Hemisphere
from common.networks.links import Link
from common.system.errors import UserError, blaming

TRIAL = 32  # height and width of the image on which channels are counted


class Stage(NamedTuple):
    """A step of the forward pass: one stage of one side."""

    side: str
    place: int


class Crossing(NamedTuple):
    """A step of the forward pass: maps arrive."""

    direction: str
    number: int
    sent: Stage
    arrives: Stage


class Callosum(nn.Module):
    """Runs two hemispheres stage by stage, and lets maps cross.

    Args:
        sides: the hemispheres, which stay the caller's: none of their parameters becomes one of the callosum.
        keys: see `CallosumKeys`.

    Attributes:
        cut: directions in which nothing crosses now.

    Raises:
        UserError: a backbone cannot be cut into stages, has no such stage, or one that fails.
    """

    def __init__(self, sides: Mapping[str, Hemisphere], keys: CallosumKeys) -> None:
        super().__init__()
        self.cut: frozenset[str] = frozenset()
        names = {side: list(one.backbone.stages()) for side, one in sides.items()}
        channels = {side: channels_of(one) for side, one in sides.items()}
        places = keys.places(names)
        crossings = [
            Crossing(
                way, i, Stage(sender, one[sender]), Stage(receiver, one[receiver] + keys.delay)
            )
            for way, (sender, receiver) in DIRECTIONS.items()
            for i, one in enumerate(places)
            if keys.direction in (way, BOTH_WAYS)
        ]
        self.steps = ordered({side: len(own) for side, own in names.items()}, crossings)
        kind = KINDS[str(keys.kind)].load()
        links: dict[str, list[nn.Module]] = {}
        for one in crossings:
            sent, received = (channels[end.side][end.place] for end in (one.sent, one.arrives))
            links.setdefault(one.direction, []).append(kind(sent, received, keys))
        self.links = nn.ModuleDict({way: nn.ModuleList(some) for way, some in links.items()})

    @property
    def directions(self) -> tuple[str, ...]:
        """Name the directions in which maps cross."""
        return tuple(self.links)

    def receives(self, side: str) -> bool:
        """Say whether anything reaches a hemisphere."""
        return any(DIRECTIONS[way][1] == side for way in self.links)

    def forward(self, sides: Mapping[str, Hemisphere], images: Tensor) -> dict[str, Tensor]:
        """Compute the features of both hemispheres, by side (B, F_side), of images (B, 3, H, W)."""
        stages = {side: list(one.backbone.stages().values()) for side, one in sides.items()}
        maps = {side: one.seen(images) for side, one in sides.items()}
        made: dict[Stage, Tensor] = {}
        for step in self.steps:
            if isinstance(step, Stage):
                maps[step.side] = made[step] = run(stages[step.side][step.place], maps[step.side])
            else:
                link = cast(nn.ModuleList, self.links[step.direction])[step.number]
                other = None if step.direction in self.cut else made[step.sent]
                maps[step.arrives.side] = link(maps[step.arrives.side], other)
        return {side: one.read_out(maps[side]) for side, one in sides.items()}

    def constrain(self) -> None:
        """Put weights of the wrong sign back to zero, after a step of the optimiser."""
        for link in self.modules():
            if isinstance(link, Link):
                link.constrain()

    @contextmanager
    def severed(self, which: str | None) -> Iterator[None]:
        """Let nothing cross in one direction, or in "both", for a while; None cuts nothing."""
        before = self.cut
        self.cut = frozenset(DIRECTIONS if which == BOTH_WAYS else [which] if which else [])
        try:
            yield
        finally:
            self.cut = before


@torch.no_grad()
def channels_of(hemisphere: Hemisphere) -> list[int]:
    """Count the channels of the maps that each stage makes, in a trial run.

    Raises:
        UserError: a stage fails.
    """
    maps = torch.zeros(1, 3, TRIAL, TRIAL, device=next(hemisphere.parameters()).device)
    found = []
    hemisphere.backbone.eval()
    with blaming(hemisphere.backbone):
        for stage in hemisphere.backbone.stages().values():
            maps = run(stage, maps)
            found.append(maps.shape[1])
    hemisphere.train(hemisphere.training)
    return found


def ordered(stages: Mapping[str, int], crossings: Sequence[Crossing]) -> list[Stage | Crossing]:
    """Put the steps of a forward pass in order: a stage once all has arrived at the one before.

    Args:
        stages: their number, by side.
        crossings: what goes from where to where.

    Raises:
        UserError: two crossings wait for each other.
    """
    steps: list[Stage | Crossing] = []
    done = dict.fromkeys(stages, 0)  # stages at which all has arrived
    while any(done[side] < number for side, number in stages.items()):
        before = len(steps)
        for side, number in stages.items():
            here = Stage(side, done[side])
            if done[side] == number:
                continue
            if here not in steps:
                steps.append(here)
            arriving = [one for one in crossings if one.arrives == here]
            if all(one.sent in steps for one in arriving):
                steps += arriving
                done[side] += 1
        if len(steps) == before:
            raise UserError(
                "hparams.callosum.at: two crossings wait for each other; a later stage of one hemisphere must cross "
                "at a later stage of the other."
            )
    return steps
