"""The wall time of a whole study by phase:  python benchmarks/pipeline.py --dataset navon --seeds 1.

Runs train_system.py in this process, into a folder that is deleted at the end, and counts where the time goes; with
--json the file is written anew after each stage.
"""

import time

STARTED = time.perf_counter()  # before the imports, which belong to the start-up

import argparse  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from keep import Keep, keep_in, nowhere  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import train_system  # noqa: E402

REST = "the rest"  # the lock, the tables
PARTS = ("images", "features", "training", "evaluation", "analysis", "other")


class Stopwatch:
    """Seconds by arm and part; what runs inside a timed call is counted there and not in the call around it.

    ``first_step`` is when the first training step had been done, compiling and recording included.

    Args:
        keep: is given what is known after each stage.
    """

    def __init__(self, keep: Keep = nowhere) -> None:
        self.keep = keep
        self.ended: list[str] = []
        self.found: dict[str, Any] = {}
        self.first_step: float | None = None
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self.arm = "start-up"
        self.parts = ["other"]
        self.since = STARTED

    def book(self) -> None:
        """Count the time since the last booking to what runs now."""
        now = _now()
        self.seconds[self.arm, self.parts[-1]] += now - self.since
        self.since = now

    def time(self, owner: Any, name: str, part: str) -> None:
        """Count calls of ``owner.name`` to a part."""
        original = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.book()
            self.parts.append(part)
            try:
                return original(*args, **kwargs)
            finally:
                self.book()
                self.parts.pop()

        setattr(owner, name, timed)

    def stages(self, run_stage: Callable[..., None]) -> Callable[..., None]:
        """``run_stage``, with its time counted to the stage's arm."""

        def timed(stage: Any, *args: Any) -> None:
            self.book()
            self.arm = stage.arm
            try:
                run_stage(stage, *args)
                self.ended.append(stage.name)
                self.found[stage.name] = _found(stage.place)
            finally:
                self.book()
                self.arm = REST
                self.keep(self.result())

        return timed

    def first(self, owner: Any, name: str) -> None:
        """Note when the first call of ``owner.name`` has ended."""
        original = getattr(owner, name)

        def noting(*args: Any, **kwargs: Any) -> Any:
            found = original(*args, **kwargs)
            self.first_step = _now() - STARTED
            setattr(owner, name, original)  # later calls pay nothing for it
            return found

        setattr(owner, name, noting)

    def result(self, *, finished: bool = False) -> dict[str, Any]:
        """Give all that is known: seconds so far, until the first step and by phase and part; stages that have ended.

        Of each of these ``found`` holds the test accuracies by level, and how its steps were made fast.
        """
        rows = [
            {"phase": arm, "part": part, "seconds": round(seconds, 2)}
            for (arm, part), seconds in self.seconds.items()
        ]
        step = self.first_step
        return {
            "finished": finished,
            "seconds": round(_now() - STARTED, 2),
            "first_step": None if step is None else round(step, 2),
            "stages": list(self.ended),
            "found": dict(self.found),
            "rows": rows,
        }


def _found(place: Path) -> dict[str, Any]:
    from common.results.rows import read_result

    file = place / "result.yaml"
    result = (read_result(file) if file.is_file() else None) or {}
    tests = (result.get("test") or {}).items()
    return {
        "accuracy": {level: values["accuracy"] for level, values in tests},
        "acceleration": result.get("acceleration"),
    }


def _now() -> float:
    """Seconds, once a GPU has done what it was given."""
    torch = sys.modules.get("torch")  # not before the study itself imports it
    if torch is not None and getattr(torch, "cuda", None) and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def pipeline(overrides: list[str], keep: Keep = nowhere) -> dict[str, Any]:
    """Run a study with these overrides of train_system.py; gives `Stopwatch.result`, and keeps it after each stage."""
    watch = Stopwatch(keep)
    # The study imports these itself; the time of it is start-up either way.
    from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop

    import common.runs.engine as engine
    import common.runs.stage as stage
    from analysis import pipeline as analysis
    from common.data.datamodule import HierarchicalData
    from common.training.module import TrainingModule

    watch.book()
    watch.seconds["start-up", "imports"] = watch.seconds.pop(("start-up", "other"))
    engine.run_stage = watch.stages(engine.run_stage)
    for name in ("load", "load_test", "test_digest"):
        watch.time(HierarchicalData, name, "images")
    watch.time(stage, "keep_features", "features")
    watch.time(stage, "_fit", "training")
    watch.first(TrainingModule, "optimizer_step")
    # Validation within training, and the test.
    watch.time(_EvaluationLoop, "run", "evaluation")
    watch.time(analysis, "analyse_after_training", "analysis")
    argv = sys.argv
    sys.argv = ["train_system.py", *overrides]
    try:
        train_system.main()
    finally:
        sys.argv = argv
    watch.book()
    return watch.result(finished=True)


def print_result(result: dict[str, Any], console: Console) -> None:
    """The table: a line for each phase."""
    parts = [part for part in PARTS if any(row["part"] == part for row in result["rows"])]
    table = Table(title="seconds")
    table.add_column("phase")
    for name in (*parts, "together"):
        table.add_column(name, justify="right")
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in result["rows"]:
        seconds[row["phase"]][row["part"] if row["part"] in parts else "other"] += row["seconds"]
    for phase in sorted(seconds, key=lambda phase: phase == REST):  # last
        spent = seconds[phase]
        cells = [f"{spent[part]:,.1f}" if part in spent else "" for part in parts]
        table.add_row(phase, *cells, f"{sum(spent.values()):,.1f}")
    columns = [sum(spent[part] for spent in seconds.values()) for part in parts]
    table.add_section()
    table.add_row("all", *[f"{column:,.1f}" for column in columns], f"{result['seconds']:,.1f}")
    console.print(table)
    if result["first_step"] is not None:
        console.print(
            f"From the command to the end of its first training step: {result['first_step']:.1f} s."
        )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="cifar100", help="a dataset group (default: cifar100)")
    parser.add_argument("--data-dir", type=Path, help="where it lies (default: as the group says)")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the seconds there too")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="more overrides of train_system.py"
    )
    return parser.parse_args()


def main() -> None:
    """Run, print, write."""
    args = arguments()
    if args.json and not args.json.parent.is_dir():
        print(f"error: There is no folder {args.json.parent} to write to.", file=sys.stderr)
        sys.exit(1)
    about = {"dataset": args.dataset, "seeds": args.seeds}
    keep = keep_in(args.json)
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"dataset={args.dataset}", f"num_seeds={args.seeds}", f"save_dir={folder}"]
        if args.data_dir:
            root = str(args.data_dir.resolve()).replace("'", "\\'")
            overrides.append(f"dataset.root='{root}'")
        overrides += ["exp_name=pipeline", *args.overrides]
        result = pipeline(overrides, lambda found: keep(found | about))
    from measure import hardware  # late: it takes time that is not the study's

    where = hardware("auto")
    result |= about | {"hardware": where}
    keep(result)
    console = Console(width=None if sys.stdout.isatty() else 120)
    print_result(result, console)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    console.print(
        f"{args.dataset}, seeds: {args.seeds} {' '.join(args.overrides)}; {where['name']}, {where['cores']} cores, "
        f"{where['threads']} threads, {where['precision']}; {versions}",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
