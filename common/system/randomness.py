"""Randomness as a pure function of where one is: (seed, stage, epoch, step) and a purpose."""

from hashlib import blake2b


def derive(seed: int, *where: str | int) -> int:
    """A 63-bit seed for one place: equal places give equal seeds, all others unrelated ones."""
    text = repr((seed, *where)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") >> 1
