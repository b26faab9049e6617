"""The table of arms: what the study trains and compares. Imports no torch and nothing of the experiment folders.

An arm is one line of the results. Its YAML file says how its network is built and trained; the row here says what
the study must know of it. The order of the rows is the order of every table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.results.comparison import MARGIN, Comparison
from common.settings.levels import LEVELS
from common.system.errors import UserError

# As `Arm.callosum`.
CONNECTS, SIZES = "connects", "sizes"
# As `Arm.trained_like`.
TRAINED_LIKE = ("hemispheres", "heads")


@dataclass(frozen=True)
class Arm:
    """One arm.

    Args:
        help: one sentence on what it is.
        folder: the experiment folder that trains it, "single" or "dual".
        loads: for each key of a checkpoint, the arms it is taken from, and how many seeds further in the list each
            of these is.
        specialities: the level whose parameters each of its hemispheres has, left and right.
        trained_like: whose part of the recipe it is trained by: "hemispheres", which start from random weights, or
            "heads" on hemispheres that were trained before; None: it is not trained.
        equal_size: whether it has about as many parameters as the reference, so that its size explains no difference.
        equal_training: whether it is trained with as many operations as the reference with all that it builds on, so
            that training explains no difference. Hemispheres that others load are trained by the recipe, always.
        tree: whether it needs the coarse class of each fine class, which two independent labels do not have.
        learns: the level of its labels, of an arm with one head; None: that of its speciality.
        study: the only study (one of `STUDIES`) that takes it where nobody names it: ``arms=all`` of others leaves it
            out; empty: none.
        callosum: what a study's hparams.callosum.* are to it: CONNECTS, its hemispheres are connected so; SIZES, it is
            as large as a network that is; empty: nothing.
        config: its YAML file in the folder's config/; None: the file that has the arm's name.
        alias: the name that stands for this arm, together with others, in ``arms`` and ``epochs``; None: its own.
        called: what a sentence calls it, as in "better than ..."; empty: the arm's name with spaces.
    """

    help: str
    folder: str = "dual"
    loads: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    specialities: tuple[str, ...] = LEVELS
    trained_like: str | None = "heads"
    equal_size: bool = False
    equal_training: bool = False
    tree: bool = False
    learns: str | None = None
    study: str = ""
    callosum: str = ""
    config: str | None = None
    alias: str | None = None
    called: str = ""

    @property
    def mixes(self) -> int:
        """How many seeds' networks it is made of."""
        return 1 + max((ahead for taken in self.loads.values() for _, ahead in taken), default=0)

    @property
    def needs(self) -> set[str]:
        """The arms it builds on."""
        return {arm for taken in self.loads.values() for arm, _ in taken}


