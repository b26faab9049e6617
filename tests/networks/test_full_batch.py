"""A short batch in the shape of a full one gives what it gives alone."""

import pytest
import torch
from torch import nn

from common.networks.full_batch import in_full_batch
from common.networks.macro import Outputs


@pytest.mark.parametrize("images", [1, 3, 4, 5])
def test_the_network_sees_full_batches_and_the_rest_is_cut_off(images):
    seen = []
    network = nn.Conv2d(3, 2, 2).to(memory_format=torch.channels_last).eval()

    def outputs(batch):
        seen.append(len(batch))
        found = network(batch).flatten(1)
        return Outputs({"left": found}, {"fine": found + 1}, {"left": {"fine": found + 2}})

    some = torch.randn(images, 3, 5, 5)
    with torch.no_grad():
        found = in_full_batch(outputs, some, 4)
        alone = network(some).flatten(1)
    assert seen == [max(4, images)]
    assert isinstance(found, Outputs)
    for more, one in enumerate(
        (found.features["left"], found.logits["fine"], found.auxiliary["left"]["fine"])
    ):
        torch.testing.assert_close(one, alone + more)
