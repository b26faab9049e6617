"""Every row of the table of macro-architectures: what is frozen was loaded, and a network is what its row says."""

from types import SimpleNamespace

import pytest
import torch
from helpers import equal
from omegaconf import OmegaConf
from torch import nn

from arch_dual_head.checks import check
from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.macro_architectures import (
    HEMISPHERES,
    MACRO_ARCHITECTURES,
    MEMBERS,
    SPECIALISTS,
    MacroArchitecture,
    frozen_sides,
)
from arch_dual_head.module import DualHead
from arch_dual_head.networks import Parts, bilateral
from arch_dual_head.schema import DualConfig
from common.checkpoints.files import read
from common.networks.hemisphere import Hemisphere
from common.networks.joins import JOINS
from common.networks.macro import BilateralNet, HemispheresAndHeads
from common.runs.description import Stage
from common.runs.fingerprint import identify
from common.runs.stage import record_of
from common.settings.compose import ROOT, compose
from common.settings.levels import SIDES, SPELLING
from common.system.errors import UserError


class Deep(HemispheresAndHeads):
    """Another head: what a student may add."""

    def __init__(self, **given):
        super().__init__(**given)
        for head in self.heads.values():
            head.linear = nn.Sequential(
                nn.Linear(self.num_features, 16), nn.Linear(16, head.linear.out_features)
            )


def deep(parts: Parts) -> Deep:
    """Two hemispheres under deeper heads, by the documented function."""
    hemispheres = {side: parts.hemisphere(side) for side in SIDES}
    return Deep(hemispheres=hemispheres, **parts.heads)


def right_thawed(parts: Parts) -> BilateralNet:
    """A mistake: it leaves the right hemisphere free, whatever the configuration says."""
    network = bilateral(parts)
    network.sides["right"].frozen = False
    return network


def with_a_third(parts: Parts) -> BilateralNet:
    """A mistake: a frozen hemisphere that is of no side, so that nothing is ever loaded into it."""
    network = bilateral(parts)
    network.third = Hemisphere(parts.hemisphere("left").backbone, freeze=True)
    return network


EXTRA = {
    "deep": MacroArchitecture("as bilateral, with deep heads", f"{__name__}:deep", sides=SIDES)
}


@pytest.fixture
def extra(monkeypatch):
    """Rows that are in the table for a test."""

    def add(**rows: MacroArchitecture) -> None:
        for name, row in rows.items():
            monkeypatch.setitem(MACRO_ARCHITECTURES, name, row)

    add(**EXTRA)
    return add


def members(row: MacroArchitecture) -> list[str]:
    """The checkpoints of the two networks of which an ensemble is made here."""
    return ["fine", "coarse"] if row.members == SPECIALISTS else [row.members] * 2


@pytest.fixture
def built(tiny, checkpoints):
    """Build a macro-architecture with all that its row allows frozen, check it and load its checkpoints."""

    def build(name: str, **changed) -> SimpleNamespace:
        row = MACRO_ARCHITECTURES[name]
        single = row.loads == HEMISPHERES
        keys = {
            "macro_arch": name,
            "ffreeze": single,
            "cfreeze": single,
            "model_path_fine": str(checkpoints["fine"]) if single else None,
            "model_path_coarse": str(checkpoints["coarse"]) if single else None,
        }
        if row.loads == MEMBERS:
            keys["model_path_fine"] = [str(checkpoints[one]) for one in members(row)]
        cfg = compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=tiny)
        # Choices are those of the table when it was imported.
        for key, value in (keys | changed).items():
            OmegaConf.update(cfg, f"hparams.{key}", value, merge=False)
        check(cfg)
        data = DualHeadData(cfg, seed=0)
        data.load()
        stage = Stage(arm="any", seed=0, folder="arch_dual_head", config=cfg)
        module = DualHead(cfg=cfg, record=record_of(stage, data, ""))
        module.load_hemispheres(data)
        return SimpleNamespace(cfg=cfg, data=data, module=module, network=module.network)

    return build


def backbone_of(checkpoint, level: str) -> dict[str, torch.Tensor]:
    prefix = f"hemispheres.{level}.backbone."
    weights = read(checkpoint)[1]
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


