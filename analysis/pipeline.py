"""A finished study from its checkpoints to numbers, TensorBoard events and one page."""

import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.networks import network_of
from analysis.progress import analysis_bar
from analysis.report.answer import say
from analysis.report.page import render
from analysis.report.svg import drawn_here, save_figures
from analysis.section import Findings, Section
from analysis.sections import add_sections
from analysis.sections.specialisation import Specialisation
from analysis.seed import Caches, StudyImages, see
from analysis.specialisation.rows import Specialised
from analysis.study import FinishedStage, FinishedStudy, open_study
from analysis.tensorboard import keeps_events, write_events
from analysis.values import Summary, Value
from architectures import ARCHITECTURES
from common.data.datamodule import HierarchicalData
from common.runs.lightning import quieten
from common.runs.per_seed import in_root, root_of
from common.settings.levels import LEVELS, SIDES
from common.system.atomic_files import unwritable, write_text
from common.system.csv_text import as_csv
from common.system.errors import UserError, file_of
from common.system.letters import warn_of_boxes
from common.system.signals import Interrupted
from common.training.module import TrainingModule
from study.arms import REFERENCE

FAILURE = "failure.txt"  # in analysis/: tracebacks of what failed
NO_TREE = (
    "metrics and arms that need a tree of classes; the two labels are independent (nested: false)."
)


def analyse(place: Path) -> Path:
    """Analyse the study in a folder and write ``analysis/`` and ``report.html`` there; gives the report's path.

    Raises:
        UserError: there is no finished study, its data or checkpoints are no longer what they were, or its folder
            cannot be written.
    """
    return _analyse(open_study(place))


def _analyse(study: FinishedStudy) -> Path:
    # Now, and not after minutes of computing.
    refuse_unwritable(study)
    quieten()
    started = time.monotonic()
    place = study.place
    # A step for each network, and one for the page.
    with analysis_bar(len(study.stages) + 1) as step:
        findings = examine(study, step=step)
        report = _write(study, findings, started)
        step()
    _write_failures(place / "analysis" / FAILURE, findings)
    return report


def refuse_unwritable(study: FinishedStudy) -> None:
    """Refuse a study in whose folder no report can be written.

    Raises:
        UserError: names the folder, and why it cannot be written.
    """
    tables = study.place / "analysis"
    events = [stage.place for stage in study.whole().stages if keeps_events(stage)]
    for folder in (study.place, tables, tables / "figures", *events):
        if reason := unwritable(folder):
            raise UserError(
                f"{folder} cannot be written ({reason}), and an analysis leaves its tables and its report in the "
                "run's folder: make it writable or make room, or analyse a copy of the run elsewhere."
            )


def _write(study: FinishedStudy, findings: Findings, started: float) -> Path:
    """Write the tables, the figures and the page; gives the page's path."""
    place = study.place
    write_text(place / "analysis" / "values.csv", as_csv(findings.values.values, Value))
    write_text(place / "analysis" / "summary.csv", as_csv([*findings.values], Summary))
    for name, (kind, rows) in findings.tables.items():
        write_text(place / "analysis" / f"{name}.csv", as_csv(rows, kind))
    report = place / "report.html"
    with drawn_here() as figures:
        page = render(study, findings, seconds=time.monotonic() - started)
    folder = place / "analysis" / "figures"
    save_figures(folder, figures)
    warn_of_boxes({letter for one in figures for letter in one.boxes}, f"the PDF files of {folder}")
    write_text(report, page)
    return report


def analyse_and_say(place: Path, *, data_root: str | None = None) -> str:
    """`analyse`, and give what the terminal says then: the verdicts, and where the report is.

    ``data_root`` is where the study's data set lies now, if that has moved.
    """
    study = open_study(place, data_root=data_root)
    report = _analyse(study)
    return "\n".join([*say(study), f"Report: {report}"])


def _write_failures(file: Path, findings: Findings) -> None:
    """Write the tracebacks of sections that failed, and say so; or delete those of an earlier analysis."""
    file.unlink(missing_ok=True)
    if findings.failures:
        write_text(file, "\n".join(findings.failures.values()))
        names = ", ".join(findings.failures)
        print(f"warning: the report has no {names}: this failed, see {file}.", file=sys.stderr)


def analyse_after_training(place: Path) -> str:
    """`analyse`, and print where the report is; gives a sentence on why that failed, which harms no result, or none."""
    try:
        print(analyse_and_say(place))
    except Interrupted:
        raise
    except UserError as error:
        reason = str(error)
    except OSError as error:  # such as a full disk, which takes no traceback either
        reason = f"{error.strerror or error}: {file_of(error) or place}."
    except Exception as error:
        log = place / "analysis" / FAILURE
        reason = f"{type(error).__name__}, see {log}."
        try:
            write_text(log, traceback.format_exc())
        except OSError as full:
            reason = f"{type(error).__name__}; {log} cannot be written ({full.strerror})."
    else:
        return ""
    again = f"python analyse.py {shlex.quote(f'run={place}')}"
    return f"The results are written, but their analysis failed: {reason} Try: {again}"


def specialised(place: Path, *, data_root: str | None = None) -> Specialised:
    """Measure the specialisation of every network with two hemispheres in a study's folder; writes nothing.

    ``data_root`` is where the study's data set lies now, if that has moved.

    Raises:
        UserError: there is no finished study, its data or checkpoints are no longer what they were, or there is
            nothing to measure.
    """
    quieten()
    study = open_study(place, data_root=data_root)
    if study.tested and not pairs(study.whole()):
        raise UserError(
            f"{place} has no checkpoint of a network with two hemispheres, whose specialisation could be measured; it "
            f"has {', '.join(study.arms)}: train the arm bilateral, or name another study."
        )
    section = Specialisation()
    found = examine(study, [section], events=False)
    if not section.competences:
        why = f": left out was {found.left_out[0]}" if found.left_out else "."
        raise UserError(f"{place} has nothing whose specialisation could be measured{why}")
    return Specialised(section.competences, section.indices)


