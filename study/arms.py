"""The table of arms: what the study trains and compares. Imports no torch and nothing of the experiment folders.

An arm is one line of the results. Its YAML file says how its network is built and trained; the row here says what
the study must know of it. The order of the rows is the order of every table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.settings.levels import LEVELS


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
        config: its YAML file in the folder's config/; None: the file that has the arm's name.
        alias: the name that stands for this arm, together with others, in ``arms`` and ``epochs``; None: its own.
    """

    help: str
    folder: str = "dual"
    loads: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    specialities: tuple[str, ...] = LEVELS
    trained_like: str | None = "heads"
    equal_size: bool = False
    config: str | None = None
    alias: str | None = None

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
    ),
    "coarse": Arm(
        "a right hemisphere, trained on coarse labels",
        folder="single",
        specialities=("coarse",),
        trained_like="hemispheres",
        config="config",
    ),
    "bilateral": Arm(
        "heads on these two hemispheres, which stay frozen",
        loads={"model_path_fine": [("fine", 0)], "model_path_coarse": [("coarse", 0)]},
        equal_size=True,
    ),
    "bilateral_finetuned": Arm(
        "the bilateral network, trained further with its hemispheres, these at a tenth of the heads' learning rate",
        loads={"model_path": [("bilateral", 0)]},
        equal_size=True,
    ),
    "bilateral_nonspecialised": Arm(
        "two hemispheres and two heads, trained together from random weights on both levels",
        trained_like="hemispheres",
        equal_size=True,
    ),
    "bilateral_swapped_fine": Arm(
        "heads on two frozen hemispheres that were both trained on fine labels, with two seeds",
        loads={"model_path_fine": [("fine", 0)], "model_path_coarse": [("fine", 1)]},
        specialities=("fine", "fine"),
        equal_size=True,
        alias="bilateral_swapped",
    ),
    "bilateral_swapped_coarse": Arm(
        "heads on two frozen hemispheres that were both trained on coarse labels, with two seeds",
        loads={"model_path_fine": [("coarse", 1)], "model_path_coarse": [("coarse", 0)]},
        specialities=("coarse", "coarse"),
        equal_size=True,
        alias="bilateral_swapped",
    ),
    "unilateral": Arm(
        "one hemisphere with two heads, trained from random weights on both levels",
        trained_like="hemispheres",
    ),
    "unilateral_wide": Arm(
        "the same, as wide as gives it the number of parameters of the bilateral network",
        trained_like="hemispheres",
        equal_size=True,
    ),
    "ensemble": Arm(
        "the mean of the probabilities of two unilateral networks of different seeds",
        loads={"model_path_fine": [("unilateral", ahead) for ahead in range(2)]},
        trained_like=None,
        equal_size=True,
    ),
    "ensemble_five": Arm(
        "the mean of the probabilities of five unilateral networks",
        loads={"model_path_fine": [("unilateral", ahead) for ahead in range(5)]},
        trained_like=None,
        alias="ensemble",
    ),
}
# Of the study, where nobody says which.
DEFAULT_ARMS = ("fine", "coarse", "bilateral")
# The arm that each other one is compared with.
REFERENCE = "bilateral"
# The contrast that a study is about, named before looking: the reference minus this arm. Both have two frozen
# hemispheres of equal size and equally trained heads; they differ in what the hemispheres were trained on.
PRIMARY = "unspecialised_pair"


def standing_for(name: str) -> list[str]:
    """The arms that a name in ``arms`` or ``epochs`` stands for; none if it is no such name."""
    return [arm for arm, row in ARMS.items() if (row.alias or arm) == name]


def names() -> tuple[str, ...]:
    """The names that ``arms`` takes."""
    return tuple(dict.fromkeys(row.alias or arm for arm, row in ARMS.items()))


def trained_names() -> tuple[str, ...]:
    """The names that ``epochs`` takes: of arms that are trained."""
    return tuple(
        dict.fromkeys(row.alias or arm for arm, row in ARMS.items() if row.trained_like is not None)
    )


def order() -> tuple[str, ...]:
    """The arms in the order of the tables."""
    return tuple(ARMS)


def controls() -> tuple[str, ...]:
    """The arms whose hemispheres are not specialised: they start from random weights and learn both levels.

    A specialised hemisphere is compared with theirs, the best comparison first.
    """
    return tuple(
        arm
        for arm, row in ARMS.items()
        if row.folder == "dual" and row.trained_like == "hemispheres"
    )
