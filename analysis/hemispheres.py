"""All analyses of a study's bilateral network, one seed at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from analysis.agreement import CASES, accuracy_per_class, case_of, cases_per_class, confusion
from analysis.attention import Look, choose, look
from analysis.calibration import calibration_error, reliability
from analysis.contributions import class_means, contribution, evidence, share
from analysis.lesions import accuracy, most_used, silence, use
from analysis.navon import small_letters
from analysis.networks import FeatureCache, as_tested, head_logits, load, weights_of
from analysis.probe import probe
from analysis.similarity import cka, cosine_within_and_between, layer_grams
from analysis.study import FinishedStudy
from analysis.values import Values
from common.data.datamodule import HierarchicalData, ImageSet
from common.networks.macro import HemispheresAndHeads
from common.settings.levels import LEVELS
from common.system.randomness import derive
from common.training.supervised import Supervised

SIDES = {"left": "fine", "right": "coarse"}  # and the hemisphere's name in a network
HALVES = {"left": ("left",), "right": ("right",), "both": ("left", "right")}
SHARES = tuple(i / 10 for i in range(11))  # of a hemisphere's features, silenced
# Bounds, so that large sets do not take long. What is counted over test images is counted over all of them.
REFERENCE_IMAGES = 3_000  # training images: mean and spread of features, and probes
VALIDATION_IMAGES = 1_000  # to choose the ridge of a probe
CKA_IMAGES = 512  # test images
OTHER_SEED = "other seed"
# Arms with a hemisphere that was trained on both levels, the best comparison first; its name there is fine.
UNSPECIALISED = ("bilateral_nonspecialised", "unilateral", "unilateral_wide")


@dataclass
class Findings:
    """Numbers, a few pictures, and what had to be left out (a sentence each)."""

    values: Values = field(default_factory=Values)
    looks: list[Look] = field(default_factory=list)
    layers: dict[str, int] = field(default_factory=dict)
    baseline: str | None = None
    class_names: dict[str, list[str]] = field(default_factory=dict)
    parents: list[int] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    confusion: Tensor | None = None
    test_images: int = 0
    reference_images: int = 0
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """What one seed's bilateral network, and its hemispheres alone, make of a set of images.

    ``features`` (N, F) by side; ``labels`` (N,) and ``logits`` (N, C) by level; ``alone`` the logits of the
    networks that were trained on one level, by level, as far as they are there.
    """

    seed: int
    module: Supervised
    labels: dict[str, Tensor]
    features: dict[str, Tensor]
    logits: dict[str, Tensor]
    alone: dict[str, Tensor]

    @property
    def network(self) -> HemispheresAndHeads:
        """The bilateral network."""
        return self.module.network  # type: ignore[return-value]

    def weight(self, level: str, side: str) -> Tensor:
        """A head's columns for one hemisphere, (C, F)."""
        weight = self.network.heads[level].linear.weight.detach().cpu()  # type: ignore[union-attr, operator]
        left = self.features["left"].shape[1]
        return weight[:, :left] if side == "left" else weight[:, left:]


@dataclass(frozen=True)
class Reference:
    """Features by side and labels by level, of training images and of validation images."""

    train: dict[str, Tensor]
    train_labels: dict[str, Tensor]
    val: dict[str, Tensor]
    val_labels: dict[str, Tensor]

    def mean(self, side: str) -> Tensor:
        """Of each feature over training images, (F,)."""
        return self.train[side].mean(0)