def examine(
    study: FinishedStudy,
    sections: Sequence[Section] | None = None,
    *,
    events: bool = True,
    step: Callable[[], None] = lambda: None,
) -> Findings:
    """Compute all numbers of a study, and write the TensorBoard events of each stage.

    Args:
        study: whose networks are asked.
        sections: the analyses; by default all.
        events: whether to write TensorBoard events.
        step: is called after each network.

    Raises:
        UserError: the data set is no longer there, or it or a checkpoint is another one.
    """
    if not study.tested:
        sentence = "all that needs test images; nothing was tested (evaluate=false), so they are not looked at here."
        return Findings(left_out=[sentence])
    whole = study.whole()
    found = Findings([*(sections or ())])
    if sections is None:
        add_sections(found)
    found.left_out += [
        f"what {stage.arm}/seed{stage.seed} would show of itself; its checkpoint {stage.checkpoint} is gone."
        for stage in study.stages
        if stage not in whole.stages
    ]
    found.values.level_names |= study.level_names
    if study.independent:
        found.leave_out(NO_TREE)
    found.pairs = pairs(whole)
    if found.pairs:
        found.values.networks |= whole.networks(found.pairs[0])
    sources = ImageSources(whole)
    for seed in sorted({stage.seed for stage in whole.stages}):
        caches: dict[StudyImages, Caches] = {}
        for stage in (stage for stage in whole.stages if stage.seed == seed):
            module = network_of(stage)
            images = sources.of(stage, module)
            found.images = found.images or images.counts()
            cache = caches.setdefault(images, Caches(images, module.device))
            if stage.arm in found.pairs:
                found.add(see(stage, whole, images, module, cache, found.leave_out))
            if events:
                with found.spared("TensorBoard events"):
                    write_events(stage, module, cache.test, images.test)
            step()
    found.finish()
    _say_whose_hemispheres(found, study)
    return found


def _say_whose_hemispheres(found: Findings, study: FinishedStudy) -> None:
    """Say what is left out where there is no bilateral network, or another one stands for it."""
    if not found.pairs:
        having = "no longer has a" if study.of(REFERENCE) else "has no"
        found.leave_out(
            f"all about two hemispheres together; the study {having} bilateral network."
        )
    elif found.pairs[0] != REFERENCE:
        found.leave_out(
            f"the hemispheres of {REFERENCE}, which the study does not have; the bilateral network below is "
            f"{found.pairs[0]}."
        )


def pairs(study: FinishedStudy) -> list[str]:
    """The arms whose networks have a left and a right hemisphere: first the reference, then in the tables' order."""
    first = {arm: next(iter(study.of(arm).values())) for arm in study.arms}
    found = [arm for arm, stage in first.items() if tuple(network_of(stage).network.sides) == SIDES]
    return sorted(found, key=lambda arm: arm != REFERENCE)


class ImageSources:
    """Loads the images of a study's stages, each set once.

    A stage with two heads knows both levels; its images then serve all networks, so that features are shared. Where
    seeds see other images, it is one of the same seed.
    """

    def __init__(self, study: FinishedStudy) -> None:
        self.study = study
        self._loaded: dict[tuple[str, int], StudyImages] = {}

    def of(self, stage: FinishedStage, module: TrainingModule) -> StudyImages:
        """The images that a stage's network is tested on.

        Raises:
            UserError: the network was trained on other images.
        """
        own = self.study.images_per_seed
        source = next(
            (
                one
                for one in self.study.stages
                if {*one.result["validation"]} == {*LEVELS} and (one.seed == stage.seed or not own)
            ),
            stage,
        )
        place = source.arm, source.seed if own else 0
        if place not in self._loaded:
            if own and place[1] not in {seed for _, seed in self._loaded}:
                self._loaded.clear()  # those of an earlier seed take memory, and are done with
            self._loaded[place] = _images(source, self.study.data_root)
        images = self._loaded[place]
        if module.record.train_images != images.data.train_images:
            raise UserError(
                f"{stage.checkpoint} was trained on other images than lie in "
                f"{images.data.cfg.dataset.train_dir} now."
            )
        return images


def _images(stage: FinishedStage, root: str | None) -> StudyImages:
    """The images that a stage was trained and tested on, which lie in ``root`` now, if they have moved.

    Raises:
        UserError: its data set is no longer there, or is another one.
    """
    module = network_of(stage)
    if root is not None:
        own = "set" in (stage.yaml("fingerprint.yaml").get("data") or {})
        place = root_of(root, stage.seed) if own else root
        module.cfg.dataset = in_root(module.cfg.dataset, place)
    data = ARCHITECTURES[module.record.folder].data(module.cfg, seed=0)
    data.load()
    _refuse_other_images(stage, data)
    return StudyImages(data, data.load_test())


def _refuse_other_images(stage: FinishedStage, data: HierarchicalData) -> None:
    """Refuse images that are not those that a stage saw, by the digests of its fingerprint.yaml.

    Raises:
        UserError: names its checkpoint and the folder.
    """
    recorded = stage.yaml("fingerprint.yaml").get("data") or {}
    folders = data.cfg.dataset
    for use, digest, folder in (
        ("train", data.digest, folders.train_dir),
        ("test", data.test_digest(), folders.test_dir),
    ):
        # Earlier versions recorded none.
        if recorded.get(use, digest) != digest:
            raise UserError(
                f"{stage.checkpoint} was {use}ed on other images than lie in {folder} now: put those back, or give "
                "the folder where they lie as dataset.root."
            )
