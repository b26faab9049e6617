"""What a file says of itself: damage is told from a passing fault, and nothing in it is taken on trust."""

import errno
import io
import json
import math
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import analyse
import arch_dual_head.trainer
import bilateral
import export
import predict
from common.checkpoints.files import RECORD, load, read
from common.checkpoints.resume import find_resume_checkpoint
from common.results.rows import write_result
from common.runs.description import Stage
from common.runs.pairing import set_other_pairing_aside
from common.system.atomic_files import write_text
from common.system.errors import UserError

# A file that cannot be read now


def saved(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"network.w": torch.zeros(4096)}, RECORD: {}}, file)
    return file


class Failing(io.BufferedReader):
    """A file whose later parts cannot be read."""

    def __init__(self, file: Path, error: Exception, *, after: int) -> None:
        super().__init__(io.FileIO(file))
        self.error, self.left = error, after

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.error

    def read(self, *size):
        self._count()
        return super().read(*size)

    def readinto(self, buffer):
        self._count()
        return super().readinto(buffer)


PASSING = [
    (OSError(errno.EIO, "Input/output error"), errno.EIO),
    (OSError(errno.ESTALE, "Stale file handle"), errno.ESTALE),
    (OSError(errno.EMFILE, "Too many open files"), errno.EMFILE),
    (MemoryError(), errno.ENOMEM),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        errno.ENOMEM,
    ),
]


@pytest.mark.parametrize("after", [0, 3, 16, 24])
@pytest.mark.parametrize(("error", "number"), PASSING)
def test_a_fault_that_passes_is_no_damage(error, number, after, tmp_path, monkeypatch):
    file = saved(tmp_path / "checkpoints/last.ckpt")
    monkeypatch.setattr(Path, "open", lambda path, mode: Failing(path, error, after=after))
    with pytest.raises(OSError, match=r"last\.ckpt") as caught:
        load(file)
    assert caught.value.errno == number
    with pytest.raises(OSError, match=r"last\.ckpt"):
        find_resume_checkpoint("fine/seed0", file.parent, "")
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


def test_too_many_open_files_is_no_damage(tmp_path, monkeypatch):
    file = saved(tmp_path / "last.ckpt")

    def refused(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(file))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(OSError, match="Too many open files"):
        load(file)


def test_a_table_of_contents_that_leads_nowhere_is_damage(tmp_path):
    file = tmp_path / "last.ckpt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data/0", bytes(64))
    content = bytearray(file.read_bytes())
    # The size of the table, which stands 12 bytes after the mark of its end: it would begin before the file does.
    place = content.rfind(b"PK\x05\x06") + 12
    content[place : place + 4] = b"\xff\xff\x00\x00"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt is"):
        load(file)


def test_a_part_that_is_listed_many_times_is_refused_unread(tmp_path, monkeypatch):
    file = tmp_path / "many.ckpt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data/0", bytes(2**16))
        archive.filelist *= 1000
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("it was read"))
    with pytest.raises(UserError, match=r"many\.ckpt is refused"):
        load(file)


# What a record may say


def says(**fields):
    """Put something else into fields of the record."""
    return lambda content: content[RECORD].update(fields)


def configured(name: str, value: object):
    """Put something else into a key of the recorded configuration."""

    def change(content: dict) -> None:
        node = content[RECORD]["config"]
        *sections, last = name.split(".")
        for section in sections:
            node = node[section]
        node[last] = value

    return change


def without(name: str):
    """Take a key or a section out of the recorded configuration."""

    def change(content: dict) -> None:
        node = content[RECORD]["config"]
        *sections, last = name.split(".")
        for section in sections:
            node = node[section]
        del node[last]

    return change


def fewer_names(content: dict) -> None:
    content[RECORD]["class_names"]["fine"].pop()


def other_levels(content: dict) -> None:
    record = content[RECORD]
    for name in ("label_ids", "class_names"):
        record[name] = {"coarse": record[name]["coarse"]}


def weights(value: object):
    return lambda content: content.update(state_dict=value)


