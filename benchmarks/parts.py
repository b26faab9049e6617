"""Parts of gpu.py that measure the main backbone case by case: epochs, bare loops, evaluation. Imports no torch."""

from argparse import Namespace
from dataclasses import replace
from itertools import product
from typing import Any

from case import Case
from fresh import fresh, left
from keep import Keep
from rich.console import Console
from rows import Columns, Row, print_table, rows_of_cases
from throughput import EPOCH, PHASES, WARMUP, throughput

from common.training.acceleration import Acceleration

MAIN = "resnet9"


def case_of(args: Namespace, batch_size: int, phase: str = "single") -> Case:
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


def beside_the_ordinary_way(
    args: Namespace,
    console: Console,
    keep: Keep,
    end: float,
    where: dict[str, Any],
    backbone: str = MAIN,
) -> list[Row]:
    """The rows of throughput.py for one backbone: the loop's own cost and the share of the matrix rate among them."""
    settings = {**vars(args), "backbones": [backbone], "rounds": 1}
    return throughput(Namespace(**settings), console, keep, where=where, end=end)


def epochs(args: Namespace, console: Console, keep: Keep, end: float) -> list[Row]:
    """Seconds of a training epoch of `trainer.fit`, by batch size and hparams.compile."""

    def measure(row: Row) -> Row:
        case = replace(case_of(args, row["batch_size"]), compile=row["asked"])
        result = fresh("measure", "ours", case, limit=left(end))
        used = {name: result[name] for name in Acceleration._fields}
        return used | {"rate": result["rate"], "seconds": EPOCH / result["rate"]}

    cases = [
        {"batch_size": size, "asked": mode}
        for size, mode in product(args.epoch_batches, ("auto", "default"))
    ]
    rows = rows_of_cases(cases, measure, console, keep, end)
    columns = {
        "batch size": lambda row: str(row["batch_size"]),
        "compiled": lambda row: row["compile"] or "no",
        "replayed": lambda row: "yes" if row["cuda_graph"] else "no",
        "images/s": lambda row: f"{row['rate']:,.0f}",
        "seconds": lambda row: f"{row['seconds']:.2f}",
    }
    print_table(f"{MAIN}, one head: an epoch of {EPOCH:,} images", columns, rows, console)
    return rows


def variants(args: Namespace, console: Console, keep: Keep, end: float) -> list[Row]:
    """A bare loop over the same steps with the images elsewhere, or the steps replayed or compiled."""
    plain: dict[str, Row] = {}

    def measure(row: Row) -> Row:
        case = case_of(args, args.batch_size, row["phase"])
        result = fresh("bare", case, row["variant"], limit=left(end))
        if row["variant"] == "plain":
            plain[row["phase"]] = result
        pays = _pays(args.batch_size, plain[row["phase"]], result) if row["phase"] in plain else {}
        return result | pays

    cases = [
        {"phase": phase, "variant": name}
        for phase, names in args.variants.items()
        for name in names
    ]
    rows = rows_of_cases(cases, measure, console, keep, end)

    def pays(row: Row) -> str:
        if row["variant"] in ("plain", "pinned") or "pays_after_steps" not in row:
            return ""
        steps = row["pays_after_steps"]
        return "never" if steps is None else f"{steps:,}"

    columns: Columns = {
        "phase": lambda row: row["phase"],
        "variant": lambda row: row["variant"],
        "first step, s": lambda row: f"{row['first']:.2f}",
        "images/s": lambda row: f"{row['rate']:,.0f}",
        "pays after steps": pays,
    }
    title = f"{MAIN}, a bare loop over batches of {args.batch_size}"
    print_table(title, columns, rows, console)
    return rows


def _pays(batch_size: int, plain: Row, result: Row) -> Row:
    """Steps until what a variant saves in each has paid for its longer first one; None: never."""
    saved = batch_size * (1 / plain["rate"] - 1 / result["rate"])
    cost = max(0, result["first"] - plain["first"])
    return {"pays_after_steps": round(cost / saved) if saved > 0 else None}


def evaluation(args: Namespace, console: Console, keep: Keep, end: float) -> list[Row]:
    """Images per second of `trainer.validate` by batch size, plain and compiled; of as many as training has."""

    def measure(row: Row) -> Row:
        size = row["batch_size"]
        warmup = 2  # in which all is compiled: batches have one shape
        steps = args.images // size - warmup
        case = replace(case_of(args, size, "eval"), warmup=warmup, steps=steps)
        case = replace(case, compile=row["compile"] or "auto")
        result = fresh("evaluation", case, limit=left(end))
        return {"steps": steps, "rate": result["rate"], "memory": result["memory"]}

    cases = [
        {"batch_size": size, "compile": mode}
        for size, mode in product(args.evaluation_batches, (None, "default"))
    ]
    rows = rows_of_cases(cases, measure, console, keep, end)
    columns = {
        "batch size": lambda row: f"{row['batch_size']:,}",
        "compiled": lambda row: row["compile"] or "no",
        "images/s": lambda row: f"{row['rate']:,.0f}",
        "MiB": lambda row: f"{row['memory']:,.0f}",
    }
    print_table(f"{MAIN}, {PHASES['dual']}: evaluation", columns, rows, console)
    return rows
