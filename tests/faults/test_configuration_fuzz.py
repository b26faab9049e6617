"""Any value of any key: a valid configuration or one sentence, never a traceback, never Hydra's own lines."""

import contextlib
import io
import random
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analyse
import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.test
import arch_single_head.trainer
import export
import predict
from analysis.schema import AnalyseConfig
from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig
from common.settings.compose import ROOT, SHARED, compose
from common.settings.explain import explain
from common.settings.overrides import quoted_paths
from common.settings.schema import GROUPS, keys_of
from common.trained.schema import ExportConfig, PredictConfig, TestConfig
from study.plan import plan
from study.schema import StudyConfig

TestConfig.__test__ = False  # a configuration, not a class of tests


class Command(NamedTuple):
    """A command, and what of it is run here: all of it up to its data, its checkpoint or its study."""

    schema: type
    begins: Callable[..., Any]
    folder: Path = ROOT
    config_dir: Path | None = SHARED
    config_name: str = "config"
    translated: Callable[[list[str]], list[str]] = list
    # Asked for by the command itself: one that is not there.
    needs: str | None = None
    groups: tuple[str, ...] = ()


def task(run: Callable[..., Any]) -> Callable[..., Any]:
    """What a command's own function does with its configuration."""
    return lambda cfg, _: run(cfg)


def in_folder(name: str, schema: type, run: Callable[..., Any], **more: Any) -> Command:
    return Command(schema, task(run), ROOT / name, None, **more)


NOWHERE = "checkpoint=nowhere/best.ckpt"


def evaluating(name: str, run: Callable[..., Any]) -> Command:
    more: dict[str, Any] = {"config_name": "test", "needs": NOWHERE, "groups": ("dataset",)}
    return in_folder(name, TestConfig, run, **more)


COMMANDS = {
    "arch_single_head/trainer.py": in_folder(
        "arch_single_head", SingleConfig, lambda cfg: None, groups=(*GROUPS,)
    ),
    "arch_dual_head/trainer.py": in_folder(
        "arch_dual_head",
        DualConfig,
        arch_dual_head.trainer.check,
        groups=(*GROUPS,),
    ),
    "train_system.py": Command(StudyConfig, plan, config_name="train_system", groups=(*GROUPS,)),
    "arch_single_head/test.py": evaluating("arch_single_head", arch_single_head.test.test),
    "arch_dual_head/test.py": evaluating("arch_dual_head", arch_dual_head.test.test),
    "analyse.py": Command(
        AnalyseConfig, task(analyse.run), config_name="analyse", needs="run=nowhere"
    ),
    "predict.py": Command(
        PredictConfig,
        task(predict.predict),
        config_name="predict",
        translated=predict.translated,
        needs=NOWHERE,
    ),
    "export.py": Command(
        ExportConfig,
        task(export.write),
        config_name="export",
        translated=partial(quoted_paths, schema=ExportConfig),
        needs=NOWHERE,
    ),
}
KEYS = [
    (script, key)
    for script, command in COMMANDS.items()
    for key in (*keys_of(command.schema), *command.groups)
]
UNKNOWN = [(script, key) for script in COMMANDS for key in ("nonsense", "hparams.nonsense", "lr")]

EXTREMES = ["0", "-1", "1", "2.5", "1e30", "-1e30", "1e999", "nan", "inf", "-inf", "1" + 40 * "0"]
WRONG = [
    "null", "true", "false", "''", "text", "[]", "{}", "[0]", "[0,0]", "[null]", "[-1]", "[1e30]", "[text]",
    "{a: 1}", "[[0]]", "???", "0x10", "1,2", "a=b", "${hparams.lr}", "${nowhere}", "${oc.env:HOME}", "$", "{", "'",
    "../..", "/", "a/b", ".", "/dev/null", "\\", "é", "a b", "a" * 300, "[" * 60,
]  # fmt: skip
PREFIXES = ["", "", "", "", "+", "++", "~"]
# Words of Hydra and OmegaConf that a person need not know.
JARGON = [
    "Traceback",
    "full_key",
    "object_type",
    "reference_type",
    "ConfigStore",
    "omegaconf",
    "OmegaConf",
]
JARGON += [
    "hydra",
    "Hydra",
    "StudyConfig",
    "SingleConfig",
    "DualConfig",
    "NoneType",
    "DictConfig",
    "ListConfig",
]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


