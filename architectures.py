"""The experiment folders by name, each with the data and the module that it brings."""

from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.module import DualHead
from arch_dual_head.schema import DualConfig
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.module import SingleHead
from arch_single_head.schema import SingleConfig
from common.runs.description import Architecture

ARCHITECTURES = {
    "arch_single_head": Architecture(SingleHeadData, SingleHead, SingleConfig),
    "arch_dual_head": Architecture(DualHeadData, DualHead, DualConfig),
}
