"""A drawing of the study's network with its accuracies, as inline SVG in the page's colours."""

from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from analysis.report.cells import decimal
from analysis.report.svg import short
from analysis.report.verdicts import per_cent
from analysis.study import FinishedStudy
from arch_dual_head.macro_architectures import (
    FREEZE_KEYS,
    HEMISPHERES,
    MACRO_ARCHITECTURES,
    NOTHING,
)
from common.networks.parameters import PARAMETERS
from common.results.intervals import FEWEST
from common.results.statistics import SummaryRow
from common.settings.levels import LEVELS, SIDES, SPELLING
from study.arms import ARMS, REFERENCE

WIDTH = 400  # of the drawing, about a phone's
BOX = 184  # the width of a box
CENTRES = {"left": 100, "right": 300, "": 200}
LONGEST = 26  # letters in a small line of a box


class Hemisphere(NamedTuple):
    """A box: ``side`` is left, right, or empty where there is one hemisphere; what stands in it."""

    side: str
    backbone: str
    nature: str
    learned: str
    alone: float | None
    frozen: bool


def draw_network(study: FinishedStudy) -> Markup | None:
    """Draw the reference's network, or the first arm's; None of networks that are made of whole networks."""
    arm = REFERENCE if REFERENCE in study.arms else study.arms[0]
    stage = next(iter(study.of(arm).values()))
    hparams = stage.yaml("config.yaml").get("hparams") or {}
    boxes = [*_hemispheres(study, arm, hparams)] if isinstance(hparams, dict) else []
    heads = [row for row in study.summary if row.arm == arm]
    if not boxes or not heads:
        return None
    joined = hparams.get("join", "concatenate") if len(boxes) > 1 else None
    parts = [_text(200, 16, "image"), *_lines(boxes, heads, joined)]
    parts += [part for box in boxes for part in _box(box)]
    connected = (hparams.get("callosum") or {}).get("kind") if len(boxes) > 1 else None
    if connected:
        parts += [
            '<path class="wire" d="M192 104H208M192 110H208"/>',
            _text(200, 98, "callosum", "small"),
        ]
    if joined:
        words = "features side by side" if joined == "concatenate" else f"features joined: {joined}"
        parts += [_rectangle(200, 176, 190, 28, "both"), _text(200, 195, words)]
    centres = [CENTRES[""]] if len(heads) == 1 else [CENTRES[side] for side in SIDES]
    for centre, row in zip(centres, heads, strict=True):
        seeds = [*study.accuracies(arm, row.level).values()]
        parts += _head(centre, row, seeds)
    parts.append(_text(200, 348, _size(stage.result), "small"))
    said = "; ".join(f"{row.level} head {per_cent(row.mean)}" for row in heads)
    return Markup(
        f'<div role="img" aria-label="{escape(arm)}: {escape(said)}">'
        f'<svg class="drawing" viewBox="0 0 {WIDTH} 356" aria-hidden="true">{"".join(parts)}</svg></div>'
    )


def _hemispheres(
    study: FinishedStudy, arm: str, hparams: Mapping[str, Any]
) -> Iterator[Hemisphere]:
    """What the network's own configuration says of each of its hemispheres."""
    if "macro_arch" not in hparams:
        level = hparams.get("mode")
        if level in LEVELS:
            yield Hemisphere(
                SIDES[LEVELS.index(level)],
                _backbone(hparams, "arch", "width"),
                _nature(hparams, None),
                f"learns {level} labels",
                None,
                frozen=False,
            )
        return
    row = MACRO_ARCHITECTURES.get(hparams["macro_arch"])
    if row is None or row.loads not in (HEMISPHERES, NOTHING):
        return
    for side in row.sides:
        key = SPELLING[side]
        width = "" if row.sized_like else f"{key}_width"
        parent = _parent(arm, side)
        learned, alone = "learns both levels", None
        if parent:
            level = ARMS[parent].learns or (
                ARMS[parent].specialities[0] if ARMS[parent].folder == "single" else ""
            )
            learned = f"learned {level or 'fine and coarse'} labels"
            if level and level not in LEVELS:
                learned = f"learned {level}, no labels"
            accuracies = study.accuracies(parent, level) if level in LEVELS else {}
            alone = mean(accuracies.values()) if accuracies else None
        yield Hemisphere(
            side if len(row.sides) > 1 else "",
            _backbone(hparams, f"{key[0]}arch", width),
            _nature(hparams, side),
            learned,
            alone,
            frozen=bool(hparams.get(FREEZE_KEYS[side])),
        )


