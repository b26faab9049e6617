"""Derive random seeds as a pure function of seed, stage, epoch, step and purpose."""

from hashlib import blake2b


def derive(seed: int, *where: str | int) -> int:
    """Derive a 63-bit seed: equal arguments give equal seeds, others unrelated ones."""
    text = repr((seed, *where)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") >> 1
