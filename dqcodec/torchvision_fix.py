"""Lets torchvision import beside a CPU build of torch.

torchvision from the package index is a CUDA build. Its compiled operators do not load into a CPU-only
torch, and the import dies with "operator torchvision::nms does not exist". Nothing here uses those
operators; that their names are declared is all that the import needs.
"""

from __future__ import annotations

import sys

_kept = []  # a Library undoes its declarations when it is collected


def import_torchvision() -> None:
    """Import torchvision, with its two missing operators declared where they are missing.

    Call before whatever imports torchvision: lpips, DISTS_pytorch, compressai. Has no effect where
    torchvision works.
    """
    try:
        import torchvision  # noqa: F401
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)
    import torchvision  # noqa: F401
