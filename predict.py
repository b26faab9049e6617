"""What a trained network makes of pictures:  python predict.py checkpoint=PATH image=a.png,b.jpg,folder/."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.data.pictures import find_pictures
from common.settings.command import command, printable
from common.settings.compose import ROOT, quoted, spelled
from common.system.atomic_files import write_text
from common.system.errors import UserError
from common.trained.schema import CAM_METHODS, PredictConfig

if TYPE_CHECKING:
    from common.trained.inference import Trained

TOP = 5
ALONE = (
    "left alone, right alone: what the heads say when the features of the other hemisphere are set to 0 (to 1 where "
    "the join multiplies), so that one hemisphere's contribution and the head's bias remain."
)


def translated(arguments: list[str]) -> list[str]:
    """A command line as Hydra takes it: ``--json`` as a key, ``image=a.png,b.jpg`` as a list, names quoted.

    Left alone is what Hydra reads as a list or as quoted text, and commas in the name of a picture that exists.
    """
    found = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument == "--json":
            argument = "json=true"
        elif name == "image" and value and value[0] not in "['\"":
            one = Path(value).expanduser().exists()
            names = [value] if one else [part for part in value.split(",") if part]
            (argument,) = spelled({name: names})
        found.append(quoted(argument, ("checkpoint", "cam", "json")))
    return found


def answers(trained: Trained, paths: list[Path]) -> list[dict[str, Any]]:
    """Per picture, its path, the best classes of each level, and for two hemispheres those of each one alone.

    With ``weights`` of the hemispheres by level, where the join weighs them picture by picture.
    """
    images = trained.pixels(paths)
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
    values, places = probabilities.topk(min(TOP, len(probabilities)))
    return [
        {
            "label": trained.label_ids[level][place],
            "class": trained.class_names[level][place],
            "probability": round(value, 6),
        }
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
    ]


def as_table(row: dict[str, Any], levels: tuple[str, ...]) -> Table:
    """One picture's answers for the terminal."""
    views = {"": row} | {f"{side} alone": row[side] for side in ("left", "right") if side in row}
    table = Table()
    for name in ("level", *(view or "class" for view in views)):
        table.add_column(name)
    for level in levels:
        for place in range(len(row[level])):
            cells = [said[level][place] for said in views.values()]
            shown = [
                Text(f"{100 * c['probability']:5.1f} %  {printable(c['class'])}") for c in cells
            ]
            table.add_row("" if place else level, *shown)
        table.add_section()
    return table


def predict(cfg: DictConfig) -> None:
    """Print, write and draw what is asked for."""
    if not isinstance(cfg.json, bool | str | None) or cfg.json == "":
        raise UserError(f"json is {cfg.json!r}; allowed: true, false or the path of a file.")
    if not cfg.image:
        raise UserError("image has no value: give image=PATH, of a picture or of a folder of them.")
    names = [cfg.image] if isinstance(cfg.image, str) else cfg.image
    paths = [path for name in names for path in find_pictures(Path(name))]
    # Imported late: torch takes seconds, and --help needs none of it.
    import torch

    from bilateral import load

    if cfg.cam:
        from common.trained.figure import draw_cams, kind_of

        kind_of(Path(cfg.cam))
    trained = load(cfg.checkpoint, device="cuda" if torch.cuda.is_available() else "cpu")
    rows = answers(trained, paths)
    content = json.dumps({"checkpoint": cfg.checkpoint, "images": rows}, indent=2) + "\n"
    said = sys.stderr if cfg.json is True else sys.stdout
    if cfg.json is True:
        print(content, end="")
    else:
        console = Console()
        for row in rows:
            console.print(Text(printable(row["image"]), style="bold"), soft_wrap=True)
            console.print(as_table(row, trained.levels))
        if trained.has_halves:
            print(ALONE)
    if isinstance(cfg.json, str):
        write_text(Path(cfg.json), content)
        print(f"JSON: {printable(cfg.json)}", file=said)
    if cfg.cam:
        drawn = draw_cams(trained, paths, Path(cfg.cam), cfg.cam_method)
        rest = f" of the first {drawn} pictures" if drawn < len(paths) else ""
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
