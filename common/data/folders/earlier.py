"""Keep what a person changed in a set that is prepared again: its held-out pictures and its settings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.hierarchy import Hierarchy
from common.data.index import Index, read_index
from common.data.prepared import Made, read_made, read_settings, settings_for
from common.data.tree import in_the_way


@dataclass(frozen=True)
class Earlier:
    """A set as it stands before it is prepared again; ``made`` is None where somebody deleted its prepared.yaml."""

    hierarchy: Hierarchy
    index: Index
    made: Made | None
    settings: dict[str, Any]

    def held_out(self, names: Sequence[str], drawn: np.ndarray) -> np.ndarray | None:
        """Give the held-out training images with an edited choice, bool (N,); None where nobody edited it.

        Args:
            names: of the training images.
            drawn: the choice for those that are new.
        """
        if self.made and held_out_digest(self.index) == self.made.held_out:
            return None
        known = {Path(image).stem: out for image, out in self.index.choice().items()}
        return np.array(
            [
                known.get(Path(name).stem, out)
                for name, out in zip(names, drawn.tolist(), strict=True)
            ],
            bool,
        )

    def kept_settings(self, chosen: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Give settings with those that were edited in place of the chosen ones, and the names of these."""
        first = settings_for(self.hierarchy.counts["train"])
        kept = {
            name: value
            for name, value in self.settings.items()
            if name not in chosen or value != first.get(name, chosen[name])
        }
        return chosen | kept, list(kept)


def earlier(root: Path, hierarchy: Hierarchy | None) -> Earlier | None:
    """Read a set that stands there; None where there is none, or one without index.

    Raises:
        UserError: what describes it is damaged.
    """
    if hierarchy is None or not (root / "index.csv").is_file():
        return None
    with in_the_way(root):
        made = read_made(root)
        index = read_index(root, nested=hierarchy.nested)
        return Earlier(hierarchy, index, made, read_settings(root) if made else {})


def held_out_digest(index: Index) -> str:
    """Give a digest of the names of all held-out images."""
    names = [image for image, out in zip(index.image, index.held_out, strict=True) if out]
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
