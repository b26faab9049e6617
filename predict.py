"""What a trained network makes of pictures:  python predict.py checkpoint=PATH image=a.png,b.jpg,folder/."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.data.pictures import KINDS, look_for_pictures
from common.settings.command import command
from common.settings.compose import ROOT
from common.settings.explain import printable
from common.settings.overrides import quoted, spelled
from common.settings.paths import matching
from common.system.atomic_files import refuse_unwritable, write_text
from common.system.errors import UserError
from common.trained.schema import CAM_METHODS, PredictConfig

if TYPE_CHECKING:
    from torch import Tensor

    from common.trained.inference import Trained

TOP = 5
ALONE = (
    "left alone, right alone: what the heads say when the features of the other hemisphere are set to 0 (to 1 where "
    "the join multiplies), so that one hemisphere's contribution and the head's bias remain."
)


def translated(arguments: list[str]) -> list[str]:
    """A command line as Hydra takes it: ``--json`` and ``json=-`` as keys, ``image=a.png,b.jpg`` as a list.

    Words that are no KEY=VALUE but name pictures, as a shell makes them of ``image=photos/*.jpg`` or of a list, are
    pictures too; a pattern that the shell left is expanded. Left alone is what Hydra reads as a list or as quoted
    text, unless a picture is called so, and commas in the name of a picture that exists.
    """
    found: list[str] = []
    names: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument in ("--json", "json=-"):  # - is standard output, as other programs have it
            found.append("json=true")
        elif name == "image" and value and (value[0] not in "['\"" or os.path.exists(value)):
            names += _named(value)
        elif _is_picture(argument, after=bool(names or (name == "image" and equals))):
            names += matching(argument) or [argument]
        else:
            found.append(quoted(argument, ("checkpoint", "cam", "json")))
    return found + (spelled({"image": names}) if names else [])


def _is_picture(word: str, *, after: bool) -> bool:
    """Whether a word names a picture or a folder; ``after`` image=..., also one that is not there."""
    if word.startswith("-") or word.endswith(".ckpt"):
        return False
    return bool(matching(word)) or (
        after and "=" not in word and any(mark in word for mark in "./*?")
    )


def _named(value: str) -> list[str]:
    """The names in the value of ``image=``: one, or several with commas between."""
    if found := matching(value):
        return found
    parts = [part if matching(part) else part.strip() for part in value.split(",")]
    return [name for part in parts if part for name in matching(part) or [part]]


class Unread(NamedTuple):
    """A picture that could not be read, and the sentence that says why."""

    image: str
    reason: str


def find(names: list[str]) -> tuple[list[Path], list[Unread]]:
    """The pictures that are named or lie in folders that are named, and what is none."""
    paths, unread = [], []
    for name in names:
        try:
            found = look_for_pictures(Path(name))
        except UserError as error:
            unread.append(Unread(name, str(error)))
            continue
        paths += found.pictures
        unread += [Unread(str(path), f"{reason}.") for path, reason in found.others.items()]
        if not found.pictures and not found.others:
            unread.append(Unread(name, f"{name} holds no pictures; allowed are {KINDS}."))
    return paths, unread


def read(trained: Trained, paths: list[Path]) -> tuple[dict[int, Tensor], list[Unread]]:
    """Those of the pictures that can be read, by index, as uint8 (3, H, W) of the network's size; and the others."""
    images, unread = {}, []
    for index, path in enumerate(paths):
        try:
            images[index] = trained.pixels(path)[0]
        except UserError as error:
            unread.append(Unread(str(path), str(error)))
    return images, unread


def answers(trained: Trained, paths: list[Path], images: Tensor) -> list[dict[str, Any]]:
    """Per picture, its path, the best classes of each level, and for two hemispheres those of each one alone.

    With ``weights`` of the hemispheres by level, where the join weighs them picture by picture.
    """
    views = {"both": trained.predict(images)}
    if trained.has_halves:
        views |= {side: trained.predict(images, alone=side) for side in trained.sides}
    rows = []
    weights = trained.weights(images) or {}
    for i, path in enumerate(paths):
        said = {
            view: {level: best(trained, level, values[i]) for level, values in levels.items()}
            for view, levels in views.items()
        }
        rows.append({"image": str(path)} | said.pop("both") | said)
        if weights:
            rows[-1] |= {"weights": weights_of(weights, i)}
    return rows


def weights_of(weights: Mapping[str, Mapping[str, Any]], picture: int) -> dict[str, Any]:
    """The weight of each hemisphere in one picture, by level and side."""
    return {
        level: {side: round(one[picture].item(), 6) for side, one in sides.items()}
        for level, sides in weights.items()
    }


def best(trained: Trained, level: str, probabilities: Any) -> list[dict[str, Any]]:
    """The best classes of one picture: label id, name and probability, the most likely first."""
    values, classes = probabilities.topk(min(TOP, len(probabilities)))
    return [
        {
            "label": trained.label_ids[level][index],
            "class": trained.class_names[level][index],
            "probability": round(value, 6),
        }
        for value, index in zip(values.tolist(), classes.tolist(), strict=True)
    ]


def as_table(row: dict[str, Any], levels: Mapping[str, str]) -> Table:
    """One picture's answers for the terminal; ``levels`` with the names that people read."""
    views = {"": row} | {f"{side} alone": row[side] for side in ("left", "right") if side in row}
    table = Table()
    for name in ("level", *(view or "class" for view in views)):
        table.add_column(name)
    for level, called in levels.items():
        for rank in range(len(row[level])):
            cells = [said[level][rank] for said in views.values()]
            shown = [
                Text(f"{100 * c['probability']:5.1f} %  {printable(c['class'])}") for c in cells
            ]
            table.add_row("" if rank else called, *shown)
        table.add_section()
    return table


def predict(cfg: DictConfig) -> None:
    """Print, write and draw what is asked for; the status is 1 if a picture could not be read."""
    if not isinstance(cfg.json, bool | str | None) or cfg.json == "":
        raise UserError(f"json is {cfg.json!r}; allowed: true, false or the path of a file.")
    if not cfg.image:
        raise UserError("image has no value: give image=PATH, of a picture or of a folder of them.")
    for key in ("json", "cam"):
        if isinstance(file := cfg[key], str):
            refuse_unwritable(key, Path(file))
    paths, unread = find([cfg.image] if isinstance(cfg.image, str) else cfg.image)
    if not paths and len(unread) == 1:
        raise UserError(unread[0].reason)
    # Imported late: torch takes seconds, and --help needs none of it.
    import torch

    from bilateral import load

    if cfg.cam:
        from common.trained.figure import kind_of

        kind_of(Path(cfg.cam))
    trained = load(cfg.checkpoint, device="cuda" if torch.cuda.is_available() else "cpu")
    images, damaged = read(trained, paths)
    unread += damaged
    if not images and len(unread) == 1:
        raise UserError(unread[0].reason)
    paths = [paths[index] for index in images]
    rows = answers(trained, paths, torch.stack([*images.values()])) if images else []
    show(cfg, trained, rows, unread)
    if cfg.cam and paths:
        draw(cfg, trained, paths)
    for one in unread:
        print(f"error: {printable(one.reason)}", file=sys.stderr)
    if unread:
        sys.exit(1)


def show(
    cfg: DictConfig, trained: Trained, rows: list[dict[str, Any]], unread: list[Unread]
) -> None:
    """Print the answers as tables or as JSON, and write JSON to a file if one is named."""
    told = [one._asdict() for one in unread]
    held = {"checkpoint": cfg.checkpoint, "images": rows, "unread": told}
    content = json.dumps(held, indent=2) + "\n"
    if cfg.json is True:
        print(content, end="")
        return
    console = Console()
    levels = {level: trained.record.level_name(level) for level in trained.levels}
    for row in rows:
        console.print(Text(printable(row["image"]), style="bold"), soft_wrap=True)
        console.print(as_table(row, levels))
    if rows and trained.has_halves:
        print(ALONE)
    if isinstance(cfg.json, str):
        write_text(Path(cfg.json), content)
        print(f"JSON: {printable(cfg.json)}")


def draw(cfg: DictConfig, trained: Trained, paths: list[Path]) -> None:
    """Write the figure of where each hemisphere looks, and say what it shows."""
    from common.trained.figure import draw_cams

    drawn = draw_cams(trained, paths, Path(cfg.cam), cfg.cam_method)
    rest = f" of the first {drawn} pictures" if drawn < len(paths) else ""
    said = sys.stderr if cfg.json is True else sys.stdout
    print(f"{CAM_METHODS[cfg.cam_method]}{rest}: {printable(cfg.cam)}", file=said)


def main() -> None:
    """The command line."""
    sys.argv[1:] = translated(sys.argv[1:])
    command(
        predict,
        schema=PredictConfig,
        folder=ROOT,
        config_dir=ROOT / "common" / "config",
        config_name="predict",
    )


if __name__ == "__main__":
    main()