class Hemispheres:
    """Examines one seed after the other; what is needed of earlier ones is kept.

    Args:
        study: has an arm ``bilateral``.
        data: its images with both levels' labels, loaded.
        test: its test images.
    """

    def __init__(self, study: FinishedStudy, data: HierarchicalData, test: ImageSet) -> None:
        self.study = study
        self.data = data
        self.test = test
        self.findings = Findings(test_images=len(test))
        self.findings.baseline = next((arm for arm in UNSPECIALISED if study.of(arm)), None)
        if self.findings.baseline is None:
            self._leave_out(
                "similarity to an unspecialised hemisphere; no arm of the study has one that learned both levels."
            )
        names = {level: data.classes[level].names for level in LEVELS}
        self.classes = {level: len(found) for level, found in names.items()}
        self.parents = torch.zeros(self.classes["fine"], dtype=torch.long)
        self.parents[data.train_set.labels["fine"]] = data.train_set.labels["coarse"]
        self.letters = small_letters(names["fine"], names["coarse"], self.parents)
        self.findings.class_names = names
        self.findings.parents = self.parents.tolist()
        self.findings.letters = self.letters[0] if self.letters else []
        self.earlier_grams: dict[str, list[Tensor]] = {}
        self.earlier_weights: dict[str, list[str]] = {side: [] for side in SIDES}
        self.values.independent = study.independent("bilateral")
        self.rows = drawn(len(data.train_set), REFERENCE_IMAGES, "reference")
        self.findings.reference_images = len(self.rows)

    @property
    def values(self) -> Values:
        """The numbers so far."""
        return self.findings.values

    def examine(self, seed: int, module: Supervised, caches: FeatureCache) -> None:
        """Add what one seed's bilateral network shows; ``caches`` are on the test images."""
        labels = {level: self.test.labels[level] for level in LEVELS}
        seen = Seen(
            seed=seed,
            module=module,
            labels=labels,
            features=_by_side(caches.features(module, module.network)),  # type: ignore[arg-type]
            logits=caches.logits(module),
            alone={
                level: caches.logits(load(path))[level] for level, path in self._alone(seed, module)
            },
        )
        reference = self._reference(module)
        self._contributions(seen, reference)
        self._lesions(seen, reference)
        self._similarity(seen)
        self._cosines(seen, reference)
        self._agreement(seen)
        self._calibration(seen)
        self._probes(seen, reference)

    def _leave_out(self, sentence: str) -> None:
        if sentence not in self.findings.left_out:
            self.findings.left_out.append(sentence)

    def _alone(self, seed: int, module: Supervised) -> Iterator[tuple[str, Path]]:
        """Checkpoints of the hemispheres with their own heads: of the study, or those that it was given."""
        for level in LEVELS:
            stage = self.study.of(level).get(seed)
            given = module.cfg.hparams[f"model_path_{level}"]
            paths = [stage.checkpoint] if stage is not None else []
            paths += [Path(given.replace("{seed}", str(seed)))] if given else []
            found = next((path for path in paths if path.is_file()), None)
            if found is not None:
                yield level, found

    def _reference(self, module: Supervised) -> Reference:
        train, val = self.data.train_set, self.data.val_set
        rows = train.subset[self.rows]
        # By chance, as those of training: images may lie class after class.
        val_rows = val.subset[drawn(len(val), VALIDATION_IMAGES, "validation")]
        network: HemispheresAndHeads = module.network  # type: ignore[assignment]
        return Reference(
            train=_by_side(FeatureCache(train.images, rows).features(module, network)),
            train_labels={level: y[rows] for level, y in train.labels.items()},
            val=_by_side(FeatureCache(val.images, val_rows).features(module, network)),
            val_labels={level: y[val_rows] for level, y in val.labels.items()},
        )

    def _contributions(self, seen: Seen, reference: Reference) -> None:
        for level in LEVELS:
            labels = seen.labels[level]
            found = {}
            for side in SIDES:
                terms = contribution(
                    seen.features[side], seen.weight(level, side), reference.mean(side)
                )
                found[side] = evidence(terms, labels)
                means = class_means(found[side], labels, self.classes[level])
                for name, mean in zip(self._names(level), means.tolist(), strict=True):
                    self.values.add(
                        "evidence", mean, level=level, side=side, item=name, seed=seen.seed
                    )
            self.values.add(
                "share of evidence",
                share(found["left"], found["right"]),
                level=level,
                side="left",
                seed=seen.seed,
            )

    def _lesions(self, seen: Seen, reference: Reference) -> None:
        joined = torch.cat([seen.features[side] for side in SIDES], dim=1)
        trained = torch.cat([reference.train[side] for side in SIDES], dim=1)
        mean, spread = trained.mean(0), trained.std(0)
        weights = [
            torch.cat([seen.weight(level, side) for side in SIDES], dim=1) for level in LEVELS
        ]
        used = use(weights, spread)
        width = seen.features["left"].shape[1]
        for side in SIDES:
            half = torch.arange(joined.shape[1]) < width
            half = half if side == "left" else ~half
            for part in SHARES:
                silenced = silence(joined, mean, most_used(used, half, part))
                features = {"fine": silenced[:, :width], "coarse": silenced[:, width:]}
                logits = head_logits(seen.module, seen.network, features)
                for level in LEVELS:
                    self.values.add(
                        "accuracy with a share silenced",
                        accuracy(logits[level], seen.labels[level]),
                        level=level,
                        side=side,
                        item=f"{part:.1f}",
                        seed=seen.seed,
                    )

    def _similarity(self, seen: Seen) -> None:
        rows = self.test.subset[drawn(len(self.test), CKA_IMAGES, "cka")]
        images = self.test.images[rows]
        grams = {side: _grams(seen.module, name, images) for side, name in SIDES.items()}
        self.findings.layers = {side: len(found) for side, found in grams.items()}
        for i, left in enumerate(grams["left"]):
            for j, right in enumerate(grams["right"]):
                self.values.add(
                    "cka", cka(left, right), side="left-right", item=f"{i},{j}", seed=seen.seed
                )
        others = self._other_seed(seen, grams)
        baseline = self.findings.baseline and self.study.of(self.findings.baseline).get(seen.seed)
        if baseline:
            unspecialised = _grams(load(baseline.checkpoint), "fine", images)
            others |= {f"{side}-unspecialised": unspecialised for side in SIDES}
        for pair, theirs in others.items():
            mine = grams[pair.split("-")[0]]
            if len(mine) == len(theirs):
                for i, (one, other) in enumerate(zip(mine, theirs, strict=True)):
                    self.values.add(
                        "cka",
                        cka(one, other),
                        side=pair,
                        item=str(i),
                        seed=seen.seed,
                        # Pairs of seeds overlap: 0 and 1, 1 and 2.
                        independent=not pair.endswith(OTHER_SEED),
                    )

    def _other_seed(self, seen: Seen, grams: dict[str, list[Tensor]]) -> dict[str, list[Tensor]]:
        """`gram`s of the seed before, by pair of sides, but for a hemisphere that both seeds share."""
        others = {}
        for side, name in SIDES.items():
            earlier = self.earlier_weights[side]
            weights = weights_of(seen.network.hemispheres[name])
            if weights in earlier:
                self.values.independent = False
            if weights in earlier[-1:]:
                self._leave_out(
                    f"similarity to the {side} hemisphere of another seed where both seeds share it."
                )
            elif earlier:
                others[f"{side}-{OTHER_SEED}"] = self.earlier_grams[side]
            earlier.append(weights)
        self.earlier_grams = grams
        return others

    def _cosines(self, seen: Seen, reference: Reference) -> None:
        for half, sides in HALVES.items():
            centred = torch.cat([seen.features[s] - reference.mean(s) for s in sides], dim=1)
            for level in LEVELS:
                both = cosine_within_and_between(centred, seen.labels[level])
                for item, value in zip(("within classes", "between classes"), both, strict=True):
                    self.values.add(
                        "cosine", value, level=level, side=half, item=item, seed=seen.seed
                    )

    def _agreement(self, seen: Seen) -> None:
        labels, classes = seen.labels["coarse"], self.classes["coarse"]
        predicted = seen.logits["coarse"].argmax(1)
        counts = confusion(predicted, labels, classes)
        earlier = self.findings.confusion
        self.findings.confusion = counts if earlier is None else earlier + counts
        for level in LEVELS:
            if level in seen.alone:
                truth = seen.labels[level]
                means = [
                    accuracy_per_class(logits.argmax(1) == truth, truth, self.classes[level])
                    for logits in (seen.logits[level], seen.alone[level])
                ]
                gains = (means[0] - means[1]).tolist()
                for name, gain in zip(self._names(level), gains, strict=True):
                    self.values.add("gain", gain, level=level, item=name, seed=seen.seed)
        if set(seen.alone) != set(LEVELS):
            self._leave_out(
                "which hemisphere was right when, and where they look; the networks that were trained on one "
                "level are no longer there."
            )
            return
        left = self.parents[seen.alone["fine"].argmax(1)] == labels
        right = seen.alone["coarse"].argmax(1) == labels
        together = predicted == labels
        case = case_of(left, right)
        shares = cases_per_class(case, labels, classes).double()
        shares = shares / shares.sum(1, keepdim=True)
        for place, name in enumerate(CASES):
            where = case == place
            self.values.add(
                "images in a case", where.double().mean().item(), item=name, seed=seen.seed
            )
            self.values.add(
                "bilateral accuracy in a case",
                together[where].double().mean().item(),
                item=name,
                seed=seen.seed,
            )
            for label, part in zip(self._names("coarse"), shares[:, place].tolist(), strict=True):
                self.values.add(
                    "images of a class in a case", part, side=name, item=label, seed=seen.seed
                )
        there = {found.case for found in self.findings.looks}
        chosen = [one for one in choose(left, right, together) if one[0] not in there]
        if chosen:  # of each case from the first seed that has any
            said = {
                "left": self._coarse_names(self.parents[seen.alone["fine"].argmax(1)]),
                "right": self._coarse_names(seen.alone["coarse"].argmax(1)),
                "together": self._coarse_names(predicted),
            }
            self.findings.looks += look(
                seen.module, seen.seed, self.test.images, seen.labels, chosen, said
            )

    def _calibration(self, seen: Seen) -> None:
        for level in LEVELS:
            networks = {"bilateral": seen.logits[level]}
            if level in seen.alone:
                networks[level] = seen.alone[level]
            for arm, logits in networks.items():
                labels = seen.labels[level]
                curve = reliability(logits, labels)
                columns = {
                    "calibration error": {"": calibration_error(logits, labels)},
                    "confidence": _numbered(curve.confidence),
                    "reliability": _numbered(curve.accuracy),
                    "images of a confidence": _numbered(curve.images / len(labels)),
                }
                for of, items in columns.items():
                    for item, value in items.items():
                        self.values.add(of, value, level=level, side=arm, item=item, seed=seen.seed)

    def _probes(self, seen: Seen, reference: Reference) -> None:
        """On Navon figures of the large and the small letter, else of both levels."""

        def asked(labels: dict[str, Tensor]) -> dict[str, Tensor]:
            if self.letters is None:
                return {level: labels[level] for level in LEVELS}
            return {
                "large letter": labels["coarse"],
                "small letter": self.letters[1][labels["fine"]],
            }

        counts = self.classes | {
            "large letter": self.classes["coarse"],
            "small letter": len(self.letters[0]) if self.letters else 0,
        }
        train, val, test = (
            asked(labels) for labels in (reference.train_labels, reference.val_labels, seen.labels)
        )
        for half, sides in HALVES.items():
            fit, choose_by, features = (
                torch.cat([found[side] for side in sides], dim=1)
                for found in (reference.train, reference.val, seen.features)
            )
            for level in train:
                predicted = probe(
                    (fit, train[level]), (choose_by, val[level]), features, counts[level]
                )
                right = (predicted == test[level]).double().mean().item()
                self.values.add("probe accuracy", right, level=level, side=half, seed=seen.seed)

    def _coarse_names(self, classes: Tensor) -> list[str]:
        names = self.findings.class_names["coarse"]
        return [names[label] for label in classes.tolist()]

    def _names(self, level: str) -> list[str]:
        """Names of classes that tell them apart."""
        names = self.findings.class_names[level]
        ids = self.data.classes[level].ids
        return [
            name if names.count(name) == 1 else f"{name} ({number})"
            for name, number in zip(names, ids, strict=True)
        ]


def drawn(count: int, most: int, purpose: str) -> Tensor:
    """Up to ``most`` of ``count`` places, int64: by chance, and for one purpose always the same."""
    order = torch.Generator().manual_seed(derive(0, purpose))
    return torch.randperm(count, generator=order)[:most]


def _numbered(values: Tensor) -> dict[str, float]:
    return {str(i): value for i, value in enumerate(values.tolist())}


def _by_side(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {side: features[name] for side, name in SIDES.items()}


def _grams(module: Supervised, hemisphere: str, images: Tensor) -> list[Tensor]:
    seeing = module.network.get_submodule(f"hemispheres.{hemisphere}")
    with as_tested(module):
        return layer_grams(
            seeing.get_submodule("backbone"),
            images.to(module.device),
            forward=lambda raw: seeing(module.transforms(raw)),
        )
