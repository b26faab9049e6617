"""A figure of where hemispheres look: one row per picture, one map per head and hemisphere, each with its answer."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from common.system.atomic_files import replacing
from common.system.errors import UserError
from common.system.letters import all_letters, warn_of_boxes
from common.system.words import shortened
from common.trained.inference import Trained
from common.trained.overlay import overlay
from common.trained.pictures import Picture

# More rows than this make a figure that nobody scrolls through.
MOST = 24


def draw_cams(
    trained: Trained, pictures: Sequence[Picture], file: Path, method: str = "hires_cam"
) -> int:
    """Draw up to 24 pictures as the network sees them, and what each hemisphere finds in them for each head.

    Over a picture stands what the network says to it, over a map what that hemisphere says by itself (of a network of
    two hemispheres; `Trained.predict`, ``alone``). The class explained is the one that the network predicts.

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
    joint = trained.predict(images)
    alone = {
        side: trained.predict(images, alone=side) if trained.has_halves else joint
        for side in trained.sides
    }
    columns = _columns(trained)
    cams = {
        (level, side): getattr(trained, method)(images, level=level, hemisphere=side).numpy()
        for level, side in columns
    }
    with all_letters() as missing:
        figure = Figure(
            figsize=(2.2 * (len(columns) + 1), 2.75 * len(images)), layout="constrained"
        )
        grid = figure.subplots(len(images), len(columns) + 1, squeeze=False)
        for i, axes in enumerate(grid):
            # (3, H, W) -> (H, W, 3)
            shown = images[i].permute(1, 2, 0).numpy()
            axes[0].imshow(shown)
            said = [
                f"{trained.record.level_name(level)}: {_said(trained, level, joint[level][i])}"
                for level in trained.levels
            ]
            axes[0].set_title("\n".join([_plain(_name(pictures[i])), *said]).strip(), fontsize=8)
            for axis, (level, side) in zip(axes[1:], columns, strict=True):
                axis.imshow(overlay(shown, cams[level, side][i]))
                head = f"{trained.record.level_name(level)} head, {_place(trained, side)}"
                own = _said(trained, level, alone[side][level][i])
                axis.set_title(
                    f"{head}\n{'alone: ' if trained.has_halves else ''}{own}", fontsize=8
                )
            for axis in axes:
                axis.axis("off")
        with replacing(file) as temporary:
            figure.savefig(temporary, format=kind, dpi=120, bbox_inches="tight")
    warn_of_boxes(missing, file)
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


def _columns(trained: Trained) -> list[tuple[str, str]]:
    """List the heads, each with every hemisphere that it sees."""
    pairs = product(trained.levels, trained.sides)
    return [(level, side) for level, side in pairs if level in trained.levels_of(side)]


def _place(trained: Trained, side: str) -> str:
    """Say what a hemisphere is called: left or right where there are two."""
    return side if trained.has_halves or "." in side else "hemisphere"


def _said(trained: Trained, level: str, probabilities: Tensor) -> str:
    """Say which class is likeliest of probabilities (C,), and how likely."""
    value, place = probabilities.max(dim=0)
    return f"{_plain(trained.class_names[level][int(place)])} {100 * value.item():.0f} %"


def _name(picture: Picture) -> str:
    return Path(picture).name if isinstance(picture, str | Path) else ""


def _plain(text: str) -> str:
    """Make text that matplotlib draws as it stands: it reads dollars as mathematics, and refuses half characters."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shortened(text, 24).replace("$", r"\$")
