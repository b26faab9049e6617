"""How alike two representations of the same images are: linear CKA of hemispheres, layer by layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor, nn

from analysis.alignment import CKA_IMAGES, FEWEST, cka, gram
from analysis.networks import as_tested, features_of, network_of, sides, weights_of
from analysis.report.figures import INTERVALS, heat, intervals
from analysis.report.part import Part
from analysis.report.svg import BOTH, FAINT, LEFT, RIGHT, Frame, labels, picture
from analysis.section import Findings, Section
from analysis.sections.cosine import add_cosines, cosine_figure, cosine_table
from analysis.seed import Seed, StudyImages
from analysis.values import CORRELATION, Item, Networks, Summary
from common.data.samplers import drawn
from common.networks.macro import HemispheresAndHeads
from common.trained.representation import FEATURES, watched
from common.training.module import TrainingModule
from study.arms import ARMS, PRIMARY, plain_name

# Deeper networks are thinned out to this many layers, first and last kept.
MAX_LAYERS = 10
OTHER_SEED = "other seed"
Grams = dict[str, Tensor]  # the `gram` of each layer, by its name, from the image to the features
# What is compared: label, colour, marker and line of each pair.
PAIRS = {
    "left-right": ("left and right", BOTH, "o", "-"),
    "left-other seed": ("left of two seeds", LEFT, "s", (0, (4, 2))),
    "right-other seed": ("right of two seeds", RIGHT, "^", (0, (4, 2))),
    "left-unspecialised": ("left and unspecialised", LEFT, "D", "-"),
    "right-unspecialised": ("right and unspecialised", RIGHT, "v", "-"),
}


class Similarity(Section):
    """CKA of the two hemispheres with each other, with other seeds, and with an unspecialised one; cosines."""

    order = 40

    def __init__(self) -> None:
        self.layers: dict[str, list[str]] = {}  # names by side
        self.baseline: str | None = None  # the arm of the unspecialised hemisphere
        self.earlier: tuple[StudyImages, TrainingModule] | None = None
        self.earlier_grams: dict[str, Grams] = {}
        self.earlier_networks: Networks = {}  # of the seed before
        self.earlier_weights: dict[str, list[str]] = {"left": [], "right": []}

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add CKA of all pairs of layers of the two hemispheres, of the same layers of other pairs, and cosines."""
        images = seed.images.test
        chosen = images.images[images.subset[drawn(len(images), CKA_IMAGES, "cka")]]
        grams = {
            side: grams_of(seed.module, one, chosen) for side, one in sides(seed.network).items()
        }
        self.layers = {side: [*layers] for side, layers in grams.items()}
        for i, (layer, left) in enumerate(grams["left"].items()):
            for j, (other_layer, right) in enumerate(grams["right"].items()):
                found.values.add(
                    "cka",
                    cka(left, right),
                    side="left-right",
                    item=f"{i},{j}",
                    seed=seed.number,
                    within=CORRELATION,
                    means=Item(layer=layer, other_layer=other_layer),
                )
        both_seeds = {**found.values.networks_of(seed.number), **self.earlier_networks}
        self.earlier_networks = found.values.networks_of(seed.number)
        others = self._other_seed(seed, found, grams, chosen) | self._unspecialised(
            seed, found, chosen
        )
        for pair, theirs in others.items():
            mine = grams[pair.split("-")[0]]
            if len(mine) == len(theirs):
                for i, (layer, other) in enumerate(zip(mine, theirs.values(), strict=True)):
                    found.values.add(
                        "cka",
                        cka(mine[layer], other),
                        side=pair,
                        item=str(i),
                        seed=seed.number,
                        within=CORRELATION,
                        # Pairs of seeds overlap: 0 and 1, 1 and 2.
                        made_of=both_seeds if pair.endswith(OTHER_SEED) else None,
                        means=Item(layer=layer),
                    )
        add_cosines(seed, found)

    def _other_seed(
        self, seed: Seed, found: Findings, grams: dict[str, Grams], images: Tensor
    ) -> dict[str, Grams]:
        """The `gram`s of the seed before, by pair, of the same images; a hemisphere that both share is left out."""
        others = {}
        if self.earlier is not None and self.earlier[0] is not seed.images:
            module = self.earlier[1]
            hemispheres = sides(cast(HemispheresAndHeads, module.network))
            self.earlier_grams = {
                side: grams_of(module, one, images) for side, one in hemispheres.items()
            }
        for side, hemisphere in sides(seed.network).items():
            earlier = self.earlier_weights[side]
            weights = weights_of(hemisphere)
            if weights in earlier and not found.values.overlap():
                found.values.independent = False
            if weights in earlier[-1:]:
                found.leave_out(
                    f"similarity to the {side} hemisphere of another seed where both seeds share it."
                )
            elif earlier:
                others[f"{side}-{OTHER_SEED}"] = self.earlier_grams[side]
            earlier.append(weights)
        self.earlier, self.earlier_grams = (seed.images, seed.module), grams
        return others

    def _unspecialised(self, seed: Seed, found: Findings, images: Tensor) -> dict[str, Grams]:
        """The `gram`s of an unspecialised hemisphere of the same seed, for either side.

        One that learned alone: of two that learned together, each knows what the other one leaves to it.
        """
        alone = [arm for taken in ARMS[PRIMARY].loads.values() for arm, _ in taken]
        self.baseline = next((arm for arm in alone if seed.study.of(arm)), None)
        if self.baseline is None:
            found.leave_out(
                "similarity to an unspecialised hemisphere; the study has no arm of one that learned both levels: "
                f"add {alone[0]}."
            )
            return {}
        stage = seed.study.of(self.baseline).get(seed.number)
        if stage is None:
            return {}
        module = network_of(stage)
        hemisphere = next(iter(module.network.hemispheres.values()))  # type: ignore[operator]
        grams = grams_of(module, hemisphere, images)
        return {f"{side}-unspecialised": grams for side in ("left", "right")}

    def render(self, found: Findings) -> Part | None:
        """CKA as lines and as a matrix; cosines as bars."""
        matrix = found.values.items("cka", "", "left-right")
        if not matrix:
            found.leave_out(f"how alike the hemispheres are; this takes {FEWEST} test images.")
            return None
        text = [
            "How to read it: the line shows how alike the two hemispheres see the same images, layer by layer. "
            "Where it falls, they differ. The dashed lines compare the same hemisphere of two seeds: they "
            "show how alike two networks are that learned the same thing.",
        ]
        if self.baseline:
            text.append(f"Unspecialised: {plain_name(self.baseline)} ({self.baseline}).")
        return Part(
            id="similarity",
            title="How alike are the hemispheres?",
            nav="Similarity",
            text=text,
            figures=[*self._figures(found, matrix), *cosine_figure(found)],
            tables=[cosine_table(found)],
            notes=[
                "Linear CKA (Kornblith et al. 2019) with the unbiased estimator of Nguyen et al. (2021), on "
                f"{min(CKA_IMAGES, found.test_images):,} of {found.test_images:,} test images. Layers are the "
                "outputs of convolutions and linear layers, the last one the features. Cosines are over all "
                "pairs of test images."
            ],
        )

    def _figures(self, found: Findings, matrix: Mapping[str, Summary]) -> list[tuple[Markup, str]]:
        names = self.layers
        rows, columns = len(names["left"]), len(names["right"])
        pairs = {
            pair: points
            for pair in PAIRS
            if pair != "left-right" and (points := found.values.items("cka", "", pair))
        }
        if rows == columns:
            same = {str(i): matrix[f"{i},{i}"] for i in range(rows) if f"{i},{i}" in matrix}
            pairs = {"left-right": same, **pairs}
        figures = []
        if pairs:
            lines = picture(
                Frame("cka", "Linear CKA layer by layer", height=4.2),
                cka_lines,
                pairs=pairs,
                layers=_line_labels(names),
            )
            caption = f"1: the same up to rotation and scale; 0: nothing in common. {INTERVALS}"
            figures.append((lines, caption))
        table = np.full((rows, columns), np.nan)
        for item, similarity in matrix.items():
            i, j = map(int, item.split(","))
            table[i, j] = similarity.mean
        all_pairs = picture(
            Frame("cka-matrix", "Linear CKA of all pairs of layers", height=4.2),
            heat,
            table=np.clip(table, 0, 1),
            title="Every layer with every other",
            rows=labels(names["left"], 22),
            columns=labels(names["right"], 22),
            row_label="layer of the left hemisphere",
            column_label="layer of the right hemisphere",
            value_label="linear CKA",
        )
        return [*figures, (all_pairs, "Bright: alike. Features are what the heads see.")]


