"""Any value of any key: a valid configuration or one sentence, never a traceback, never Hydra's own lines."""

import contextlib
import io
import random
import sys
from collections import Counter

import hydra
import pytest
from hydra import initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arch_dual_head.trainer
import train_system
from common.command import explain
from common.configuration import ROOT, SHARED, compose, finish, keys_of
from common.schema import DualConfig, SingleConfig, StudyConfig

COMMANDS = {
    "arch_single_head/trainer.py": SingleConfig,
    "arch_dual_head/trainer.py": DualConfig,
    "train_system.py": StudyConfig,
}
KEYS = [(script, key) for script, schema in COMMANDS.items() for key in keys_of(schema)]
UNKNOWN = [(script, key) for script in COMMANDS for key in ("nonsense", "hparams.nonsense", "lr")]

EXTREMES = ["0", "-1", "1", "2.5", "1e30", "-1e30", "1e999", "nan", "inf", "-inf", "1" + 40 * "0"]
WRONG = [
    "null", "true", "false", "''", "text", "[]", "{}", "[0]", "[0,0]", "[null]", "[-1]", "[1e30]", "[text]",
    "{a: 1}", "[[0]]", "???", "0x10", "1,2", "a=b", "${hparams.lr}", "${nowhere}", "${oc.env:HOME}", "$", "{", "'",
    "../..", "/", "a/b", ".", "/dev/null", "\\", "é", "a b", "a" * 300, "[" * 60,
]  # fmt: skip
PREFIXES = ["", "", "", "", "+", "++", "~"]
# Words of Hydra and OmegaConf that a person need not know.
JARGON = ["Traceback", "full_key", "object_type", "reference_type", "ConfigStore", "omegaconf", "OmegaConf"]
JARGON += ["hydra", "Hydra", "StudyConfig", "SingleConfig", "DualConfig", "NoneType", "DictConfig", "ListConfig"]

values = st.one_of(
    st.sampled_from(EXTREMES),
    st.sampled_from(WRONG),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)


def configured(script: str, overrides: list[str]) -> None:
    """What the command does before its first stage, by the same functions."""
    if script == "train_system.py":
        from common.command import refuse_nameless

        refuse_nameless(overrides)
        with initialize_config_dir(str(SHARED), version_base="1.3"):
            cfg = hydra.compose("train_system", overrides=overrides)
        cfg = finish(
            cfg, schema=StudyConfig, folder=ROOT, overrides=overrides, config_name="train_system"
        )
        train_system.plan(cfg, overrides)
        return
    folder = (ROOT / script).parent
    cfg = compose(folder, schema=COMMANDS[script], overrides=overrides)
    if script.startswith("arch_dual_head"):
        arch_dual_head.trainer.check(cfg)


def outcome(script: str, overrides: list[str]) -> str | None:
    """The sentence with which a command refuses, or None."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            configured(script, overrides)
    except Exception as error:
        sentence = explain(error, COMMANDS[script])
        assert sentence, f"a traceback: {overrides} {error!r}"
        return sentence
    return None


def one_plain_sentence(sentence: str, overrides: list[str]) -> None:
    assert len(sentence.splitlines()) == 1, (overrides, sentence)
    assert len(sentence) < 1500, (overrides, sentence)
    said = sentence
    for override in overrides:
        said = said.replace(override.partition("=")[2], "")
    assert not [word for word in JARGON if word in said], (overrides, sentence)
