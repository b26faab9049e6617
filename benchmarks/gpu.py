"""All measurements that need a GPU, in one command of under ten minutes:  python benchmarks/gpu.py --json gpu.json.

In the order of --help, each part only if there is time left; `--parts study` takes that one alone. What was measured
stands in the file at once: a part, a case or a process that fails or hangs costs no other, nor does breaking off.
"""

import argparse
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from checks import check_all
from fresh import failure, fresh
from keep import keep_in
from parts import MAIN, beside_the_ordinary_way, case_of, epochs, evaluation, variants
from rich.console import Console
from throughput import EPOCH, check, parser_of, positive
from together import together
from whole_study import whole_study

from common.networks.backbone_names import backbone_names
from common.system.errors import UserError

EPOCH_BATCHES = (256, 512)
EVALUATION_BATCHES = (512, 1024, 2048, 4096)
AT_ONCE = (1, 2, 4)
# Where batches come from, whether steps are replayed, how they are compiled; the first is what the others are compared
# with.
VARIANTS = {
    "single": ("plain", "graph", "graph default", "pinned", "reduce-overhead", "default"),
    "dual": ("plain", "graph", "graph default"),
}
# The backbone of the study that this project follows comes first.
FIRST = "vgg11"


class Need(NamedTuple):
    """Seconds without which a part is not begun, about what it takes; and what it measures."""

    seconds: int
    what: str


NEEDS = {
    "throughput": Need(
        120,
        "ResNet-9 beside the ordinary way: one head, two heads, evaluation; replayed, compiled too",
    ),
    "epochs": Need(70, "seconds of an epoch of ResNet-9 in batches of 256 and 512, compiled too"),
    "checks": Need(
        230,
        "is it right? repeated, stopped and continued, frozen, learning; compiled and replayed steps as plain",
    ),
    "study": Need(
        120,
        "a whole study by phase, of one seed; of up to five in 430 s; seconds to its first step",
    ),
    "variants": Need(
        60, "bare loops over ResNet-9's steps: replayed, compiled, both, pinned memory"
    ),
    "evaluation": Need(
        130, "evaluation of two ResNet-9 in batches of 512 to 4,096, plain and compiled"
    ),
    "together": Need(
        150, "1, 2 and 4 stages at once: images/s together, from which stages_per_gpu follows"
    ),
    "others": Need(
        90, "as throughput, for each of --backbones: VGG-11 before evaluation, the others last"
    ),
}


def measure_all(
    args: argparse.Namespace, console: Console, hardware: dict[str, Any]
) -> dict[str, Any]:
    """Measure what there is time for, print, and give it all by part.

    ``left_out`` names the parts for which the time did not suffice, ``failed`` says why others gave nothing, or not
    all. What there is stands in ``args.json`` at any time.
    """
    end = time.monotonic() + 60 * args.minutes
    found: dict[str, Any] = {"hardware": hardware, "left_out": [], "failed": {}}
    write = keep_in(args.json)

    def attempt(name: str, part: Callable[..., Any], *arguments: Any) -> None:
        def keep(so_far: Any) -> None:
            found[name] = so_far
            write(found)

        kind = name.partition(" ")[0]
        if kind not in args.parts:
            return
        left = end - time.monotonic()
        if left >= NEEDS[kind].seconds:
            console.rule(f"{name} ({left:.0f} s left)")
            try:
                part(args, console, keep, end, *arguments)
            except Exception as error:  # the others' time on a GPU is not to be lost for it
                found["failed"][name] = failure(error)
                console.print(f"{name} failed: {found['failed'][name]}", markup=False)
        if found.get(name) is None and name not in found["failed"]:
            found["left_out"].append(name)
        write(found)

    def attempt_others(backbones: list[str]) -> None:
        for backbone in backbones:
            attempt(f"others {backbone}", beside_the_ordinary_way, hardware, backbone)

    write(found)
    attempt("throughput", beside_the_ordinary_way, hardware, MAIN)
    attempt("epochs", epochs)
    attempt("checks", check_all, case_of(args, args.batch_size))
    attempt("study", whole_study)
    attempt("variants", variants)
    # The first of them matters most, and all of them take longer than there is.
    attempt_others(args.backbones[:1])
    attempt("evaluation", evaluation)
    attempt("together", together)
    attempt_others(args.backbones[1:])
    if found["left_out"]:
        console.print(f"Left out for want of time: {', '.join(found['left_out'])}.")
    return found


def all_is_well(found: dict[str, Any]) -> bool:
    """Whether nothing failed, no part and no case in one, and all that was checked holds."""
    rows = [row for part in found.values() if isinstance(part, list) for row in part]
    rows = [row for row in rows if isinstance(row, dict)]  # left_out holds names
    return not found["failed"] and all(
        "failed" not in row and row.get("holds", True) for row in rows
    )


def parts_in_words() -> str:
    """Say what each part measures, and about how long it takes."""
    lines = [
        "parts, in this order, and about how many seconds each takes (others: for each backbone):"
    ]
    for name, need in NEEDS.items():
        start = f"  {name:<11}{need.seconds:>4} s  "
        lines += textwrap.wrap(
            need.what, 100, initial_indent=start, subsequent_indent=" " * len(start)
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__ or "", "CIFAR-100 as prepared")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = parts_in_words()
    parser.add_argument(
        "--minutes", type=positive, default=9, help="to be done in, about (default: 9)"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=NEEDS, default=[*NEEDS], help="only these (default: all)"
    )
    parser.add_argument(
        "--backbones",
        nargs="+",
        metavar="NAME",
        default=[FIRST, *(name for name in backbone_names() if name not in (MAIN, FIRST))],
        help=f"of the part others, in this order (default: {FIRST}, then all but {MAIN})",
    )
    # Fixed on a GPU; a small trial of the same code on a CPU sets them otherwise.
    parser.set_defaults(
        accelerator="gpu",
        width=1.0,
        batch_size=256,
        steps=150,
        images=EPOCH,
        epoch_batches=EPOCH_BATCHES,
        evaluation_batches=EVALUATION_BATCHES,
        at_once=AT_ONCE,
        variants=VARIANTS,
        study=["--dataset", "cifar100"],
        checks=["dataset=cifar100", "dataset.epochs.single=2", "dataset.epochs.dual=2"],
        together=["dataset=cifar100"],
        ways=((None, True), ("default", True), ("default", False), ("reduce-overhead", False)),
    )
    return parser.parse_args()


def check_backbones(names: list[str]) -> None:
    """Refuse names that no backbone has.

    Raises:
        UserError: names them, and those that there are.
    """
    unknown = [name for name in names if name not in backbone_names()]
    if unknown:
        raise UserError(
            f"There is no backbone {', '.join(unknown)} for --backbones; allowed: {', '.join(backbone_names())}."
        )


def main() -> None:
    """Measure, print, write."""
    args = arguments()
    try:
        check_backbones(args.backbones)
        check(args)
        hardware = fresh("hardware", "auto")
        if hardware["device"] != "cuda":
            raise UserError(
                "There is no GPU that torch can use: benchmarks/throughput.py measures on a CPU."
            )
        found = measure_all(args, Console(width=None if sys.stdout.isatty() else 120), hardware)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if all_is_well(found) else 1)


if __name__ == "__main__":
    main()