values = st.one_of(
    st.sampled_from(EXTREMES),
    st.sampled_from(WRONG),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)


def configured(script: str, overrides: list[str]) -> None:
    """What the command does before its first stage, by the same functions."""
    command = COMMANDS[script]
    if command.needs and not any(o.startswith(command.needs.split("=")[0]) for o in overrides):
        overrides = [command.needs, *overrides]
    overrides = command.translated(overrides)
    cfg = compose(
        command.folder,
        schema=command.schema,
        overrides=overrides,
        config_dir=command.config_dir,
        config_name=command.config_name,
    )
    command.begins(cfg, overrides)


def outcome(script: str, overrides: list[str]) -> str | None:
    """The sentence with which a command refuses, or None."""
    caught = None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            configured(script, overrides)
    except Exception as error:
        caught = error
    sentence = caught and explain(caught, COMMANDS[script].schema)
    assert caught is None or sentence, f"a traceback: {script} {overrides} {caught!r}"
    return sentence


def one_plain_sentence(sentence: str, overrides: list[str]) -> None:
    assert len(sentence.splitlines()) == 1, (overrides, sentence)
    assert len(sentence) < 1500, (overrides, sentence)
    said = sentence
    for override in overrides:
        said = said.replace(override.partition("=")[2], "")
    assert not [word for word in JARGON if word in said], (overrides, sentence)


def override(key: str, prefix: str, value: str) -> str:
    return f"{prefix}{key}={value}"


overrides_of_a_command = st.sampled_from(list(COMMANDS)).flatmap(
    lambda script: st.tuples(
        st.just(script),
        st.lists(
            st.builds(
                override,
                st.sampled_from([key for own, key in KEYS + UNKNOWN if own == script]),
                st.sampled_from(PREFIXES),
                values,
            ),
            min_size=1,
            max_size=3,
        ),
    )
)
outcomes: Counter = Counter()


def try_out(script: str, overrides: list[str]) -> None:
    sentence = outcome(script, overrides)
    outcomes["refused" if sentence else "valid"] += 1
    if sentence:
        one_plain_sentence(sentence, overrides)


def fuzz(examples: int):
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(overrides_of_a_command)
    def run(chosen):
        try_out(*chosen)

    return run


def test_random_overrides():
    fuzz(40)()


@pytest.mark.slow
def test_many_random_overrides():
    fuzz(700)()
    print(dict(outcomes))


@pytest.mark.slow
@pytest.mark.parametrize("script", COMMANDS)
def test_every_key_takes_extremes_and_wrong_values(script):
    draw = random.Random(script)
    for own, key in KEYS + UNKNOWN:
        if own == script:
            for pool in (EXTREMES, WRONG):
                try_out(script, [override(key, draw.choice(PREFIXES), draw.choice(pool))])
    print(len(KEYS), dict(outcomes))


@contextlib.contextmanager
def no_longer_than(seconds: int):
    def late(*_):
        raise AssertionError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