def _line_labels(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Name the layers along a line: by number where the hemispheres call the same place otherwise."""
    if names["left"] == names["right"]:
        return labels(names["left"], 22)
    return [str(i + 1) for i in range(max(map(len, names.values())))]


def layer_grams(
    backbone: nn.Module, images: Tensor, *, forward: Callable[[Tensor], Tensor]
) -> Grams:
    """`gram`s of a backbone's layers by name: the outputs of its convolutions and linear layers, then its features.

    A layer that does not run, because a function alone takes its weights, is left out: VGG's first linear one on small
    images, Swin's attention. One that runs more than once gives its last output.

    Args:
        backbone: in evaluation mode.
        images: few enough to go through at once.
        forward: how to run the backbone on them, to features (N, F).
    """
    layers = {
        name: one
        for name, one in backbone.named_modules()
        if isinstance(one, nn.Conv2d | nn.Linear)
    }
    # One image shows which layers run, and in which order.
    running: dict[str, nn.Module] = {}
    with watched(layers, lambda name, output: running.update({name: layers[name]})):
        forward(images[:1])
    grams: Grams = {}
    with watched(thinned(running), lambda name, output: grams.update({name: gram(output)})):
        grams[FEATURES] = gram(forward(images))
    return {name: one.cpu() for name, one in grams.items()}


def thinned(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """`MAX_LAYERS` of the layers, or all where there are no more."""
    names = [*layers]
    count = min(MAX_LAYERS, len(names))
    places = (round(i * (len(names) - 1) / max(count - 1, 1)) for i in range(count))
    return {names[place]: layers[names[place]] for place in places}


def grams_of(module: TrainingModule, hemisphere: nn.Module, images: Tensor) -> Grams:
    """`layer_grams` of a hemisphere of a network for images uint8 (N, 3, H, W)."""
    with as_tested(module):
        return layer_grams(
            hemisphere.get_submodule("backbone"),
            images.to(module.device),
            forward=lambda raw: features_of(module.network, hemisphere, module.transforms(raw)),
        )


def cka_lines(
    figure: Figure, pairs: Mapping[str, Mapping[str, Summary]], layers: Sequence[str]
) -> None:
    """Draw similarity layer by layer, from the image to the features; ``layers`` are what their ticks say."""
    axes = figure.subplots()
    for number, (pair, points) in enumerate(pairs.items()):
        label, colour, marker, style = PAIRS[pair]
        # Side by side, so that intervals do not cover one another.
        x = [int(item) + 1 + 0.08 * (number - (len(pairs) - 1) / 2) for item in points]
        axes.plot(
            x,
            [point.mean for point in points.values()],
            color=colour,
            marker=marker,
            ms=4,
            ls=style,
            label=label,
        )
    lowest = min(point.mean for points in pairs.values() for point in points.values())
    axes.set_ylim(min(0, lowest - 0.05), 1.02)
    for line, points in zip([*axes.lines], pairs.values(), strict=True):
        place, of = line.get_xdata(), str(line.get_label())
        intervals(axes, place, [*points.values()], line.get_color(), of=of)  # type: ignore[arg-type]
    axes.axhline(0, color=FAINT, lw=0.8, label="_nothing in common")
    axes.set_title("Same layer of two networks")
    axes.set_xlabel("layer, from the image to the features")
    axes.set_ylabel("linear CKA")
    axes.set_xticks(range(1, len(layers) + 1), layers, rotation=60, ha="right")
    figure.legend(loc="outside lower left", ncols=2, columnspacing=1.2)