def _parent(arm: str, side: str) -> str | None:
    """The arm that a hemisphere is taken from."""
    taken = ARMS[arm].loads.get(f"model_path_{SPELLING[side]}") if arm in ARMS else None
    return taken[0][0] if taken else None


def _backbone(hparams: Mapping[str, Any], arch: str, width: str) -> str:
    scale = hparams.get(width)
    thin = f", width × {scale:g}" if isinstance(scale, int | float) and scale != 1 else ""
    return f"{hparams.get(arch, 'backbone')}{thin}"


def _nature(hparams: Mapping[str, Any], side: str | None) -> str:
    """Say which of a hemisphere's parameters, beside backbone and width, are not their defaults."""
    words = []
    for name, parameter in PARAMETERS.items():
        value = hparams.get(parameter.spelled(name, side), parameter.default)
        if name in ("arch", "width") or value == parameter.default:
            continue
        if isinstance(value, str):  # a file, or a name of weights
            words.append(name)
        else:
            shown = str(value).lower() if isinstance(value, bool) else f"{value:g}"
            words.append(f"{name}={shown}")
    return short(", ".join(words), LONGEST)


def _size(result: Mapping[str, Any]) -> str:
    whole, trained = (result.get(name) for name in ("parameters", "trained_parameters"))
    if not isinstance(whole, int):
        return ""
    if not isinstance(trained, int) or trained == whole:
        return f"{whole:,} parameters, all trained"
    return f"{whole:,} parameters: {whole - trained:,} frozen, {trained:,} trained"


def _box(box: Hemisphere) -> Iterator[str]:
    centre = CENTRES[box.side]
    yield _rectangle(centre, 44, BOX, 100, box.side or "both")
    lines = [
        (f"{box.side} hemisphere".strip(), "bold"),
        (box.learned, ""),
        (box.backbone, "small"),
        (box.nature, "small"),
        ("" if box.alone is None else f"alone {per_cent(box.alone)}", "bold"),
        ("frozen" if box.frozen else "trained", "small"),
    ]
    heights = (61, 77, 92, 106, 122, 137) if box.nature else (64, 82, 99, 99, 117, 135)
    for height, (words, kind) in zip(heights, lines, strict=True):
        if words:
            yield _text(centre, height, words, kind)


def _head(centre: float, row: SummaryRow, seeds: list[float]) -> Iterator[str]:
    yield _rectangle(centre, 234, BOX, 92, "both")
    yield _text(centre, 253, f"{row.level} head")
    yield _text(centre, 280, per_cent(row.mean), "big")
    if len(seeds) >= FEWEST and row.ci95_low is not None and row.ci95_high is not None:
        ends, what = (row.ci95_low, row.ci95_high), "95 %: "
    else:
        ends, what = (min(seeds), max(seeds)), "seeds: "
    if len(seeds) > 1:
        low, high = (decimal(100 * end, 2) for end in ends)
        yield _text(centre, 299, f"{what}{low} to {high} %", "small")
    chance = getattr(row, "accuracy_chance", None)
    if chance is not None:
        yield _text(centre, 316, f"at random {decimal(100 * chance, 1)} %", "small")


def _lines(boxes: list[Hemisphere], heads: list[SummaryRow], joined: str | None) -> Iterator[str]:
    """What flows where."""
    tops = [CENTRES[box.side if len(boxes) > 1 else ""] for box in boxes]
    ends = [200] if len(heads) == 1 else [100, 300]
    for x in tops:
        yield _curve(200, 22, x, 42)
        if joined:
            yield _curve(x, 144, 200 + (x - 200) * 0.4, 174)
    for x in ends:
        yield _curve(200 + (x - 200) * 0.4 if joined else tops[0], 204 if joined else 144, x, 232)


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (y + to_y) / 2
    return (
        f'<path class="wire" d="M{x:g} {y:g}C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"/>'
        f'<path class="tip" d="M{to_x - 4:g} {to_y - 5:g}h8l-4 6z"/>'
    )


def _rectangle(centre: float, top: float, width: float, height: float, colour: str) -> str:
    left = centre - width / 2
    return f'<rect class="{colour}" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="8"/>'


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>'
