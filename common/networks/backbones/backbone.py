"""What every backbone is."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from common.system.errors import UserError, place_of

# The stages of a backbone by name, in order. Each is a chain of its modules: the first takes images (B, 3, H, W), each
# later one the maps (B, C, h, w) of the one before.
Stages = Mapping[str, Sequence[nn.Module]]


class Backbone(nn.Module):
    """Images (B, 3, H, W) → features (B, num_features).

    A file of pretrained weights may hold a classifier too, which is not taken: ``classifiers`` are the beginnings of
    its weights' names. The other names may lack ``prefix``.

    One that names its `stages`, with `read_out` behind the last, may be connected with another by a callosum; it needs
    no `forward` then.

    Attributes:
        arch: the name under which it was built.
        per_k: share of a training batch for which each feature survives (`common.networks.backbones.sparsity`).
    """

    num_features: int
    arch: str = ""
    per_k: float = 1.0
    prefix: str = ""
    classifiers: tuple[str, ...] = ()

    def stages(self) -> Stages:
        """Name the stages.

        Raises:
            UserError: this backbone has none, so that it cannot be cut between them.
        """
        raise UserError(
            f"The backbone {self.arch or type(self).__name__} has no `stages`, between which a callosum connects "
            "hemispheres: write them (docs/extending.md), or take another backbone."
        )

    def read_out(self, maps: Tensor) -> Tensor:
        """Turn the maps of the last stage (B, C, h, w) into features (B, num_features).

        Raises:
            UserError: this backbone has stages and nothing behind them.
        """
        raise UserError(
            f"{place_of(self)} has no `read_out`, which follows its last stage: give it."
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute features: images (B, 3, H, W) → (B, num_features)."""
        for stage in self.stages().values():
            images = run(stage, images)
        return self.read_out(images)


def run(stage: Sequence[nn.Module], maps: Tensor) -> Tensor:
    """Run a stage: images or maps (B, C, H, W) → maps (B, C, h, w)."""
    for module in stage:
        maps = module(maps)
    return maps


Builder = Callable[..., Backbone]
