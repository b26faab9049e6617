"""Images per second, this project beside the ordinary way:  python benchmarks/throughput.py --data-dir DIR.

Three phases for each backbone: training one head, training two heads on two frozen hemispheres, evaluation. Every
measurement is made in a process of its own; rounds alternate between the sides. On a GPU this project is measured
twice: as it trains a stage of usual length, and with its steps compiled too. What fails is said, and costs nothing
else; with --json the rows so far are on disk after each measurement. README.md here says what is measured and how.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from case import Case
from fresh import LIMIT_S, failure, fresh, left
from keep import Keep, keep_in, nowhere
from rich.console import Console
from rich.table import Table

from common.networks.backbone_names import backbone_names
from common.settings.compose import ROOT
from common.system.errors import UserError
from common.training.acceleration import Acceleration

PHASES = {"single": "one head", "dual": "two heads, frozen", "eval": "evaluation"}
SIDES = ("ours", "compiled", "ordinary")
# What the loop of trainer.fit adds, by the columns that say so: of the sides that take the project's steps.
LOOPS = {"loop_cost": "ours", "compiled_loop_cost": "compiled"}
# By device: steps before the clock starts, and steps measured.
WARMUP = {"cpu": 1, "cuda": 20}
STEPS = {"cpu": 1, "cuda": 150}
# And seconds after which a measurement counts as hung: a CPU may be slow.
LIMITS = {"cpu": 3600.0, "cuda": LIMIT_S}
EPOCH = 45_000  # the training part of CIFAR-100

# What each round gave, by phase and backbone, then by side; and why a side gave nothing, likewise.
Measured = dict[tuple[str, str], dict[str, list[dict[str, Any]]]]
Failed = dict[tuple[str, str], dict[str, str]]


def throughput(
    args: argparse.Namespace,
    console: Console,
    keep: Keep = nowhere,
    *,
    where: dict[str, Any] | None = None,
    end: float = math.inf,
) -> list[dict[str, Any]]:
    """Measure and print; one row per phase and backbone, which says of a side that fails why.

    Args:
        args: the command line.
        console: to print on.
        keep: is given the rows so far after each measurement.
        where: the hardware, if it is known.
        end: the time, by time.monotonic, after which nothing is begun.
    """
    started = time.monotonic()
    where = where or fresh("hardware", args.accelerator)
    settings = settings_of(args, where["device"])
    cases = cases_of(args.backbones, where["device"])
    measured: Measured = {(phase, backbone): {} for phase, backbone, _ in cases}
    failed: Failed = {place: {} for place in measured}
    rows: list[dict[str, Any]] = []
    with console.status("") as status:
        for number in range(1, args.rounds + 1):
            # The side that comes first alternates too.
            for phase, backbone, side in cases if number % 2 else reversed(cases):
                # What failed once may take long to do so again.
                if side in failed[phase, backbone] or time.monotonic() > end:
                    continue
                words = f"{backbone}, {PHASES[phase]}, {side}"
                status.update(f"round {number} of {args.rounds}: {words}")
                case = Case(phase=phase, backbone=backbone, **settings)
                if side == "compiled":
                    case = replace(case, compile="default")
                try:
                    result = fresh(
                        "measure",
                        "ordinary" if side == "ordinary" else "ours",
                        case,
                        limit=left(end, LIMITS[where["device"]]),
                    )
                except Exception as error:  # the others are not to be lost for it
                    if time.monotonic() >= end:
                        continue  # all the time is up, which is no failure of this one
                    failed[phase, backbone][side] = failure(error)
                    console.print(f"{words} failed: {failure(error)}", markup=False)
                else:
                    measured[phase, backbone].setdefault(side, []).append(result)
                rows = rows_of(where, measured, failed)
                keep(rows)
            # The next round takes about as long as one of those so far.
            if (time.monotonic() - started) * (number + 1) / number > 60 * args.minutes:
                break
    print_rows(rows, where, settings, number, console)
    console.print(f"Measured in {time.monotonic() - started:.0f} s.")
    return rows


def settings_of(args: argparse.Namespace, device: str) -> dict[str, Any]:
    """What all cases have in common."""
    return {
        "data_dir": args.data_dir,
        "width": args.width,
        "batch_size": args.batch_size,
        "warmup": WARMUP[device],
        "steps": args.steps or STEPS[device],
        "accelerator": args.accelerator,
    }


def cases_of(backbones: Sequence[str], device: str) -> list[tuple[str, str, str]]:
    """Phase, backbone and side; nothing compiles for an evaluation alone, nor, unless asked, on a CPU."""
    return [
        (phase, backbone, side)
        for backbone in backbones
        for phase in PHASES
        for side in SIDES
        if side != "compiled" or (device == "cuda" and phase != "eval")
    ]


def rows_of(where: dict[str, Any], measured: Measured, failed: Failed) -> list[dict[str, Any]]:
    """A row for each phase and backbone of which there is anything to say."""
    return [
        row_of(*place, where, sides, failed[place])
        for place, sides in measured.items()
        if sides or failed[place]
    ]


def row_of(
    phase: str,
    backbone: str,
    where: dict[str, Any],
    measured: dict[str, list[dict[str, Any]]],
    failed: dict[str, str],
) -> dict[str, Any]:
    """Medians over rounds: images per second, ratios to the ordinary way, and what else was measured, or None.

    Args:
        phase: what was done.
        backbone: of the network.
        where: the hardware.
        measured: what `measure.measure` gave in each round, by side.
        failed: why a side gave nothing, by side; in the row if any did.
    """
    row: dict[str, Any] = {"phase": phase, "backbone": backbone, "device": where["device"]}
    for side, results in measured.items():
        rates = [r["rate"] for r in results]
        row[side] = round(median(rates), 2)
        row[f"{side}_range"] = [round(min(rates), 2), round(max(rates), 2)]
        row[f"{side}_peak_mib"] = round(max(r["memory"] for r in results))
        if side != "ordinary":
            row[f"{side}_steps"] = {name: results[0][name] for name in Acceleration._fields}
    ours = measured.get("ours", [])
    for name, side in (("ratio", "ours"), ("compiled_ratio", "compiled")):
        both = side in row and "ordinary" in row
        row[name] = round(row[side] / row["ordinary"], 3) if both else None
    for name, side in LOOPS.items():
        # Time of a step in trainer.fit over its time in a bare loop, minus 1; each round has both.
        costs = [r["bare_rate"] / r["rate"] - 1 for r in measured.get(side, []) if "bare_rate" in r]
        row[name] = round(median(costs), 4) if costs else None
        row[f"{name}_range"] = [round(min(costs), 4), round(max(costs), 4)] if costs else None
    row["matrix_share"] = None
    if where["matrix_rate"] and ours:
        share = median(r["operations"] * r["rate"] for r in ours) / where["matrix_rate"]
        row["matrix_share"] = round(share, 4)
    return row | ({"failed": failed} if failed else {})


def print_rows(
    rows: list[dict[str, Any]],
    where: dict[str, Any],
    settings: dict[str, Any],
    rounds: int,
    console: Console,
) -> None:
    """The table, and under it the conditions."""
    gpu = where["device"] == "cuda"
    say = partial(console.print, soft_wrap=True, highlight=False)
    table = Table(title="images/s: median (lowest to highest round)")
    for name in ("backbone", "phase"):
        table.add_column(name, no_wrap=True)
    sides = [side for side in SIDES if gpu or side != "compiled"]
    for name in (*sides, "ratio", *(["compiled"] if gpu else []), "MiB: ours", "ordinary"):
        table.add_column(name, justify="right", no_wrap=True)
    if gpu:
        table.add_column("of matrix rate", justify="right")
    for row in rows:
        cells = [row["backbone"], PHASES[row["phase"]]]
        for side in sides:
            if side in row:
                low, high = row[f"{side}_range"]
                cells.append(f"{row[side]:,.0f} ({low:,.0f}–{high:,.0f})")
            else:
                cells.append("")
        ratios = [row["ratio"], *([row["compiled_ratio"]] if gpu else [])]
        cells += [_or_nothing(ratio, ".2f") for ratio in ratios]
        cells += [_or_nothing(row.get(f"{side}_peak_mib"), ",") for side in ("ours", "ordinary")]
        table.add_row(*cells, *([_or_nothing(row["matrix_share"], ".1%")] if gpu else []))
    console.print(table)
    for row, (name, side) in product(rows, LOOPS.items()):
        if row[name] is not None:
            cost, (low, high) = row[name], row[f"{name}_range"]
            say(
                f"{row['backbone']}, one head, {side}: {EPOCH:,} images take {EPOCH / row[side]:,.2f} s; the loop of "
                f"trainer.fit adds {cost:+.1%} ({low:+.1%} to {high:+.1%}) to a bare loop's time for the same step."
            )
    if gpu:
        say(f"bfloat16 matrix rate: {where['matrix_rate'] / 1e12:.0f} Tera-operations/s")
    say(
        f"{where['name']}, {where['cores']} cores, {where['threads']} threads; ours {where['precision']}, "
        f"ordinary 32-true; {settings['data_dir']}, batches of {settings['batch_size']}, "
        f"width {settings['width']:g}; rounds: {rounds}, of {settings['steps']} steps after {settings['warmup']}."
    )
    say(", ".join(f"{name} {version}" for name, version in where["versions"].items()))


def _or_nothing(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def parser_of(
    doc: str, data: str = "a prepared data set of 32 x 32 images"
) -> argparse.ArgumentParser:
    """Where to read and write, which `check` looks at; ``doc`` is the program's, ``data`` what it reads."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=ROOT / "datasets" / "CIFAR100",
        help=f"{data} (default: datasets/CIFAR100)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it there too")
    return parser


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__ or "")
    parser.add_argument(
        "--backbones", nargs="+", choices=backbone_names(), default=["resnet9", "vgg11"]
    )
    parser.add_argument("--width", type=float, default=1.0, help="width multiplier (default: 1)")
    parser.add_argument("--batch-size", type=positive, default=256, help="default: 256")
    parser.add_argument("--rounds", type=positive, default=3, help="at most (default: 3)")
    parser.add_argument(
        "--minutes",
        type=positive,
        default=5,
        help="no round but the first is begun that would end later (default: 5)",
    )
    parser.add_argument(
        "--steps",
        type=positive,
        help=f"measured in each round (default: {STEPS['cpu']} on a CPU, {STEPS['cuda']} on a GPU)",
    )
    parser.add_argument("--accelerator", choices=("auto", "cpu", "gpu"), default="auto")
    return parser.parse_args()


def positive(text: str) -> int:
    """A number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def check(args: argparse.Namespace) -> None:
    """Refuse what would fail later.

    Raises:
        UserError: no data set there, or nowhere to write.
    """
    for part in ("train/fine", "index.csv", "hierarchy.yaml"):
        if not (args.data_dir / part).exists():
            raise UserError(
                f"There is no prepared data set at {args.data_dir} ({part} is missing): run "
                "data_scripts/prepare_cifar.py, or name another one with --data-dir."
            )
    if args.json and not args.json.parent.is_dir():
        raise UserError(f"There is no folder {args.json.parent} to write {args.json.name} to.")


def main() -> None:
    """Measure, print, write."""
    args = arguments()
    try:
        check(args)
        console = Console(width=None if sys.stdout.isatty() else 120)
        rows = throughput(args, console, keep_in(args.json))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if any("failed" in row for row in rows) else 0)


if __name__ == "__main__":
    main()
