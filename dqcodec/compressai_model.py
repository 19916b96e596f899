"""The codec as a CompressAI model, so that CompressAI's own evaluation runs it.

    import dqcodec.compressai_model          # registers "dqcodec"
    from compressai.registry import MODELS
    net = MODELS["dqcodec"](bpp=0.2)

What `compress` returns are whole .dq files, one for each image of the batch, header included.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dqcodec import codec
from dqcodec.torchvision_fix import import_torchvision
from dqcodec.weights import registry

import_torchvision()

from compressai.models import CompressionModel  # noqa: E402
from compressai.registry import register_model  # noqa: E402


@register_model("dqcodec")
class DqCompressionModel(CompressionModel):
    """A shipped model behind CompressAI's interface; images are (B, 3, H, W) in [0, 1], any size.

    model: name of a model. bpp or quality: rate of every image, as in dqcodec.compress.
    """

    def __init__(self, model: str = "default", bpp: float | None = None, quality: int | None = None):
        super().__init__()
        self.name, self.bpp, self.quality = model, bpp, quality
        self.vae = registry.load(model).vae

    def forward(self, x: Tensor) -> dict:
        """{"x_hat": (B, 3, H, W), "likelihoods": {"y": ...}} whose -log2 sums to the bits of the files."""
        packed = self.compress(x)
        decoded = self.decompress(**packed)
        # The files' real size, spread evenly: CompressAI sums -log2 of whatever it is given.
        bits = torch.tensor([8.0 * len(s) for s in packed["strings"][0]], device=x.device)
        pixels = x.shape[2] * x.shape[3]
        likelihood = torch.exp(-bits * math.log(2) / pixels)  # (B,)
        spread = likelihood.view(-1, 1, 1, 1).expand(-1, 1, x.shape[2], x.shape[3])
        return {"x_hat": decoded["x_hat"], "likelihoods": {"y": spread}}

    def compress(self, x: Tensor) -> dict:
        """{"strings": [[.dq bytes of each image]], "shape": (H, W)}."""
        pixels = (x.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        device = "cuda" if x.is_cuda else "cpu"
        strings = [
            codec.compress(Image.fromarray(p), bpp=self.bpp, quality=self.quality, model=self.name, device=device)
            for p in pixels
        ]
        return {"strings": [strings], "shape": tuple(x.shape[2:])}

    def decompress(self, strings: list, shape: tuple) -> dict:
        """{"x_hat": (B, 3, H, W) in [0, 1]} of what `compress` returned."""
        images = [np.asarray(codec.decompress(s, model=self.name).convert("RGB")) for s in strings[0]]
        return {"x_hat": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255}
