"""Turn a collection of pictures, as you keep them, into a data set with two levels of classes.

    python data_scripts/prepare_folders.py PHOTOS --out-dir datasets/INSECTS --size 64
    python train_system.py dataset=folders dataset.root=datasets/INSECTS

PHOTOS is a folder of coarse/fine/picture, with train, val and test above them or not; or a folder of fine/picture with
a table of the coarse classes (families.csv, or --hierarchy); or a table with a path and both classes of each picture
(labels.csv beside the pictures, or that table itself). The script finds out which. It changes nothing there, and
reports what it skipped and what looks wrong. Run it again after changes: classes keep their numbers.

Of a table whose two columns of labels say nothing about each other (colour and shape), give --independent (of labelled
folders too, unless their hierarchy.yaml says it):

    python data_scripts/prepare_folders.py labels.csv --columns path,colour,shape --independent --out-dir datasets/TOYS
"""

import argparse
import re
import shlex
from pathlib import Path

from common.data.folders.assemble import Options
from common.data.folders.from_labelled import is_labelled
from common.data.folders.prepare import prepare_folders
from common.data.folders.problems import refuse_empty_parts
from common.data.folders.sources import Reading
from common.data.hierarchy import names_of_levels, read_hierarchy
from common.data.index import read_index
from common.data.pictures import Frame
from common.settings.overrides import spelled
from common.system.errors import UserError, run_script

SMALLEST, LARGEST = 8, 4096  # pixels of a side


def frame_of(size: str, *, pad: bool) -> Frame:
    """Read a size: one number of pixels, or width x height.

    Raises:
        UserError: it is neither, or out of range.
    """
    sides = size.lower().split("x")
    if not all(side.isascii() and side.isdigit() for side in sides) or len(sides) > 2:
        raise UserError(
            f"--size {size}: allowed is a number of pixels such as 64, or WxH such as 96x64"
        )
    width, height = int(sides[0]), int(sides[-1])
    if not (SMALLEST <= width <= LARGEST and SMALLEST <= height <= LARGEST):
        raise UserError(f"--size {size}: allowed are {SMALLEST} to {LARGEST} pixels")
    return Frame(width, height, pad)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("photos", type=Path, help="folder of the pictures, or a table of them (CSV, TSV)")
    add(
        "--out-dir",
        type=Path,
        required=True,
        help="folder of the data set, such as datasets/INSECTS",
    )
    add("--size", default="64", help="pixels of an image: 64 (the default), 224, or WxH")
    add(
        "--fit",
        choices=("cover", "pad"),
        default="cover",
        help="cut edges off (the default), or add bars",
    )
    add(
        "--keep",
        action="store_true",
        help="link the originals; training brings them to size when it reads them",
    )
    add(
        "--test",
        type=float,
        metavar="SHARE",
        help="of test pictures to draw, where there are none (default 0.2)",
    )
    add(
        "--split-seed",
        type=int,
        default=0,
        help="of test pictures and of the held-out tenth (default 0)",
    )
    add("--strict", action="store_true", help="stop where a picture would be skipped")
    _describe_reading(found)
    return found


def _describe_reading(found: argparse.ArgumentParser) -> None:
    """Add what a person says about classes and groups."""
    add = found.add_argument_group(
        "classes and groups, where they cannot be found out"
    ).add_argument
    add("--hierarchy", type=Path, help="table of the coarse class of each fine one (fine,coarse)")
    add(
        "--columns",
        type=lambda text: text.split(","),
        help="of a table: path,species,family, then split, group",
    )
    add(
        "--group",
        metavar="COLUMN",
        help="of a table: pictures that belong together, such as those of one animal",
    )
    add("--group-by-folder", action="store_true", help="pictures of one folder belong together")
    add(
        "--independent",
        action="store_true",
        help="of a table or labelled folders: the two labels say nothing about each other",
    )
    add(
        "--levels",
        nargs=2,
        metavar=("FINE", "COARSE"),
        help="what people read in place of fine and coarse (with --independent, the columns' names)",
    )


def level_names(args: argparse.Namespace) -> dict[str, str] | None:
    """Give what people read in place of fine and coarse; None where nobody said it.

    Raises:
        UserError: independent labels are asked for without the columns that hold them, or a name is none.
    """
    labelled = args.columns is None and is_labelled(args.photos)
    if args.independent and not labelled and len(args.columns or ()) < 3:
        raise UserError(
            "--independent takes labelled folders, or the columns of a table that hold the two labels: give --columns "
            "path,colour,shape"
        )
    if args.levels:
        return names_of_levels(args.levels, "--levels")
    if args.independent and not labelled:
        where = "--columns (give --levels for names of your own)"
        return names_of_levels([name.replace("_", " ") for name in args.columns[1:3]], where)
    return None


def root_given(place: Path) -> str:
    """Spell dataset.root=PLACE as a shell and train_system.py take it, whatever characters are in it."""
    if re.fullmatch(r"[\w./-]+", str(place), re.ASCII):
        return f"dataset.root={place}"
    return shlex.quote(spelled({"dataset.root": str(place)})[0])


def main(argv: list[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    args = parser().parse_args(argv)

    def script() -> None:
        if args.group and args.group_by_folder:
            raise UserError("--group and --group-by-folder say two things: give one of them")
        frame = frame_of(args.size, pad=args.fit == "pad")
        options = Options(
            frame, args.keep, args.test, args.split_seed, args.independent, level_names(args)
        )
        reading = Reading(args.hierarchy, args.columns, args.group, args.group_by_folder)
        for line in prepare_folders(
            args.photos, args.out_dir, options, reading, strict=args.strict
        ):
            print(line)
        nested = read_hierarchy(args.out_dir).nested
        refuse_empty_parts(read_index(args.out_dir, nested=nested), args.out_dir)
        print(f"Train on it: python train_system.py dataset=folders {root_given(args.out_dir)}")

    return run_script(script)


if __name__ == "__main__":
    raise SystemExit(main())
