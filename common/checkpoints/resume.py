"""Find the checkpoint from which an interrupted stage resumes: the last one, or if damaged the one before."""

from pathlib import Path
from typing import Any

from common.checkpoints.files import NEXT, PREVIOUS, RECORD, load
from common.system.errors import UserError

# What Lightning reads beside the weights, and what this project adds.
PARTS = (
    "epoch",
    "global_step",
    "optimizer_states",
    "lr_schedulers",
    "loops",
    "callbacks",
    "metrics",
)


def find_resume_checkpoint(
    name: str, checkpoints: Path, fingerprint: str
) -> tuple[Path, int] | None:
    """Find the checkpoint to resume from and its step; None where there is no undamaged one.

    A damaged file is renamed to ``<file>.damaged``, and a line says so. Without the best weights so far no checkpoint
    can be resumed.

    Args:
        name: name of the stage.
        checkpoints: folder of its checkpoints.
        fingerprint: of the stage, which its checkpoints must record.
    """
    found = [checkpoints / f"{which}.ckpt" for which in ("last", "previous")]
    found = [path for path in found if path.is_file()]
    for path in found:
        content = _load_or_set_aside(path, name, fingerprint)
        if content is None:
            continue
        best = checkpoints / Path(_best(content)).name
        step = content["global_step"]
        settled = _settle(checkpoints, name, fingerprint, step=step)
        if settled and (best == checkpoints or _settle_best(best, name, fingerprint, step=step)):
            if path != found[0]:
                print(f"{name}: goes on from {path}, step {step}")
            return path, step
        break
    if found:
        print(f"{name}: nothing whole is left to continue from, so it starts anew")
    for path in found:
        if path.is_file():
            path.replace(path.with_name(f"{path.name}.unused"))
    for path in checkpoints.glob(f"*{NEXT}"):
        path.unlink()
    remove_previous(checkpoints)
    return None


def remove_previous(checkpoints: Path) -> None:
    """Remove the checkpoint before the last one, and the best weights of its moment."""
    for path in [checkpoints / "previous.ckpt", *checkpoints.glob(f"*{PREVIOUS}")]:
        path.unlink(missing_ok=True)


def _settle(checkpoints: Path, name: str, fingerprint: str, *, step: int) -> bool:
    """Let the files that were written with the checkpoint of ``step`` take their places; say whether they are whole.

    Those of a later step were written with another checkpoint, which is not there.
    """
    whole = True
    for path in checkpoints.glob(f"*{NEXT}"):
        content = _load_or_set_aside(path, name, fingerprint, parts=())
        if content is None:
            whole = False
        elif content["global_step"] <= step:
            path.replace(path.with_name(path.name.removesuffix(NEXT)))
        else:
            path.unlink()
    return whole


def _settle_best(best: Path, name: str, fingerprint: str, *, step: int) -> bool:
    """Bring back the best weights up to ``step``, if later ones took their place; say whether they are whole."""
    content = _load_or_set_aside(best, name, fingerprint, parts=())
    earlier = best.with_name(f"{best.name}{PREVIOUS}")
    if content is not None and content["global_step"] > step and earlier.is_file():
        earlier.replace(best)
        content = _load_or_set_aside(best, name, fingerprint, parts=())
    return content is not None


def _load_or_set_aside(
    path: Path, name: str, fingerprint: str, parts: tuple[str, ...] = PARTS
) -> dict[str, Any] | None:
    """Load a checkpoint of the stage; give None after renaming a file that is damaged or another stage's."""
    try:
        content = load(path)
        record = content[RECORD]
        owner = f"{record['arm']}/seed{record['seed']}"
        known = record["fingerprint"] == fingerprint and owner == name
        if not known or not set(parts) <= set(content):
            raise UserError(f"{path} is not a checkpoint of this stage.")
    except (UserError, KeyError, TypeError):
        if path.is_file():
            aside = path.with_name(f"{path.name}.damaged")
            path.replace(aside)
            print(f"{name}: {path} is damaged; it is set aside as {aside.name}")
        else:
            print(f"{name}: {path} is gone")
        return None
    return content


def _best(content: dict[str, Any]) -> str:
    """Give the path that the best weights had when a checkpoint was written; empty before the first validation."""
    states = content["callbacks"]
    return next(
        (
            state["best_model_path"]
            for key, state in states.items()
            if key.startswith("BestCheckpoint")
        ),
        "",
    )
