"""The experiment folders by name, each with the data and the module that it brings."""

from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.supervised import DualHead
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.supervised import SingleHead
from common.runs.description import Architecture

ARCHITECTURES = {
    "arch_single_head": Architecture(SingleHeadData, SingleHead),
    "arch_dual_head": Architecture(DualHeadData, DualHead),
}
