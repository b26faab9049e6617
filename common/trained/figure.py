"""A figure of where hemispheres look: one row per picture, one map per head and hemisphere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from common.system.atomic_files import replacing
from common.system.errors import UserError
from common.trained.inference import Picture, Trained

# More rows than this make a figure that nobody scrolls through.
MOST = 24


def draw_cams(
    trained: Trained, pictures: Sequence[Picture], file: Path, method: str = "hires_cam"
) -> int:
    """Draw up to 24 pictures as the network sees them, and what each hemisphere finds in them for each head.

    The class explained is the one that the head predicts.

    Args:
        trained: the network.
        pictures: see `Trained`.
        file: to write; its name ends in the format.
        method: of `common.trained.schema.CAM_METHODS`.

    Returns:
        How many pictures were drawn.

    Raises:
        UserError: a format that matplotlib does not write.
    """
    kind = kind_of(file)
    images = trained.pixels(list(pictures[:MOST]))
    probabilities = trained.predict(images)
    columns = [(level, side) for level in trained.levels for side in trained.sides]
    cams = {
        (level, side): getattr(trained, method)(images, level=level, side=side).numpy()
        for level, side in columns
    }
    figure = Figure(figsize=(2.2 * (len(columns) + 1), 2.5 * len(images)), layout="constrained")
    grid = figure.subplots(len(images), len(columns) + 1, squeeze=False)
    for i, axes in enumerate(grid):
        # (3, H, W) -> (H, W, 3)
        shown = images[i].permute(1, 2, 0).numpy()
        axes[0].imshow(shown)
        axes[0].set_title(_plain(_name(pictures[i])), fontsize=8)
        for axis, (level, side) in zip(axes[1:], columns, strict=True):
            axis.imshow(_grey(shown), cmap="gray", vmin=0, vmax=255)
            axis.imshow(cams[level, side][i], cmap="viridis", alpha=0.6, vmin=0, vmax=1)
            value, place = probabilities[level][i].max(dim=0)
            said = _plain(trained.class_names[level][int(place)])
            head = f"{trained.record.level_name(level)} head, {_place(trained, side)}"
            axis.set_title(f"{head}\n{said} {100 * value.item():.0f} %", fontsize=8)
        for axis in axes:
            axis.axis("off")
    with replacing(file) as temporary:
        figure.savefig(temporary, format=kind, dpi=120, bbox_inches="tight")
    return len(images)


def kind_of(file: Path) -> str:
    """Find the format of a figure, as the end of its file's name says.

    Raises:
        UserError: a format that matplotlib does not write.
    """
    kinds = Figure().canvas.get_supported_filetypes()
    kind = file.suffix.removeprefix(".").lower()
    if kind not in kinds:
        raise UserError(f"{file} (cam) has no known format; allowed: {', '.join(kinds)}.")
    return kind


def _place(trained: Trained, side: str) -> str:
    """Say what a hemisphere is called: left or right where there are two."""
    return side if trained.has_halves or "." in side else "hemisphere"


def _name(picture: Picture) -> str:
    return Path(picture).name if isinstance(picture, str | Path) else ""


def _plain(text: str) -> str:
    """Make text that matplotlib draws as it stands: it reads dollars as mathematics, and refuses half characters."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    short = text if len(text) <= 24 else f"{text[:23]}…"
    return short.replace("$", r"\$")


def _grey(image: np.ndarray) -> np.ndarray:
    """Turn RGB uint8 (H, W, 3) into luma uint8 (H, W) (ITU-R BT.601), so that colour shows nothing but the map."""
    return (image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
