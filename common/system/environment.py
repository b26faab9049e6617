"""Ask the machine what it can do (precision, fast kernels), and describe it (versions, commit, device)."""

import os
import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from common.system.errors import UserError

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "numpy",
    "pillow",
    "captum",
    "scipy",
    "matplotlib",
    "jinja2",
    "tensorboard",
)
COMMIT_FILE = ".commit"


def uses_gpu(accelerator: str) -> bool:
    """Say whether Lightning will choose a CUDA device."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def has_float16(accelerator: str) -> bool:
    """Say whether Lightning will train in float16 there: on a CPU it takes bfloat16 instead."""
    cpu = not torch.cuda.is_available() and not torch.backends.mps.is_available()
    return accelerator != "cpu" and not (accelerator == "auto" and cpu)


def choose_precision(precision: str, accelerator: str) -> str:
    """Choose for ``auto`` bf16-mixed where the processor computes in bfloat16 natively, else 32-true.

    Raises:
        UserError: float16 without a GPU, which would be recorded and not computed in.
    """
    if precision == "16-mixed" and not has_float16(accelerator):
        raise UserError(
            "trainer_params.precision is '16-mixed', which takes a GPU; allowed on a CPU: auto, 32-true, bf16-mixed."
        )
    if precision != "auto":
        return precision
    if uses_gpu(accelerator):
        native = torch.cuda.get_device_capability() >= (8, 0)
    else:
        native = accelerator in ("auto", "cpu") and cpu_has_bfloat16()
    return "bf16-mixed" if native else "32-true"


def precision_of_test(precision: str, accelerator: str) -> str:
    """Choose the precision of a trained network: what a GPU trained in float16 runs on a CPU too, in what that has."""
    lost = precision == "16-mixed" and not has_float16(accelerator)
    return choose_precision("auto" if lost else precision, accelerator)


def use_fast_kernels(accelerator: str, *, deterministic: bool) -> bool:
    """On a GPU let float32 products run in TF32, and say whether cuDNN may choose kernels by trying them out.

    TF32 keeps 10 bits of mantissa, three more than bfloat16 does, and PyTorch's convolutions use it anyway. Its
    results repeat bit for bit; which kernel is fastest does not, so ``deterministic`` only forbids the choice.
    """
    gpu = uses_gpu(accelerator)
    if gpu:
        torch.set_float32_matmul_precision("high")
    return gpu and not deterministic


def cpu_has_bfloat16() -> bool:
    """Say whether the CPU multiplies bfloat16 itself (AVX512-BF16 or AMX); emulated, it is slower than float32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def describe(accelerator: str, root: Path) -> dict[str, Any]:
    """Describe time, versions, git commit and device in plain containers; memory is the machine's, not a GPU's."""
    commit, changed = _code(root)
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%MZ}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit,
        "uncommitted_changes": changed,
        "device": device_name(accelerator),
        "memory_gib": _memory(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "command": sys.argv,
    }


def device_name(accelerator: str) -> str:
    """Name what Lightning will compute on."""
    return torch.cuda.get_device_name() if uses_gpu(accelerator) else cpu_name()


def cpu_name(file: Path = Path("/proc/cpuinfo")) -> str:
    """Name the processor's model as Linux does in ``file``; elsewhere its architecture."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(filter(None, names), "") or platform.processor() or platform.machine()


def _memory() -> float | None:
    """Find the machine's memory in GiB; None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _code(root: Path) -> tuple[str | None, bool | None]:
    """Find the commit, and whether files were changed since; None where nothing says so.

    A copy without its repository may have a file ``.commit``, which whoever made it wrote the commit into.
    """
    if (root / COMMIT_FILE).is_file() and not (root / ".git").exists():
        return _noted_commit(root / COMMIT_FILE), None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return _git(root, "rev-parse", "HEAD"), None if changes is None else bool(changes)


def _noted_commit(file: Path) -> str | None:
    """Read a commit's hash from a file; None if it holds something else."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return text if re.fullmatch("[0-9a-f]{7,64}", text) else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