def one_weight(make):
    def change(content: dict) -> None:
        name = next(name for name in content["state_dict"] if name.startswith("network."))
        content["state_dict"][name] = make(content["state_dict"][name])

    return change


CYCLE: list = []
CYCLE.append(CYCLE)
HOSTILE = [
    says(folder=[1]),
    says(folder="arch_dual_head/../x"),
    says(arm="../../w"),
    says(arm=["bilateral"]),
    says(seed=True),
    says(unknown=1),
    says(mean="x"),
    says(mean=[0.5, 0.5]),
    says(mean=[math.nan] * 3),
    says(std=[1.0, "1", 1.0]),
    says(std=[1.0, 0.0, 1.0]),
    says(std=[]),
    says(label_ids=[1]),
    says(label_ids={"fine": [0], "medium": [0]}),
    says(label_ids={}, class_names={}),
    says(class_names={"fine": [0], "coarse": ["a"]}),
    fewer_names,
    other_levels,
    says(coarse_of_fine=[20] * 100),
    says(coarse_of_fine=[0] * 7),
    says(image_size=[0, 32]),
    says(image_size=[32]),
    says(image_size=[10**9] * 2),
    says(fingerprint=CYCLE),
    says(fingerprint=torch.zeros(1)),
    says(seeds=3),
    says(config={}),
    says(config=CYCLE),
    says(config={"hparams": {}}),
    without("dataset.crop_padding"),
    configured("hparams", [1]),
    configured("hparams.fine_width", "${oc.env:HOME}"),
    configured("dataset.name", "${oc.env:HOME}"),
    configured("hparams.model_path_fine", ["${oc.env:HOME}"]),
    configured("hparams.fine_width", 1e9),
    configured("hparams.farch", "abacus"),
    configured("hparams.farch", {"a": 1}),
    configured("hparams.dropout", "much"),
    configured("hparams.fine_residual", None),
    configured("hparams.model_path_fine", CYCLE),
    configured("hparams.macro_arch", "ensemble"),
    lambda content: content.update({RECORD: CYCLE}),
    weights([1]),
    weights({1: 2}),
    weights({}),
    one_weight(lambda w: "x"),
    one_weight(lambda w: w.to_sparse()),
    one_weight(lambda w: w.to("meta")),
    one_weight(lambda w: torch.zeros(1).expand(2**40)),
]


@pytest.fixture
def changed(checkpoints, tmp_path):
    """The bilateral network's checkpoint with something else in it, in the checkpoints of a run."""

    def make(change) -> Path:
        file = tmp_path / "a/b/checkpoints/best.ckpt"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = torch.load(checkpoints["bilateral"], weights_only=True)
        change(content)
        torch.save(content, file)
        return file

    return make


def test_what_was_written_is_a_record(checkpoints):
    for file in checkpoints.values():
        record, _ = read(file)
        written = torch.load(file, weights_only=True)[RECORD]
        assert record.as_dict() == written


def test_an_older_checkpoint_has_fewer_keys_and_gets_their_defaults(changed):
    def older(content: dict) -> None:
        config = content[RECORD]["config"]
        for name in ("fine_k", "coarse_per_k", "fine_plasticity", "fine_residual", "compile"):
            del config["hparams"][name]
        del config["arm"], config["dataset"]["batch_size"], config["dataset"]["memory_gb"]
        del content[RECORD]["coarse_of_fine"]
        config["hparams"]["gone_since"] = 3

    trained = bilateral.load(changed(older))
    hparams = trained.record.config["hparams"]
    later = [hparams[name] for name in ("fine_k", "fine_plasticity", "fine_residual")]
    assert later == [None, 1.0, True]
    assert trained.levels == ("fine", "coarse")


def is_refused(error: object, file: Path) -> None:
    """In one sentence of ordinary length that names the file."""
    sentence = str(error)
    assert len(sentence.splitlines()) == 1
    assert len(sentence) < 600
    assert str(file) in sentence


@pytest.mark.parametrize("change", HOSTILE)
def test_what_no_training_writes_is_refused_by_its_file(change, changed):
    file = changed(change)
    with pytest.raises(UserError) as caught:
        bilateral.load(file)
    is_refused(caught.value, file)


