"""All measurements that need a GPU, in one command of under ten minutes:  python benchmarks/gpu.py --json gpu.json.

In this order, each only if there is time left: ResNet-9 beside the ordinary way, epochs, whether what runs is right
(checks.py), a study of as many of five seeds as there is time for, steps that are replayed and compiled, the other
backbones beside the ordinary way. `--parts study` takes that one alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from case import Case
from checks import check_all
from fresh import failure, fresh
from pipeline import print_result
from rich.console import Console
from rich.table import Table
from throughput import EPOCH, WARMUP, check, parser_of, positive, throughput

from common.networks.backbone_names import backbone_names
from common.system.errors import UserError
from common.training.acceleration import Acceleration

MAIN = "resnet9"
EPOCH_BATCHES = (256, 512)
# Where batches come from, whether steps are replayed, how they are compiled; the first is what the others are compared
# with.
VARIANTS = {
    "single": ("plain", "graph", "graph default", "pinned", "reduce-overhead", "default"),
    "dual": ("plain", "graph", "graph default"),
}
# Seconds without which a part is not begun: about what it takes.
NEEDS = {"throughput": 120, "epochs": 70, "checks": 230, "study": 120, "variants": 60, "others": 90}
# Seconds that a study takes beside its seeds, and for each of these, of which there are at most so many.
START, SEED, SEEDS = 30, 80, 5


def measure_all(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Measure what there is time for, print, and give it all by part.

    ``left_out`` names the parts for which the time did not suffice, ``failed`` says why others gave nothing. What
    is there after each part is written to ``args.json``.
    """
    end = time.monotonic() + 60 * args.minutes
    found: dict[str, Any] = {
        "hardware": fresh("hardware", args.accelerator),
        "left_out": [],
        "failed": {},
    }

    def attempt(name: str, part: Callable[..., Any], *arguments: Any) -> None:
        if name.partition(" ")[0] not in args.parts:
            return
        left = end - time.monotonic()
        if left >= NEEDS[name.partition(" ")[0]]:
            console.rule(f"{name} ({left:.0f} s left)")
            try:
                found[name] = part(args, console, *arguments)
            except Exception as error:  # the others' time on a GPU is not to be lost for it
                found["failed"][name] = failure(error)
                console.print(f"{name} failed: {found['failed'][name]}", markup=False)
        if found.get(name) is None and name not in found["failed"]:
            found["left_out"].append(name)
        if args.json:
            args.json.write_text(json.dumps(found, indent=2, default=str) + "\n", encoding="utf-8")

    attempt("throughput", beside_the_ordinary_way, MAIN, 1)
    attempt("epochs", epochs)
    attempt("checks", check_all, case_of(args, args.batch_size), end)
    attempt("study", study, end)
    attempt("variants", variants, end)
    for backbone in args.others:
        attempt(f"others {backbone}", beside_the_ordinary_way, backbone, 1)
    if found["left_out"]:
        console.print(f"Left out for want of time: {', '.join(found['left_out'])}.")
    return found


def beside_the_ordinary_way(
    args: argparse.Namespace, console: Console, backbone: str, rounds: int
) -> list[dict[str, Any]]:
    """The rows of throughput.py for one backbone: the loop's own cost and the share of the matrix rate among them."""
    settings = {**vars(args), "backbones": [backbone], "rounds": rounds, "minutes": 3}
    return throughput(argparse.Namespace(**settings), console)


