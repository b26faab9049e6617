"""How the steps of a stage are made fast: compiled, and recorded as a CUDA graph. Imports no torch."""

from typing import Any, NamedTuple

from common.system.errors import UserError

# What torch.compile may be asked for; those of the second row record CUDA graphs of their own.
PLAIN_MODES = ("default",)
GRAPHING_MODES = ("reduce-overhead", "max-autotune")
AUTO = "auto"
# Seconds (ResNet-9, batches of 256; benchmarks/README.md). Compiling takes 21 where nothing is cached, and saves 1 ms
# of a replayed step: bare loops on an H100. Evaluation takes 4 more, and where kernels are on disk, which stages that
# are alike compile once, each of these takes 2.6 to trace its own: on a CPU, for want of a GPU's numbers.
COMPILING, TRACING, SAVED = 25.0, 2.6, 1e-3
# Earlier versions of PyTorch compile bfloat16 for a CPU without rounding where plain code does: the gradient of a
# maximum, as at the end of ResNet-9, is then NaN.
ROUNDS_ON_CPU = (2, 13)


class Acceleration(NamedTuple):
    """What is used: the mode of torch.compile, if any, and whether steps are replayed as a CUDA graph."""

    compile: str | None = None
    cuda_graph: bool = False


class Circumstances(NamedTuple):
    """What a stage trains on, and how.

    ``parallel`` says whether its strategy is one for several devices, also where there is one; ``steps`` is how many
    are to come, with those of the command's ``stages`` that are alike; ``torch`` is PyTorch's version.
    """

    gpu: bool
    parallel: bool
    precision: str
    deterministic: bool
    steps: int
    stages: int
    torch: tuple[int, ...]


def choose(
    compile: str | None, cuda_graph: Any, now: Circumstances
) -> tuple[Acceleration, str | None]:
    """Choose what is used, and say why steps are not replayed where that was asked for or would have been chosen.

    Args:
        compile: as hparams.compile: a mode, None or "auto".
        cuda_graph: as hparams.cuda_graph: True, False or "auto".
        now: the circumstances.

    Raises:
        UserError: a mode is asked for where nothing may be compiled, or is compiled wrongly.
    """
    asked = compile not in (None, AUTO)
    if asked and now.deterministic:
        raise UserError(
            f"hparams.compile={compile} is not for trainer_params.deterministic=true, where nothing is compiled; "
            "allowed with it: auto, null."
        )
    rounds = now.gpu or not now.precision.startswith("bf16") or now.torch >= ROUNDS_ON_CPU
    if asked and not rounds:
        here, needed = (".".join(map(str, version)) for version in (now.torch, ROUNDS_ON_CPU))
        raise UserError(
            f"hparams.compile={compile} in bfloat16 on a CPU gives wrong gradients with PyTorch {here}; allowed: auto, "
            f"null, trainer_params.precision=32-true, or PyTorch {needed} and later."
        )
    mode = compile
    if compile == AUTO:
        pays = now.steps * SAVED >= COMPILING + now.stages * TRACING
        may = now.gpu and not now.parallel and not now.deterministic
        mode = PLAIN_MODES[0] if may and pays else None
    if cuda_graph is False:
        return Acceleration(mode), None
    why = _hindrance(mode, now)
    # Nobody expects a graph of a CPU, nor two of a mode that records its own.
    expected = cuda_graph is True or (now.gpu and mode not in GRAPHING_MODES)
    return Acceleration(mode, cuda_graph=why is None), why if expected else None


def _hindrance(mode: str | None, now: Circumstances) -> str | None:
    if not now.gpu:
        return "there is no CUDA GPU"
    if now.parallel:
        return "its strategy is one for several devices"
    if now.precision == "16-mixed":
        return "precision 16-mixed scales gradients"
    if mode in GRAPHING_MODES:
        return f"hparams.compile={mode} records graphs itself"
    return None