# Each after those that it builds on.
ARMS = {
    "fine": Arm(
        "a left hemisphere, trained on fine labels",
        folder="single",
        specialities=("fine",),
        trained_like="hemispheres",
        config="config",
        called="the left hemisphere alone",
    ),
    "coarse": Arm(
        "a right hemisphere, trained on coarse labels",
        folder="single",
        specialities=("coarse",),
        trained_like="hemispheres",
        config="config",
        called="the right hemisphere alone",
    ),
    "bilateral": Arm(
        "heads on these two hemispheres, which stay frozen",
        loads={"model_path_fine": [("fine", 0)], "model_path_coarse": [("coarse", 0)]},
        equal_size=True,
        called="two specialised hemispheres",
    ),
    "bilateral_finetuned": Arm(
        "the bilateral network, trained further with its hemispheres, these at a tenth of the heads' learning rate",
        loads={"model_path": [("bilateral", 0)]},
        equal_size=True,
        called="the same network trained further as a whole",
    ),
    "bilateral_nonspecialised": Arm(
        "two hemispheres and two heads, trained together from random weights on both levels, with as many operations "
        "as the bilateral network in all",
        trained_like="hemispheres",
        equal_size=True,
        equal_training=True,
        called="two hemispheres trained together from scratch",
    ),
    "bilateral_swapped_fine": Arm(
        "heads on two frozen hemispheres that were both trained on fine labels, with two seeds",
        loads={"model_path_fine": [("fine", 0)], "model_path_coarse": [("fine", 1)]},
        specialities=("fine", "fine"),
        equal_size=True,
        alias="bilateral_swapped",
        called="two left hemispheres",
    ),
    "bilateral_swapped_coarse": Arm(
        "heads on two frozen hemispheres that were both trained on coarse labels, with two seeds",
        loads={"model_path_fine": [("coarse", 1)], "model_path_coarse": [("coarse", 0)]},
        specialities=("coarse", "coarse"),
        equal_size=True,
        alias="bilateral_swapped",
        called="two right hemispheres",
    ),
    "unilateral": Arm(
        "one hemisphere with two heads, trained from random weights on both levels",
        trained_like="hemispheres",
        called="one hemisphere trained on both levels",
    ),
    "unilateral_second": Arm(
        "another unilateral network of each seed, with random numbers of its own and the parameters of the right "
        "hemisphere, for `unspecialised_pair`",
        specialities=("coarse", "coarse"),
        trained_like="hemispheres",
        called="another hemisphere trained on both levels",
    ),
    "unspecialised_pair": Arm(
        "heads on two frozen hemispheres that were both trained on both levels: bilateral minus this one estimates "
        "what speciality adds",
        loads={
            "model_path_fine": [("unilateral", 0)],
            "model_path_coarse": [("unilateral_second", 0)],
        },
        equal_size=True,
        called="two unspecialised hemispheres",
    ),
    "fine_refit": Arm(
        "new heads on the frozen left hemisphere alone",
        loads={"model_path_fine": [("fine", 0)]},
        called="the left hemisphere alone with both heads",
    ),
    "coarse_refit": Arm(
        "new heads on the frozen right hemisphere alone",
        loads={"model_path_fine": [("coarse", 0)]},
        specialities=("coarse", "coarse"),
        called="the right hemisphere alone with both heads",
    ),
    "unilateral_refit": Arm(
        "new heads on the frozen hemisphere of the unilateral network",
        loads={"model_path_fine": [("unilateral", 0)]},
        called="one unspecialised hemisphere with new heads",
    ),
    "unilateral_long": Arm(
        "the unilateral network, trained with as many operations as the bilateral network in all, hemispheres included",
        trained_like="hemispheres",
        equal_training=True,
        called="one hemisphere with as much training",
    ),
    "unilateral_hierarchy": Arm(
        "as unilateral_long, on labels softened along the tree of classes (loss=soft_hierarchy)",
        trained_like="hemispheres",
        equal_training=True,
        tree=True,
        called="one hemisphere taught the tree of classes",
    ),
    "unilateral_wide": Arm(
        "as unilateral_long, as wide as gives it the number of parameters of the bilateral network",
        trained_like="hemispheres",
        equal_size=True,
        equal_training=True,
        callosum=SIZES,
        called="one wide network of its size",
    ),
    "product": Arm(
        "the two specialists with their own heads: the product of their probabilities, without further training",
        loads={"model_path_fine": [("fine", 0), ("coarse", 0)]},
        trained_like=None,
        equal_size=True,
        tree=True,
        called="the product of both hemispheres' answers",
    ),
    "mean_of_specialists": Arm(
        "the same, with the mean of their coarse probabilities, those of the fine one summed over fine classes",
        loads={"model_path_fine": [("fine", 0), ("coarse", 0)]},
        trained_like=None,
        equal_size=True,
        tree=True,
        called="the mean of both hemispheres' answers",
    ),
    "ensemble": Arm(
        "the mean of the probabilities of two unilateral networks of different seeds",
        loads={"model_path_fine": [("unilateral", ahead) for ahead in range(2)]},
        trained_like=None,
        equal_size=True,
        called="the mean of two networks of one hemisphere",
    ),
    "ensemble_five": Arm(
        "the mean of the probabilities of five unilateral networks",
        loads={"model_path_fine": [("unilateral", ahead) for ahead in range(5)]},
        trained_like=None,
        alias="ensemble",
        called="the mean of five networks of one hemisphere",
    ),
    "fine_mirrored": Arm(
        "fine labels, learned by a hemisphere of the right one's parameters",
        folder="single",
        specialities=("coarse",),
        trained_like="hemispheres",
        learns="fine",
        study="asymmetry",
        config="config",
        called="a right-like hemisphere on fine labels",
    ),
    "coarse_mirrored": Arm(
        "coarse labels, learned by a hemisphere of the left one's parameters",
        folder="single",
        specialities=("fine",),
        trained_like="hemispheres",
        learns="coarse",
        study="asymmetry",
        config="config",
        called="a left-like hemisphere on coarse labels",
    ),
    "bilateral_mirrored": Arm(
        "the bilateral network with labels exchanged: each hemisphere has the parameters of the other one",
        loads={
            "model_path_fine": [("fine_mirrored", 0)],
            "model_path_coarse": [("coarse_mirrored", 0)],
        },
        specialities=("coarse", "fine"),
        equal_size=True,
        study="asymmetry",
        called="the two hemispheres with labels exchanged",
    ),
    "bilateral_left_alike": Arm(
        "the bilateral network with the left hemisphere's parameters on both sides",
        loads={"model_path_fine": [("fine", 0)], "model_path_coarse": [("coarse_mirrored", 0)]},
        specialities=("fine", "fine"),
        study="asymmetry",
        called="two specialised left-like hemispheres",
    ),
    "bilateral_right_alike": Arm(
        "the bilateral network with the right hemisphere's parameters on both sides",
        loads={"model_path_fine": [("fine_mirrored", 0)], "model_path_coarse": [("coarse", 0)]},
        specialities=("coarse", "coarse"),
        study="asymmetry",
        called="two specialised right-like hemispheres",
    ),
    "joint_left_alike": Arm(
        "as bilateral_nonspecialised, with the left hemisphere's parameters on both sides",
        specialities=("fine", "fine"),
        trained_like="hemispheres",
        study="asymmetry",
        called="two left-like hemispheres trained together",
    ),
    "joint_right_alike": Arm(
        "as bilateral_nonspecialised, with the right hemisphere's parameters on both sides",
        specialities=("coarse", "coarse"),
        trained_like="hemispheres",
        study="asymmetry",
        called="two right-like hemispheres trained together",
    ),
    "callosal": Arm(
        "as bilateral_nonspecialised, with a callosum between the hemispheres, whose operations count",
        trained_like="hemispheres",
        equal_size=True,
        equal_training=True,
        study="callosum",
        callosum=CONNECTS,
        called="two connected hemispheres trained together",
    ),
    "callosal_frozen": Arm(
        "a callosum and heads on the two frozen hemispheres of the bilateral network",
        loads={"model_path_fine": [("fine", 0)], "model_path_coarse": [("coarse", 0)]},
        equal_size=True,
        study="callosum",
        callosum=CONNECTS,
        called="the two frozen hemispheres, connected",
    ),
    "rotation": Arm(
        "a hemisphere of the right one's parameters, trained without labels to tell by how much an image was rotated",
        folder="single",
        specialities=("coarse",),
        trained_like="hemispheres",
        learns="rotation",
        study="paradigms",
        config="config",
        called="the hemisphere trained without labels alone",
    ),
    "rotation_refit": Arm(
        "new heads on this frozen hemisphere alone",
        loads={"model_path_fine": [("rotation", 0)]},
        specialities=("coarse", "coarse"),
        study="paradigms",
        called="the hemisphere trained without labels with both heads",
    ),
    "bilateral_rotation": Arm(
        "heads on two frozen hemispheres: the left one learned fine labels, the right one rotations, without labels",
        loads={"model_path_fine": [("fine", 0)], "model_path_coarse": [("rotation", 0)]},
        equal_size=True,
        study="paradigms",
        called="a left hemisphere and one trained without labels",
    ),
    "decorrelated": Arm(
        "as bilateral_nonspecialised, while correlations between features of the two hemispheres are penalised",
        trained_like="hemispheres",
        equal_size=True,
        equal_training=True,
        study="paradigms",
        called="two hemispheres trained together to differ",
    ),
}
# Of the study, where nobody says which.
DEFAULT_ARMS = ("fine", "coarse", "bilateral")
# The arm that each other one is compared with.
REFERENCE = "bilateral"
# What it is made of, by keys of bilateral_epochs: arms of equal training are trained as much as all of it.
PARTS = {"left": "fine", "right": "coarse", "heads": REFERENCE}
# The contrast that a study is about, named before looking: the reference minus this arm. Both have two frozen
# hemispheres of equal size and equally trained heads; they differ in what the hemispheres were trained on.
PRIMARY = "unspecialised_pair"
# One network that is as large and is trained as much: what the reference is to be better than, to be worth its second
# hemisphere.
ONE_NETWORK = "unilateral_wide"
# What answers study=asymmetry and study=paradigms, the reference minus this arm, and study=callosum, this arm minus the
# reference.
EXCHANGED, SELF_SUPERVISED = "bilateral_mirrored", "bilateral_rotation"
CONNECTED = "callosal_frozen"


