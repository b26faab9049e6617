"""The words of the page, each in plain English and as the field says it, and the places of the page that lead there."""

import re

from markupsafe import Markup, escape

from common.results.sections import APPROXIMATE

# Data sets of the project, by their name in a configuration.
DATA_SETS = {
    "NAVON": (
        "Navon figures (Navon 1977): large letters drawn out of small ones. The large letter is the coarse label, both "
        "together are the fine label."
    ),
    "NAVON-independent": (
        "Navon figures (Navon 1977) with two labels that do not depend on each other: the small letter is the fine "
        "one, the large letter the coarse one."
    ),
    "CIFAR100": (
        "60,000 photographs of 32 × 32 pixels (Krizhevsky 2009): 100 fine classes, five in each of 20 coarse ones."
    ),
    "CIFAR100-tenth": "CIFAR-100 with a tenth of its training images and all of its test images.",
    "TEXTURES": "Shapes filled with textures: the texture is the fine label, the shape the coarse one.",
}

GLOSSARY = {
    "level; fine, coarse": (
        "Every image has two labels: a fine one (dolphin) and a coarse one (aquatic mammal). Each fine class "
        "belongs to one coarse class, unless the two labels are independent of each other."
    ),
    "hemisphere; left, right": (
        "One of two networks that turn an image into features (a backbone). The left one learns fine labels, the "
        "right one coarse labels. On this page right is the hemisphere; an answer is correct."
    ),
    "head": "What turns features into an answer: a linear classifier for one level.",
    "specialised": "A hemisphere that learned the labels of one level alone. Unspecialised: it learned both.",
    "nature; left-like, right-like": (
        "What a hemisphere is made of and how fast it learns (width, sparsity, plasticity, ...), whichever labels it "
        "learns. Left-like: with the parameters that the left one has in the bilateral network."
    ),
    "bilateral network": (
        "Two specialised hemispheres, frozen, with one head for each level that reads the features of both."
    ),
    "frozen": "Nothing of it changes any more, bit for bit: neither weights nor normalisation statistics.",
    "arm": "One line of the tables: one kind of network, trained once for each seed.",
    "planned comparison": (
        "The comparison that this software is made for, the same in every study: nobody picked it among many, and its "
        "p is corrected for its own levels alone (primary contrast). That holds if its arms and the number of seeds "
        "were decided before any result was seen."
    ),
    "control": (
        "An arm that has what else could explain a difference: as many parameters (equal size), or as many "
        "operations of training (equal training), within a tenth, and no specialised hemispheres. Where one of them is "
        "not equal, its share is given: 0.5 × its size."
    ),
    "seed": (
        "The number that all chance in a training follows from: initial weights, order of images. Another seed is "
        "a repetition."
    ),
    "accuracy": "The share of test images whose answer is correct (top-1).",
    "at random, chance": (
        "What guessing would give: of 20 classes with equally many images, 5 %. Where classes are uneven, it is that "
        "of random answers beside accuracies and learning curves, and elsewhere that of always the most common class, "
        "which is more."
    ),
    "point": "A percentage point: 82 % is 2 points more than 80 %.",
    "paired difference": "Two arms are compared seed by seed, so that what they share in a seed cancels out.",
    "95 % interval": (
        "Where the mean over ever more seeds is expected (confidence interval, by Student's t). Of 20 such "
        "intervals one misses it."
    ),
    f"{APPROXIMATE}, approximate": (
        "An interval of networks that share parts between seeds, so that they are fewer repetitions than seeds: it is "
        "made wider for that, and is not exact."
    ),
    "better, worse": "The difference is shown: p of a paired t-test is below 0.05 after the correction.",
    "the same within": (
        "The difference is shown to be smaller than the margin (equivalence, two one-sided tests, not corrected), and "
        "is not shown to be other than 0. A difference that is shown to be both is better or worse by less than it."
    ),
    "not shown to differ": (
        "Neither was shown (undecided, in the tables). It does not mean that they are equal: more seeds may tell."
    ),
    "correction (Holm)": (
        "Among many comparisons some look different by chance. Each p is made larger for how many there are."
    ),
    "memorised": (
        "Known from training images and not from others (overfitting): training accuracy far above validation."
    ),
    "validation images": (
        "Held out of training; the best epoch is chosen on them, so that the test images stay untouched."
    ),
    "overconfident": (
        "More sure than it is often correct (calibration error); one temperature, a divisor of the logits, can "
        "mend it."
    ),
    "probe": "A linear classifier that is trained on features afterwards, to see what can be read off them.",
    "competence": (
        "What a probe reads off a hemisphere's features: its accuracy, scaled so that 0 is guessing and 1 is perfect."
    ),
    "dead": "A hemisphere whose competence is below 0.1 on a task: it knows next to nothing of it.",
    "laterality": "+1: only the left hemisphere is competent at a task; −1: only the right one; 0: both alike.",
    "cycles per image, octave": (
        "How dense a pattern is (its spatial frequency): how often it repeats across the image. An octave more is "
        "twice as many cycles."
    ),
    "noise sensitivity": (
        "The share of the competence that is lost where noise of one octave is added to the images, mean of three "
        "strengths."
    ),
    "centre frequency": "The mean octave, each counted by its noise sensitivity.",
    "evidence, margin": (
        "What a hemisphere adds to the logit of the correct class, above the mean of all classes; above the "
        "strongest other class."
    ),
    "lesion": "Features of a hemisphere are silenced: held at their mean over training images.",
    "CKA": (
        "How alike two sets of features are, whatever their rotation: 1 is alike, 0 is unrelated (centred kernel "
        "alignment)."
    ),
    "HiResCAM": "A map of where in the image a hemisphere finds evidence for a class.",
    "consistency, TICE": (
        "Consistency: the share of images whose fine answer lies in the coarse class that is answered. TICE: the "
        "share of the others."
    ),
    "severity, AHD": (
        "How far wrong answers are from the correct class in the tree of classes: 1 within the coarse class, 2 beyond "
        "it. Severity: mean over wrong fine answers. AHD@k: mean over the k likeliest classes of all images."
    ),
    "multiply-adds": "Operations of a network, counted: of one image, or of all training.",
}

# What stands on the page, and the word that explains it.
EXPLAINED = {
    "equal size": "control",
    "equal training": "control",
    "arm": "arm",
    "arms": "arm",
    "seed": "seed",
    "seeds": "seed",
    **{word: word for word in (*DATA_SETS, "planned comparison")},
    APPROXIMATE: f"{APPROXIMATE}, approximate",
}


def glossary(dataset: str) -> dict[str, str]:
    """All words with their meaning, the study's data set first where it is one of the project's."""
    return {name: said for name, said in DATA_SETS.items() if name == dataset} | GLOSSARY


def place_of(word: str) -> str:
    """The id of a word of the glossary in the page."""
    return f"word-{re.sub(r'[^a-z0-9]+', '-', word.lower()).strip('-')}"


def explained(words: str, kind: str = "") -> Markup:
    """Make words a link to what explains them; a sign among them alone where they are not explained as a whole."""
    css = f' class="{kind}"' if kind else ""
    if words in EXPLAINED:
        link = f'<a{{}} href="#{place_of(EXPLAINED[words])}">{escape(words)}</a>'
        return Markup(link.format(css))
    sign = Markup(f'<a href="#{place_of(EXPLAINED[APPROXIMATE])}">{APPROXIMATE}</a>')
    said = Markup(escape(words).replace(APPROXIMATE, sign))
    return Markup("<span{}>{}</span>").format(Markup(css), said) if css else said