@pytest.mark.parametrize("name", [*MACRO_ARCHITECTURES, *EXTRA])
def test_every_frozen_hemisphere_was_loaded(name, built, extra, checkpoints):
    row = MACRO_ARCHITECTURES[name]
    made = built(name)
    specialists = row.members == SPECIALISTS
    levels = ["fine", "coarse"] if row.loads != MEMBERS or specialists else ["fine"] * 2
    found = made.network.sides
    if row.loads == MEMBERS:
        sides = SIDES if specialists else ("left", "left")
        assert list(found) == [f"member{i}.{side}" for i, side in enumerate(sides)]
        assert not any(p.requires_grad for p in made.network.parameters())
    else:
        assert tuple(found) == row.sides
        frozen = tuple(side for side, hemisphere in found.items() if hemisphere.frozen)
        assert frozen == (row.sides if row.loads == HEMISPHERES else ())
        assert frozen == frozen_sides(made.cfg.hparams)
    for level, hemisphere in zip(levels, found.values(), strict=False):
        source = checkpoints[row.members if row.members and not specialists else level]
        loaded = equal(hemisphere.backbone.state_dict(), backbone_of(source, level))
        assert loaded == (row.loads in (HEMISPHERES, MEMBERS))
    assert {"fine", "coarse"} == set(made.network(torch.zeros(2, 3, 32, 32)))


@pytest.mark.parametrize("name", ["bilateral", "deep"])
def test_every_side_of_a_row_has_its_checkpoint(name, extra, built, checkpoints):
    cfg = built(name).cfg
    paths = DualHead.hemisphere_paths(cfg, 0)
    assert paths == {level: checkpoints[level] for level in ("fine", "coarse")}
    assert DualHead.sides(cfg) == SIDES
    assert list(DualHead.hemisphere_configs(cfg)) == ["left", "right"]


@pytest.mark.parametrize("name", ["bilateral", "deep"])
@pytest.mark.parametrize("side", SIDES)
def test_a_frozen_hemisphere_without_a_checkpoint_is_refused(name, side, extra, built):
    with pytest.raises(UserError, match=f"freeze a {side} hemisphere that was never trained"):
        built(name, **{f"model_path_{SPELLING[side]}": None})


@pytest.mark.parametrize("name", MACRO_ARCHITECTURES)
def test_keys_of_the_right_hemisphere_count_where_they_shape_the_network(name, built):
    def identity(**changed) -> dict:
        made = built(name, ffreeze=False, cfreeze=False, **nothing, **changed)
        sides = DualHead.sides(made.cfg)
        return identify(made.cfg, made.data, "32-true", {}, schema=DualConfig, sides=sides)

    row = MACRO_ARCHITECTURES[name]
    nothing = {} if row.loads == MEMBERS else {"model_path_fine": None, "model_path_coarse": None}
    if row.members == SPECIALISTS:
        with pytest.raises(UserError, match="holds a hemisphere of width"):
            identity(coarse_width=0.25)
        return
    counts = identity() != identity(coarse_width=0.25)
    # A wide network is as large as a left and a right hemisphere are together.
    assert counts == ("right" in row.sides or row.sized_like == "bilateral")


def test_a_network_that_is_not_what_its_row_says_is_refused(extra, built):
    extra(
        thawed=MacroArchitecture("", f"{__name__}:right_thawed", sides=SIDES),
        half=MacroArchitecture("", "arch_dual_head.networks:bilateral", sides=("left",)),
    )
    for name in ("thawed", "half"):
        with pytest.raises(UserError, match="builds a network whose hemispheres"):
            built(name)


def test_a_frozen_hemisphere_into_which_nothing_was_loaded_is_refused(extra, built):
    extra(third=MacroArchitecture("", f"{__name__}:with_a_third", sides=SIDES))
    with pytest.raises(UserError, match="third hemisphere is frozen, and no checkpoint was loaded"):
        built("third")


def test_a_network_to_start_from_must_be_joined_alike(built, checkpoints, monkeypatch):
    paths = {"model_path_fine": None, "model_path_coarse": None}
    whole = paths | {"model_path": str(checkpoints["bilateral"])}
    made = built("bilateral", **whole)
    assert equal(made.network.state_dict(), read(checkpoints["bilateral"])[1])
    monkeypatch.setitem(JOINS, "other", JOINS["concatenate"])
    with pytest.raises(UserError, match=r"joins hemispheres by concatenate, but .* is other"):
        built("bilateral", **whole, join="other")


def test_a_callosum_that_a_network_would_not_have_is_refused(extra, built):
    extra(bare=MacroArchitecture("", f"{__name__}:deep", sides=SIDES))
    with pytest.raises(UserError, match=r"builds a network without a callosum .*kind is add"):
        built("bare", **{"callosum.kind": "add"})
