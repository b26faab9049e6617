"""What measures of specialisation say in words."""

from analysis.report.cells import decimal
from analysis.specialisation import measures
from analysis.specialisation.tasks import COARSE, FINE, TASKS, WITHIN
from analysis.values import Summary, Values
from common.results.intervals import FEWEST
from common.settings.levels import SIDES

TASK_NAMES = {
    WITHIN: "the fine class within the coarse one",
    FINE: "the fine class",
    COARSE: "the coarse class",
}


def deaths(values: Values, arm: str) -> str:
    """A sentence on the hemispheres of an arm that are dead on a task in any seed; empty if none is."""
    found = []
    for side in SIDES:
        for task in TASKS:
            low = {
                seed: kappas[arm]
                for seed, kappas in values.by_seed("competence", task, side).items()
                if arm in kappas and kappas[arm] < measures.DEAD
            }
            if low:
                seeds = f"seed{'s' * (len(low) > 1)} {', '.join(map(str, low))}"
                highest = decimal(max(low.values()), 3)
                found.append(
                    f"the {side} hemisphere is dead on {TASK_NAMES[task]} (competence at most {highest}, {seeds})"
                )
    if not found:
        return ""
    return f"In {arm}, {'; '.join(found)}: it knows next to nothing of that task."


def of_fewer(summary: Summary, seeds: int) -> str:
    """Say of how many seeds a number is, where others beside it are of more: " in 1 of 2 seeds"; else nothing."""
    return f" in {summary.seeds} of {seeds} seeds" if summary.seeds < seeds else ""


VERDICTS = {
    "double": "This is a double dissociation: each hemisphere is better at one task, and both intervals exclude 0.",
    "single": (
        "This is a single dissociation: the seeds show that the hemispheres differ on one task, and not as much, or "
        "not in that direction, on the other."
    ),
    "one shown": (
        "No dissociation is shown: the seeds show that the hemispheres differ on one task, but on the other they may "
        "differ as much (the interval of D includes 0)."
    ),
    "more at one": (
        "This is a single dissociation: one hemisphere is better at both tasks, and more so at one of them (the "
        "interval of D excludes 0)."
    ),
    "one better": "No dissociation is shown: one hemisphere is better at both tasks (the interval of D includes 0).",
    "none shown": "No dissociation is shown: on neither task do the seeds show a difference.",
    "too few seeds": f"Whether this is a dissociation cannot be said: it takes {FEWEST} seeds.",
    "no intervals": (
        "Whether this is a dissociation cannot be said: where all seeds agree exactly, or share all their networks, "
        "there is no interval."
    ),
    "one task": "No dissociation is given, because the set has not both tasks.",
    "same networks": (
        "No dissociation is given: over the seeds, the left and the right hemispheres are the same networks in "
        "another order, so that their differences are 0 by construction."
    ),
}


def tasks_of(values: Values, arm: str) -> tuple[str, str]:
    """The two tasks that an arm is asked: those of nested classes, or two independent labels."""
    independent = values.get("competence", FINE, "left", arm) is not None
    return (FINE if independent else WITHIN), COARSE


def verdict(values: Values, arm: str) -> str:
    """Which dissociation the simple effects of an arm and D show, one of `VERDICTS`."""
    tasks = tasks_of(values, arm)
    effects = [values.get("simple effect", task, item=arm) for task in tasks]
    double = values.get("double dissociation", item=arm)
    if double is None:
        known = [values.get("competence", task, "left", arm) for task in tasks]
        return "one task" if None in known else "same networks"
    if double.seeds < FEWEST:
        return "too few seeds"
    within, coarse = (one.interval if one else None for one in effects)
    if within is None or coarse is None:
        return "no intervals"
    if measures.is_double(within, coarse):
        return "double"
    shown = measures.excludes_zero(within) + measures.excludes_zero(coarse)
    if not shown:
        return "none shown"
    # That one difference is shown, and not the other, does not show that they differ; nor do two of one sign.
    apart = double.interval is not None and measures.excludes_zero(double.interval)
    if shown == 1:
        return "single" if apart else "one shown"
    return "more at one" if apart else "one better"


def sentence(values: Values, arm: str) -> str:
    """What the two hemispheres of an arm can do, and which dissociation that is."""
    parts = []
    for task in TASKS:
        left, right = (values.get("competence", task, side, arm) for side in SIDES)
        if left is None or right is None:
            continue
        words = f"on {TASK_NAMES[task]} {decimal(left.mean, 2)} and {decimal(right.mean, 2)}"
        if index := values.get("laterality", task, item=arm):
            laterality = f"laterality {decimal(index.mean, 2, plus=True)}"
            words += f" ({laterality}{of_fewer(index, left.seeds)})"
        parts.append(words)
    return (
        f"The competences of the left and the right hemisphere of {arm} are {'; '.join(parts)}. "
        f"{VERDICTS[verdict(values, arm)]}"
    )
