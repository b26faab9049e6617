"""What every part that gives features must say: how many they are."""

from torch import nn

from common.system.errors import UserError, place_of


def refuse_unsaid(part: nn.Module) -> None:
    """Refuse a backbone or a join that does not say how many features it gives.

    Raises:
        UserError: its num_features is no integer of at least 1.
    """
    number = getattr(part, "num_features", None)
    if not isinstance(number, int) or number < 1:
        raise UserError(
            f"num_features of {place_of(part)} is {number}; allowed: how many features it gives, an integer of at "
            "least 1, set in `__init__`."
        )
