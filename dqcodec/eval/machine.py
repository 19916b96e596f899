"""What a result depends on besides the code: versions, commit, processor. No names of machines."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from dqcodec.version import __version__

PACKAGES = ("torch", "numpy", "pillow", "scikit-image", "pytorch-msssim", "lpips", "DISTS-pytorch",
            "bjontegaard")


def describe() -> dict:
    """Versions of what measures, commit of the code ("+" where it has uncommitted changes), processor."""
    versions = {"dqcodec": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    import torch  # here, for a commit and a processor are told without

    from dqcodec.models.precision import native_bfloat16

    return {"versions": versions, "commit": commit(),
            "machine": {"cpu": processor(), "cores": os.cpu_count(), "system": platform.system(),
                        "bfloat16": native_bfloat16(torch.device("cpu"))}}


def commit() -> str | None:
    """Commit of the checkout that this package runs from, or None outside of one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--", "dqcodec") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """Model of the processor as the system calls it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True,
                          text=True).stdout.strip()