def epochs(args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Seconds of a training epoch of `trainer.fit`, by batch size and hparams.compile."""
    rows: list[dict[str, Any]] = []
    for batch_size, mode in product(args.epoch_batches, ("auto", "default")):
        case = replace(case_of(args, batch_size), compile=mode)
        result = fresh("measure", "ours", case)
        used = {name: result[name] for name in Acceleration._fields}
        rate = result["rate"]
        rows.append({"batch_size": batch_size, **used, "rate": rate, "seconds": EPOCH / rate})
    table = Table(title=f"{MAIN}, one head: an epoch of {EPOCH:,} images")
    for name in ("batch size", "compiled", "replayed", "images/s", "seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        cells = [
            str(row["batch_size"]),
            row["compile"] or "no",
            "yes" if row["cuda_graph"] else "no",
        ]
        table.add_row(*cells, f"{row['rate']:,.0f}", f"{row['seconds']:.2f}")
    console.print(table)
    return rows


def variants(args: argparse.Namespace, console: Console, end: float) -> list[dict[str, Any]]:
    """A bare loop over the same steps with the images elsewhere, or the steps replayed or compiled."""
    rows: list[dict[str, Any]] = []
    for phase, names in args.variants.items():
        for name in names:
            if time.monotonic() > end:
                break
            try:
                result = fresh("bare", case_of(args, args.batch_size, phase), name)
            except Exception as error:  # the others are not to be lost for it
                rows.append({"phase": phase, "variant": name, "failed": failure(error)})
                console.print(f"{phase}, {name} failed: {rows[-1]['failed']}", markup=False)
                continue
            rows.append({"phase": phase, "variant": name, **result})
            plain = next(row for row in rows if row["phase"] == phase)
            if "failed" in plain:
                continue
            # Steps until what a variant saves in each has paid for its longer first one.
            saved = args.batch_size * (1 / plain["rate"] - 1 / result["rate"])
            cost = max(0, result["first"] - plain["first"])
            rows[-1]["pays_after_steps"] = round(cost / saved) if saved > 0 else None
    table = Table(title=f"{MAIN}, a bare loop over batches of {args.batch_size}")
    for name in ("phase", "variant"):
        table.add_column(name)
    for name in ("first step, s", "images/s", "pays after steps"):
        table.add_column(name, justify="right")
    for row in rows:
        if "failed" in row:
            continue
        pays = row.get("pays_after_steps")
        pays = "never" if pays is None else f"{pays:,}"
        cells = [
            f"{row['first']:.2f}",
            f"{row['rate']:,.0f}",
            pays if row["variant"] != "pinned" else "",
        ]
        table.add_row(row["phase"], row["variant"], *cells)
    console.print(table)
    return rows


def case_of(args: argparse.Namespace, batch_size: int, phase: str = "single") -> Case:
    """A measurement of the main backbone; never longer than an epoch."""
    device = "cuda" if args.accelerator != "cpu" else "cpu"
    fits = args.images // batch_size - WARMUP[device]
    return Case(
        phase=phase,
        backbone=MAIN,
        data_dir=args.data_dir,
        width=args.width,
        batch_size=batch_size,
        warmup=WARMUP[device],
        steps=min(args.steps, fits),
        accelerator=args.accelerator,
    )


def study(args: argparse.Namespace, console: Console, end: float) -> dict[str, Any] | None:
    """A study by pipeline.py, of as many seeds as there is time for; None if it does not end in time."""
    seeds = max(1, min(SEEDS, int((end - time.monotonic() - START) / SEED)))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.json"
        command = [sys.executable, str(Path(__file__).with_name("pipeline.py"))]
        command += ["--data-dir", str(args.data_dir), "--json", str(file), "--seeds", str(seeds)]
        command += args.study
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=end - time.monotonic(),
                env={**os.environ, "TMPDIR": folder},  # what it writes goes with this folder
            )
        except subprocess.TimeoutExpired:
            return None
        if done.returncode:
            raise UserError(
                f"The study failed: {(done.stderr.strip() or 'no word').splitlines()[-1]}"
            )
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    print_result(result, console)
    return result


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__ or "", "CIFAR-100 as prepared")
    parser.add_argument(
        "--minutes", type=positive, default=9, help="to be done in, about (default: 9)"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=NEEDS, default=[*NEEDS], help="only these (default: all)"
    )
    # Fixed on a GPU; a small trial of the same code on a CPU sets them otherwise.
    parser.set_defaults(
        accelerator="gpu",
        width=1.0,
        batch_size=256,
        steps=80,
        images=EPOCH,
        epoch_batches=EPOCH_BATCHES,
        variants=VARIANTS,
        others=[backbone for backbone in backbone_names() if backbone != MAIN],
        study=["--dataset", "cifar100"],
        checks=["dataset=cifar100", "dataset.epochs.single=2", "dataset.epochs.dual=2"],
        ways=((None, True), ("default", True), ("default", False), ("reduce-overhead", False)),
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    args = arguments()
    try:
        check(args)
        if fresh("hardware", "auto")["device"] != "cuda":
            raise UserError(
                "There is no GPU that torch can use: benchmarks/throughput.py measures on a CPU."
            )
        found = measure_all(args, Console(width=None if sys.stdout.isatty() else 120))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    wrong = [one["name"] for one in found.get("checks") or () if not one["holds"]]
    sys.exit(1 if found["failed"] or wrong else 0)


if __name__ == "__main__":
    main()