def test_a_key_of_another_value_is_named(changed):
    file = changed(configured("hparams.dropout", "much"))
    with pytest.raises(
        UserError, match=r"best\.ckpt is damaged .*hparams\.dropout.*much.*train it"
    ):
        bilateral.load(file)


def test_a_field_of_a_later_version_is_named(changed):
    file = changed(says(handedness="left"))
    with pytest.raises(UserError, match="a later one may have written its field 'handedness'"):
        bilateral.load(file)


@pytest.mark.parametrize("key", ["farch", "carch"])
def test_a_backbone_whose_file_is_gone_is_asked_for_and_nothing_called_damaged(key, changed):
    file = changed(configured(f"hparams.{key}", "abacus"))
    with pytest.raises(UserError, match="put its file back") as caught:
        bilateral.load(file)
    is_refused(caught.value, file)
    assert f"needs the backbone 'abacus' (hparams.{key})" in str(caught.value)
    assert "damaged" not in str(caught.value)


HEMISPHERES = ["hparams.model_path_fine={file}", "hparams.model_path_coarse={coarse}"]
MEMBERS = ["hparams.macro_arch=ensemble", "hparams.model_path_fine=[{file},{unilateral}]"]


@pytest.mark.parametrize(
    ("arm", "given", "change"),
    [
        ("fine", HEMISPHERES, says(mean=[0.5, 0.5])),
        ("fine", HEMISPHERES, says(fingerprint=CYCLE)),
        ("fine", HEMISPHERES, says(config=CYCLE)),
        ("fine", HEMISPHERES, says(config={"hparams": {}})),
        ("fine", HEMISPHERES, configured("hparams.arch", "abacus")),
        ("fine", HEMISPHERES, configured("hparams.low_pass", "deep")),
        ("fine", HEMISPHERES, weights([1])),
        ("unilateral", MEMBERS, configured("hparams.fine_width", "${oc.env:HOME}")),
    ],
)
def test_a_damaged_part_of_a_network_is_refused_by_its_file(
    arm, given, change, checkpoints, tiny, in_process, tmp_path
):
    content = torch.load(checkpoints[arm], weights_only=True)
    content[RECORD]["config"]["hparams"]["high_pass"] = 1.0
    change(content)
    file = tmp_path / "part.ckpt"
    torch.save(content, file)
    paths = [one.format(file=file, **checkpoints) for one in given]
    status, _, err = in_process(
        arch_dual_head.trainer.main, *tiny, *paths, f"save_dir={tmp_path}", "evaluate=false"
    )
    assert status == 1
    is_refused(err.strip(), file)


def test_an_export_lands_beside_its_checkpoint_or_nowhere(changed, in_process, tmp_path):
    file = changed(says(arm="../../w"))
    status, _, err = in_process(export.main, f"checkpoint={file}", "format=torch")
    assert status == 1
    assert err.startswith(f"error: {file} is damaged")
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["best.ckpt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.fill_(math.nan), "numbers that are not finite"),
        (lambda w: w / 0, "numbers that are not finite"),
        (lambda w: w.to(torch.int64), r"is torch\.int64 there and torch\.float32 here"),
    ],
)
def test_weights_of_no_finite_numbers_or_of_another_kind_are_refused(change, said, changed):
    def spoil(content):
        state = content["state_dict"]
        name = next(name for name in state if name.startswith("network.heads"))
        state[name] = change(state[name].clone())

    with pytest.raises(UserError, match=rf"best\.ckpt .*{said}"):
        bilateral.load(changed(spoil))


def test_answers_that_are_no_numbers_are_refused(changed):
    trained = bilateral.load(changed(one_weight(lambda w: w.fill_(1e38))))
    with pytest.raises(UserError, match="bilateral/seed0 answers with numbers that are not finite"):
        trained.predict(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8))


def test_images_too_small_for_the_recorded_network_name_the_file(changed):
    file = changed(says(image_size=[1, 1]))
    with pytest.raises(UserError, match=r"best\.ckpt is damaged .*: Images of 1 x 1 pixels"):
        bilateral.load(file)


