"""Images per second, this project beside the ordinary way:  python benchmarks/throughput.py --data-dir DIR.

Three phases for each backbone: training one head, training two heads on two frozen hemispheres, evaluation. Every
measurement is made in a process of its own; rounds alternate between the sides. On a GPU this project is measured
twice: as it trains a stage of usual length, and with its steps compiled too. README.md here says what is measured and
how.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from case import Case
from fresh import failure, fresh
from rich.console import Console
from rich.table import Table

from common.networks.backbone_names import backbone_names
from common.settings.compose import ROOT
from common.system.errors import UserError
from common.training.acceleration import Acceleration

PHASES = {"single": "one head", "dual": "two heads, frozen", "eval": "evaluation"}
SIDES = ("ours", "compiled", "ordinary")
# By device: steps before the clock starts, and steps measured.
WARMUP = {"cpu": 1, "cuda": 20}
STEPS = {"cpu": 1, "cuda": 150}
EPOCH = 45_000  # the training part of CIFAR-100


def throughput(args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Measure and print; one row per phase and backbone."""
    started = time.monotonic()
    where = fresh("hardware", args.accelerator)
    device = where["device"]
    settings = {
        "data_dir": args.data_dir,
        "width": args.width,
        "batch_size": args.batch_size,
        "warmup": WARMUP[device],
        "steps": args.steps or STEPS[device],
        "accelerator": args.accelerator,
    }
    # Nothing compiles for an evaluation alone, nor, unless asked, on a CPU.
    cases = [
        (phase, backbone, side)
        for backbone in args.backbones
        for phase in PHASES
        for side in SIDES
        if side != "compiled" or (device == "cuda" and phase != "eval")
    ]
    measured: dict[Any, dict[str, list[dict[str, Any]]]] = {}
    with console.status("") as status:
        for number in range(1, args.rounds + 1):
            # The side that comes first alternates too.
            for phase, backbone, side in cases if number % 2 else reversed(cases):
                status.update(
                    f"round {number} of {args.rounds}: {backbone}, {PHASES[phase]}, {side}"
                )
                case = Case(phase=phase, backbone=backbone, **settings)
                if side == "compiled":
                    case = replace(case, compile="default")
                try:
                    result = fresh("measure", "ordinary" if side == "ordinary" else "ours", case)
                except Exception as error:
                    if side != "compiled":
                        raise
                    # What everybody has is not to be lost for it.
                    console.print(
                        f"{PHASES[phase]}, compiled failed: {failure(error)}", markup=False
                    )
                    continue
                measured.setdefault((phase, backbone), {}).setdefault(side, []).append(result)
            # The next round takes about as long as one of those so far.
            if (time.monotonic() - started) * (number + 1) / number > 60 * args.minutes:
                break
    rows = [
        row_of(phase, backbone, where, measured[phase, backbone])
        for backbone in args.backbones
        for phase in PHASES
    ]
    print_rows(rows, where, settings, number, console)
    console.print(f"Measured in {time.monotonic() - started:.0f} s.")
    return rows


def row_of(
    phase: str,
    backbone: str,
    where: dict[str, Any],
    measured: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """Medians over rounds: images per second, ratios to the ordinary way, and what else was measured, or None.

    Args:
        phase: what was done.
        backbone: of the network.
        where: the hardware.
        measured: what `measure.measure` gave in each round, by side.
    """
    row: dict[str, Any] = {"phase": phase, "backbone": backbone, "device": where["device"]}
    for side, results in measured.items():
        rates = [r["rate"] for r in results]
        row[side] = round(median(rates), 2)
        row[f"{side}_range"] = [round(min(rates), 2), round(max(rates), 2)]
        row[f"{side}_peak_mib"] = round(max(r["memory"] for r in results))
        if side != "ordinary":
            row[f"{side}_steps"] = {name: results[0][name] for name in Acceleration._fields}
    ours = measured["ours"]
    row["ratio"] = round(row["ours"] / row["ordinary"], 3)
    row["compiled_ratio"] = (
        round(row["compiled"] / row["ordinary"], 3) if "compiled" in row else None
    )
    # Time of a step in trainer.fit over its time in a bare loop, minus 1; each round has both.
    costs = [r["bare_rate"] / r["rate"] - 1 for r in ours if "bare_rate" in r]
    row["loop_cost"] = round(median(costs), 4) if costs else None
    row["loop_cost_range"] = [round(min(costs), 4), round(max(costs), 4)] if costs else None
    row["matrix_share"] = None
    if where["matrix_rate"]:
        share = median(r["operations"] * r["rate"] for r in ours) / where["matrix_rate"]
        row["matrix_share"] = round(share, 4)
    return row


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
        cells.append(f"{row['ratio']:.2f}")
        if gpu:
            ratio = row["compiled_ratio"]
            cells.append("" if ratio is None else f"{ratio:.2f}")
        cells += [f"{row[f'{side}_peak_mib']:,}" for side in ("ours", "ordinary")]
        table.add_row(*cells, *([f"{row['matrix_share']:.1%}"] if gpu else []))
    console.print(table)
    for row in rows:
        if row["loop_cost"] is not None:
            cost, (low, high) = row["loop_cost"], row["loop_cost_range"]
            say(
                f"{row['backbone']}, one head: {EPOCH:,} images take {EPOCH / row['ours']:,.2f} s; the loop of "
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
        rows = throughput(args, Console(width=None if sys.stdout.isatty() else 120))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