# Of the studies that have arms of their own: others that these are compared with.
STUDIES = {
    "asymmetry": (*DEFAULT_ARMS, "bilateral_nonspecialised"),
    "callosum": (
        *DEFAULT_ARMS,
        "bilateral_nonspecialised",
        "unspecialised_pair",
        "unilateral_wide",
    ),
    "paradigms": (
        *DEFAULT_ARMS,
        "bilateral_nonspecialised",
        "unspecialised_pair",
        "fine_refit",
        "coarse_refit",
    ),
}


def scored(study: str, arms: Sequence[str]) -> str:
    """The arm whose validation accuracy a sweep goes by, of those that a study has, in their order.

    With study=callosum it is the connected network, which the keys of the callosum concern; else the reference, and in
    a study without it the last arm.
    """
    wanted = CONNECTED if study == "callosum" else REFERENCE
    return wanted if wanted in arms else arms[-1]


def arms_of(study: str) -> tuple[str, ...]:
    """The arms of a study that has arms of its own, these last; none of any other."""
    return (
        *STUDIES.get(study, ()),
        *(arm for arm, row in ARMS.items() if study and row.study == study),
    )


def standing_for(name: str) -> list[str]:
    """The arms that a name in ``arms`` or ``epochs`` stands for; none if it is no such name."""
    return [arm for arm, row in ARMS.items() if (row.alias or arm) == name]


