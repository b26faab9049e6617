"""The words that every room shares: levels of labels, and hemispheres. Imports nothing."""

LEVELS = ("fine", "coarse")
# What the levels are called where people read; a data set may choose other names (hierarchy.yaml, `levels`).
LEVEL_NAMES = {level: level for level in LEVELS}
SIDES = ("left", "right")
BOTH = "both"  # in place of a level: fine and coarse together
# Config keys, names of tensors and csv files call the left hemisphere fine and the right one coarse, after what
# they learn in the study. This is the one map from a hemisphere to that spelling.
SPELLING = {"left": "fine", "right": "coarse"}


def side_of(name: str) -> str:
    """The side, left or right, of a hemisphere named in either spelling; any other name stays what it is."""
    return {spelled: side for side, spelled in SPELLING.items()}.get(name, name)


def side_alone(task: str) -> str:
    """The side of a network's only hemisphere, by its first head: right for coarse labels, left for anything else."""
    return side_of(task) if task in LEVELS else "left"
