"""What measures of specialisation say in words."""

from analysis.report.cells import decimal
from analysis.specialisation import measures
from analysis.specialisation.tasks import COARSE, TASKS, WITHIN
from analysis.values import Summary, Values
from common.settings.levels import SIDES

TASK_NAMES = {WITHIN: "the fine class within the coarse one", COARSE: "the coarse class"}
FEWEST = 3  # seeds, for an interval


def interval(summary: Summary | None) -> measures.Interval | None:
    """Student's 95 % interval over seeds; None with fewer than three of them."""
    if summary is None or summary.seeds < FEWEST:
        return None
    if summary.ci95_low is None or summary.ci95_high is None:
        return None
    return summary.ci95_low, summary.ci95_high


def deaths(values: Values, arm: str) -> list[str]:
    """A sentence for each hemisphere that is dead on a task in any seed."""
    found = []
    for task in TASKS:
        for side in SIDES:
            low = {
                seed: kappas[arm]
                for seed, kappas in values.by_seed("competence", task, side).items()
                if arm in kappas and kappas[arm] < measures.DEAD
            }
            if low:
                seeds = f"seed{'s' * (len(low) > 1)} {', '.join(map(str, low))}"
                found.append(
                    f"The {side} hemisphere of {arm} is dead on {TASK_NAMES[task]} in {seeds}: its competence is at "
                    f"most {decimal(max(low.values()), 2)}, under {measures.DEAD:g}, so no index is given there."
                )
    return found


def verdict(values: Values, arm: str) -> str:
    """Which dissociation the simple effects of an arm show: double, single, none, or that it cannot be said."""
    effects = {task: values.get("simple effect", task, item=arm) for task in TASKS}
    intervals = [interval(one) for one in effects.values()]
    if any(one is None for one in effects.values()):
        return "not defined: a hemisphere is dead on a task"
    if intervals[0] is None or intervals[1] is None:
        return f"not shown: an interval takes {FEWEST} independent seeds"
    if measures.is_double(intervals[0], intervals[1]):
        return "double"
    shown = sum(measures.excludes_zero(one) for one in intervals if one is not None)
    return ("none shown", "single", "none: the advantages have one sign")[shown]


def sentence(values: Values, arm: str) -> str:
    """What the two hemispheres of an arm can do, and which dissociation that is."""
    parts = []
    for task in TASKS:
        left, right = (values.get("competence", task, side, arm) for side in SIDES)
        if left is None or right is None:
            continue
        words = f"on {TASK_NAMES[task]} {decimal(left.mean, 2)} and {decimal(right.mean, 2)}"
        index = values.get("laterality", task, item=arm)
        words += f" (laterality {decimal(index.mean, 2, plus=True)})" if index else ""
        parts.append(words)
    return (
        f"The competences of the left and the right hemisphere of {arm} are {'; '.join(parts)}. "
        f"Double dissociation: {verdict(values, arm)}."
    )
