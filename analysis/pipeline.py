"""A finished study from its checkpoints to numbers, TensorBoard events and one page."""

import sys
import time
import traceback
from pathlib import Path

from analysis.hemispheres import Findings, Hemispheres
from analysis.networks import FeatureCache, load
from analysis.report import render
from analysis.study import FinishedStage, FinishedStudy, open_study
from analysis.tensorboard import write_events
from analysis.values import Summary, Value, as_csv
from architectures import ARCHITECTURES
from common.data.datamodule import HierarchicalData, ImageSet
from common.runs.lightning import quieten
from common.settings.levels import LEVELS
from common.system.atomic_files import write_text
from common.system.errors import UserError
from common.system.signals import Interrupted


def analyse(place: Path) -> Path:
    """Analyse the study in a folder and write ``analysis/`` and ``report.html`` there; gives the report's path.

    Raises:
        UserError: there is no finished study, or its data or checkpoints are no longer what they were.
    """
    quieten()
    started = time.monotonic()
    study = open_study(place)
    findings = examine(study)
    write_text(place / "analysis" / "values.csv", as_csv(findings.values.values, Value))
    write_text(place / "analysis" / "summary.csv", as_csv([*findings.values], Summary))
    report = place / "report.html"
    write_text(report, render(study, findings, seconds=time.monotonic() - started))
    return report


def analyse_after_training(place: Path) -> None:
    """`analyse`, and say where the report is; what fails here is said and harms no result."""
    try:
        print(f"Report: {analyse(place)}")
    except Interrupted:
        raise
    except UserError as error:
        reason = str(error)
    except Exception as error:
        log = place / "analysis" / "failure.txt"
        write_text(log, traceback.format_exc())
        reason = f"{type(error).__name__}, see {log}."
    else:
        return
    print(
        f"warning: the results are written, but their analysis failed: {reason} Try: python analyse.py run={place}",
        file=sys.stderr,
    )


def examine(study: FinishedStudy) -> Findings:
    """All numbers of a study; writes each stage's TensorBoard events on the way.

    Raises:
        UserError: the data set is no longer there, or it or a checkpoint is another one.
    """
    if not study.tested:
        sentence = "all that needs test images; nothing was tested (evaluate=false), so they are not looked at here."
        return Findings(left_out=[sentence])
    finished, study = study, study.whole()
    gone = [
        f"what {stage.arm}/seed{stage.seed} would show of itself; its checkpoint {stage.checkpoint} is gone."
        for stage in finished.stages
        if stage not in study.stages
    ]
    # A stage with two heads knows both levels; its data then serve all networks, so that images see them once.
    with_both = next((stage for stage in study.stages if stage.arm not in LEVELS), None)
    hemispheres: Hemispheres | None = None
    sets: dict[str, tuple[HierarchicalData, ImageSet]] = {}
    for seed in sorted({stage.seed for stage in study.stages}):
        caches: dict[str, FeatureCache] = {}
        for stage in (stage for stage in study.stages if stage.seed == seed):
            module = load(stage.checkpoint)
            source = with_both or stage
            if source.arm not in sets:
                sets[source.arm] = _data(source)
            data, test = sets[source.arm]
            if module.record.train_images != data.train_images:
                raise UserError(
                    f"{stage.checkpoint} was trained on other images than lie in {data.cfg.dataset.train_dir} now."
                )
            cache = caches.setdefault(source.arm, FeatureCache(test.images))
            if stage.arm == "bilateral":
                hemispheres = hemispheres or Hemispheres(study, data, test)
                hemispheres.examine(seed, module, cache)
            write_events(stage, module, cache, test)
    if hemispheres is None:
        having = "no longer has a" if finished.of("bilateral") else "has no"
        sentence = f"all about two hemispheres together; the study {having} bilateral network."
        return Findings(left_out=[*gone, sentence])
    hemispheres.findings.left_out[:0] = gone
    return hemispheres.findings


def _data(stage: FinishedStage) -> tuple[HierarchicalData, ImageSet]:
    """The images that a stage was trained and tested on."""
    module = load(stage.checkpoint)
    data = ARCHITECTURES[module.record.folder].data(module.cfg, seed=0)
    data.load()
    return data, data.load_test()
