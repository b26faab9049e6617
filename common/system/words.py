"""Name a few of many in a sentence, and shorten what is too long for its place."""

from collections.abc import Iterable, Sequence


def some(words: Iterable[object], most: int = 5) -> str:
    """Join words with commas, and count those beyond ``most``."""
    listed = [str(word) for word in words]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more:,} more" if more > 0 else "")


def first_of(words: Sequence[str], most: int) -> str:
    """Join words with commas, and say by three dots that there are others beyond ``most``."""
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")


def shortened(text: str, most: int) -> str:
    """Cut a text to ``most`` characters, the last of which is then an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