# Names in a terminal


HARM = "\x1b]0;harm\x07\x1b[2J\u202e\n"


def test_names_give_no_commands_to_the_terminal(changed, in_process, navon, tmp_path):
    def named(content: dict) -> None:
        names = content[RECORD]["class_names"]
        content[RECORD]["class_names"] = {
            level: [f"{HARM}{name}" for name in found] for level, found in names.items()
        }

    picture = tmp_path / f"a{HARM}.png"
    shutil.copyfile(next((navon / "test/fine/3").iterdir()), picture)
    arguments = [f"checkpoint={changed(named)}", f"image={tmp_path}"]
    status, out, err = in_process(predict.main, *arguments)
    assert (status, err) == (0, "")
    assert "a\\x1b]0;harm\\x07" in out
    assert out.count("\\x1b]0;harm") == 31
    assert "".join(out.splitlines()).isprintable()
    # JSON has its own way to write them.
    status, out, _ = in_process(predict.main, *arguments, "--json")
    (one,) = json.loads(out)["images"]
    assert one["image"] == str(picture)
    assert one["fine"][0]["class"].startswith(HARM)
    assert "".join(out.splitlines()).isprintable()


# The files of a finished study


@pytest.fixture
def study(tmp_path) -> Path:
    """What analyse.py reads of a study before it loads a network."""
    stage = tmp_path / "study/fine/seed0"
    result = {"arm": "fine", "seed": 0, "checkpoint": "best.ckpt", "best_epoch": 1, "epochs": 1}
    result |= {"seconds": 1.5, "test": None, "validation": {}}
    write_result(stage / "result.yaml", result)
    write_text(stage / "config.yaml", "dataset: {name: X}\n")
    write_text(stage / "environment.yaml", "packages: {torch: 2.0}\nseeds: [0]\n")
    write_text(stage / "metrics.csv", "epoch,step,val_fine_accuracy\n0,4,0.5\n")
    results = "arm,seed,level,accuracy,val_accuracy\nfine,0,fine,,0.5\n"
    write_text(tmp_path / "study/results.csv", results)
    return tmp_path / "study"


def test_a_study_of_whole_files_is_shown(study, in_process):
    status, _, err = in_process(analyse.main, f"run={study}")
    assert (status, err) == (0, "")
    assert (study / "report.html").is_file()


DEEP = b"[" * 5000
BROKEN_YAML = [b"a: [b", b"\xff", b"text", b"a: 2024-13-45", DEEP]
BROKEN_CSV = [
    b"\xff", b"epoch,step\n0,4,5\n", b"epoch,step\n0\n", b"step\n4\n", b"epoch\nx\n",
    b"epoch,val_fine_accuracy\n0,much\n", b'epoch\n"0"0\n', b"epoch\n" + b"1" * 200_000,
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(
            ("config.yaml", content)
            for content in (*BROKEN_YAML, b"dataset: text", b"dataset: [1]")
        ),
        *(("environment.yaml", content) for content in (*BROKEN_YAML, b"packages: 3")),
        *(("metrics.csv", content) for content in BROKEN_CSV),
    ],
)
def test_a_damaged_file_of_a_study_is_named(name, content, study, in_process):
    file = (study / "fine/seed0" / name).resolve()
    file.write_bytes(content)
    status, _, err = in_process(analyse.main, f"run={study}")
    assert status == 1
    assert err.startswith(f"error: {file} is damaged")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("content", [b"a: [b", b"\xff", b"- 1", DEEP])
def test_a_damaged_file_in_the_place_of_a_stage_is_named(content, tmp_path):
    place = tmp_path / "swapped/seed0"
    write_text(place / "environment.yaml", "")
    (place / "environment.yaml").write_bytes(content)
    cfg = OmegaConf.create({"save_dir": str(tmp_path.parent), "exp_name": tmp_path.name})
    stage = Stage(arm="swapped", seed=0, folder="arch_dual_head", config=cfg, seeds=(0, 1))
    with pytest.raises(UserError, match=r"environment\.yaml is damaged"):
        set_other_pairing_aside(stage)
