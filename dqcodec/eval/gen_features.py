"""Features of whole pictures, from the convolution network at hand: never Inception's, so never an "FID"."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dqcodec.errors import DqError
from dqcodec.eval import metric_weights
from dqcodec.eval.gen_pictures import PictureSet
from dqcodec.eval.metrics import MetricMissing
from dqcodec.torchvision_fix import import_torchvision

SMALLEST_SIDE = 32  # of a picture that both the features and LPIPS with AlexNet can take
BATCH_PIXELS = 1 << 18
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the networks were trained
_NETWORKS = {"VGG16": (metric_weights.VGG16, 30), "AlexNet": (metric_weights.ALEXNET, 12)}  # layers to the last ReLU


class Features:
    """What an ImageNet network sees in a picture: mean and standard deviation, over the places of its last
    convolution block (conv5, after the ReLU), of each channel.

    The Inception network of FID takes the mean alone. The deviation adds whether a thing is everywhere or in
    one place. weights: folder of metric_weights.find; VGG16 if it has it, else AlexNet; without a folder
    torchvision's own download of VGG16. device: a torch device. Raises MetricMissing.
    """

    def __init__(self, weights: Path | None, device):
        import torch

        files = {} if weights is None else {n: f for n, (f, _) in _NETWORKS.items() if (weights / f).is_file()}
        if weights is not None and not files:
            raise MetricMissing(f"{weights}: neither {metric_weights.VGG16} nor {metric_weights.ALEXNET} there; "
                                f"correct --metric-weights or {metric_weights.VARIABLE}")
        self.network = next(iter(files), "VGG16")
        self.label = f"{self.network} conv5 features"
        self.device = device
        try:
            layers = _layers(self.network, metric_weights.load(weights, files.get(self.network, "")))
        except DqError:
            raise
        except (OSError, RuntimeError, KeyError, ImportError) as error:
            raise MetricMissing(
                f"features of {self.network}: the weights can not be loaded ({str(error).splitlines()[0]}); name a "
                f"folder that has them with --metric-weights or {metric_weights.VARIABLE}") from error
        self._layers = layers[: _NETWORKS[self.network][1]].eval().to(device)
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Features (B, 2 C) float64 of pictures (B, H, W, 3) uint8; C is 512 for VGG16, 256 for AlexNet."""
        import torch

        with torch.inference_mode():
            x = torch.tensor(pixels, device=self.device).permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)
            h = self._layers((x - self._mean) / self._std).flatten(2)  # (B, C, places)
            found = torch.cat([h.mean(2), h.std(2, correction=0)], 1)
        return found.double().cpu().numpy()

    def of(self, pictures: PictureSet, advance: Callable[[], object]) -> np.ndarray:
        """Features (N, 2 C) of a set, in batches. advance: called after each picture."""
        width, height = pictures.size
        batch = max(1, BATCH_PIXELS // (width * height))
        found = []
        for start in range(0, len(pictures), batch):
            part = [pictures[i] for i in range(start, min(start + batch, len(pictures)))]
            found.append(self(np.stack(part)))
            for _ in part:
                advance()
        return np.concatenate(found)


def _layers(network: str, tensors: dict | None):
    """The convolution layers of a network, from its weights or with torchvision's."""
    import_torchvision()
    import torchvision
    from torchvision.models.vgg import cfgs, make_layers

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchvision")
        if tensors is None:
            return torchvision.models.vgg16(weights="IMAGENET1K_V1").features
        layers = make_layers(cfgs["D"]) if network == "VGG16" else torchvision.models.AlexNet().features
    layers.load_state_dict({key.removeprefix("features."): value for key, value in tensors.items()})
    return layers