def names() -> tuple[str, ...]:
    """The names that ``arms`` takes."""
    return tuple(dict.fromkeys(row.alias or arm for arm, row in ARMS.items()))


def usual_names() -> tuple[str, ...]:
    """Those of them that ``arms=all`` stands for in a study of any kind."""
    return tuple(dict.fromkeys(row.alias or arm for arm, row in ARMS.items() if not row.study))


def trained_names() -> tuple[str, ...]:
    """The names that ``epochs`` takes: of arms that are trained."""
    return tuple(
        dict.fromkeys(row.alias or arm for arm, row in ARMS.items() if row.trained_like is not None)
    )


def order() -> tuple[str, ...]:
    """The arms in the order of the tables."""
    return tuple(ARMS)


def comparison(margin: float = MARGIN) -> Comparison:
    """How the arms are compared; ``margin`` is a study's own, in percentage points."""
    return Comparison(order(), REFERENCE, PRIMARY, margin)


def plain_name(arm: str) -> str:
    """Give what a sentence calls an arm, of any study."""
    return (ARMS[arm].called if arm in ARMS else "") or arm.replace("_", " ")


def refuse_another_name(config_name: str, said: str) -> None:
    """Refuse an arm's YAML file that says it were another arm: run alone, it would write to that one's folder.

    Args:
        config_name: the file.
        said: the arm that the configuration in it names.

    Raises:
        UserError: says what to write in the file.
    """
    arm = config_name.removesuffix(".yaml")
    row = ARMS.get(arm)
    if row is not None and row.config is None and said != arm:
        raise UserError(
            f"arch_{row.folder}_head/config/{arm}.yaml describes the arm {arm}, and its key arm is {said!r} (left out, "
            f"it is hparams.macro_arch): write arm: {arm} in it."
        )


def is_control(arm: str) -> bool:
    """Say whether an arm is of equal size or training and without specialised hemispheres in it."""
    row = ARMS.get(arm)
    return row is not None and (row.equal_size or row.equal_training) and not _specialised(arm)


def _specialised(arm: str) -> bool:
    """Whether an arm is, or is built on, a hemisphere that learned one level alone."""
    return ARMS[arm].folder == "single" or any(map(_specialised, ARMS[arm].needs))


def from_scratch() -> tuple[str, ...]:
    """The arms that start from random weights and learn both levels."""
    return tuple(
        arm
        for arm, row in ARMS.items()
        if row.folder == "dual" and row.trained_like == "hemispheres"
    )
