"""The hierarchy of classes, which coarse class each fine class belongs to, where something needs it."""

from collections.abc import Sequence

from common.system.errors import UserError


def refuse_unknown_hierarchy(coarse_of_fine: Sequence[int], what: str) -> None:
    """Refuse what needs the coarse class of each fine class, where these are not known (empty).

    Raises:
        UserError: names ``what`` needs them.
    """
    if not coarse_of_fine:
        raise UserError(
            f"{what} needs the coarse class of each fine class, which is not known: the data set's hierarchy.yaml says "
            "nested: false, or the network was trained by an earlier version."
        )