def test_what_is_valid_runs_or_ends_in_one_sentence(tiny, in_process, tmp_path):
    """Every key of a network with one head, to the end of its training."""
    script, few = "arch_single_head/trainer.py", ["trainer_params.max_epochs=1"]
    few.append("trainer_params.limit_train_batches=2")
    ran = refused = 0
    for number, (own, key) in enumerate(KEYS):
        for value in ("0", "1", "2.5", "1e30", "true", "null") if own == script else ():
            argument = f"{key}={value}"
            arguments = [*tiny, *few, argument, f"exp_name=run{number}-{value}"]
            if key != "save_dir":
                arguments.append(f"save_dir={tmp_path}")
            if key == "exp_name" or outcome(script, arguments):
                continue
            with no_longer_than(120):
                status, _, err = in_process(arch_single_head.trainer.main, *arguments)
            said = err.splitlines()
            assert status == 0 or (len(said) == 1 and said[0].startswith("error: ")), (
                argument,
                err,
            )
            ran, refused = ran + (status == 0), refused + (status != 0)
    assert ran > 30
    print(f"{ran} ran, {refused} were refused")


@pytest.mark.parametrize(
    ("script", "argument", "said"),
    [
        ("arch_single_head/trainer.py", "exp_name=null", "exp_name is null; allowed: text."),
        (
            "arch_single_head/trainer.py",
            "seeds=0",
            "allowed: a list of integers, such as [0,1] (one",
        ),
        ("train_system.py", "seeds=0", "allowed: a list of integers, such as [0,1], or null (one"),
        ("train_system.py", "seeds=[[0]]", "allowed: a list of different integers"),
        ("train_system.py", "num_seeds=many", "allowed: an integer at least 1 and at most 10000"),
        ("train_system.py", "hparams.lr=1,2", "--multirun"),
        ("arch_single_head/trainer.py", "+hparams.lr=???", "leave out the +"),
        ("train_system.py", "dataset=[navon]", "a group takes one name"),
        ("train_system.py", "+dataset=_self_", "a group takes one name"),
        ("train_system.py", "+hydra/launcher@x=_self_", "a group takes one name"),
        ("train_system.py", "~epochs.fine=1", "cannot be removed"),
        ("train_system.py", "save_dir=${nowhere}", "refers to a key"),
        ("arch_dual_head/trainer.py", "evaluate=perhaps", "'perhaps'; allowed: true or false."),
        ("train_system.py", "dataset.val_dir=/x/val/fine", "hparams.mode is coarse"),
    ],
)
def test_what_is_allowed_is_said_in_our_words(script, argument, said):
    sentence = outcome(script, [argument])
    assert sentence
    assert said in sentence


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--config-name=nowhere"], "--config-name=nowhere is not there; allowed: config, test."),
        (
            ["--config-path=/dev"],
            "--config-path would take away the files that a command is made of: give --config-dir DIR, whose files are "
            "found beside them.",
        ),
    ],
)
def test_a_configuration_that_is_not_there(monkeypatch, capsys, more, said):
    monkeypatch.setattr("sys.argv", ["trainer.py", *more])
    with pytest.raises(SystemExit, match="1"):
        arch_single_head.trainer.main()
    assert capsys.readouterr().err == f"error: {said}\n"


@pytest.mark.slow
def test_a_sample_as_real_commands(command, tmp_path):
    """Those that are valid end at data, a checkpoint or a study that is not there: one sentence too."""
    draw = random.Random(30)
    for _ in range(30):
        script, key = draw.choice(KEYS + UNKNOWN)
        argument = override(key, draw.choice(PREFIXES), draw.choice(EXTREMES + WRONG))
        needs = COMMANDS[script].needs
        if needs:
            more = [] if key == needs.partition("=")[0] else [needs]
        else:
            more = [f"save_dir={tmp_path}", f"dataset.root={tmp_path}/nowhere"]
        if script == "arch_dual_head/trainer.py":
            more += ["hparams.model_path_fine=null", "hparams.ffreeze=false"]
            more += ["hparams.model_path_coarse=null", "hparams.cfreeze=false"]
        done = command(str(ROOT / script), *more, argument, cwd=tmp_path)
        assert done.returncode == 1, (script, argument, done)
        assert len(done.stderr.splitlines()) == 1, (script, argument, done.stderr)
        assert done.stderr.startswith("error: "), (script, argument, done.stderr)
        one_plain_sentence(done.stderr.replace(argument, ""), [argument])
