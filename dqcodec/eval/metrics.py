"""Quality of a decoded picture, always on 8-bit RGB, by kept libraries.

PSNR: scikit-image. MS-SSIM (Wang et al. 2003): pytorch-msssim. LPIPS v0.1 (Zhang et al. 2018) with
AlexNet and with VGG16: lpips. DISTS (Ding et al. 2020): DISTS-pytorch. The two LPIPS are different
metrics: the same picture is 0.073 in one and 0.247 in the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

from dqcodec.errors import DqError
from dqcodec.eval import metric_weights
from dqcodec.torchvision_fix import import_torchvision

IDENTICAL_PSNR = 100.0
MS_SSIM_SMALLEST_SIDE = 161  # five scales of an 11-pixel window


@dataclass(frozen=True)
class Metric:
    """label: with unit and network; short: for narrow places. higher: larger is better. digits: for
    tables."""

    name: str
    label: str
    short: str
    higher: bool
    digits: int


METRICS = {m.name: m for m in (
    Metric("lpips_alex", "LPIPS (AlexNet)", "LPIPS-alex", False, 4),
    Metric("lpips_vgg", "LPIPS (VGG16)", "LPIPS-vgg", False, 4),
    Metric("dists", "DISTS", "DISTS", False, 4),
    Metric("ms_ssim", "MS-SSIM", "MS-SSIM", True, 4),
    Metric("psnr", "PSNR (dB)", "PSNR", True, 2),
)}


class MetricMissing(DqError):
    """A metric's library or weights are not at hand."""


class Scorer:
    """Scores pictures with one metric, its network loaded once.

    name: a key of METRICS. weights: folder of metric_weights.find, or None for the package's own
    download. Raises MetricMissing.
    """

    def __init__(self, name: str, weights: Path | None):
        self.name = name
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="torchvision")  # about how lpips calls it
                self._score = _LOADERS[name](weights)
        except DqError:
            raise
        except ImportError as error:
            raise MetricMissing(
                f"{name}: {error.name} is not installed; pip install 'dqcodec[eval]'") from error
        except (OSError, RuntimeError, KeyError) as error:  # no network for torch.hub, or other weights
            raise MetricMissing(
                f"{name}: its weights can not be loaded ({str(error).splitlines()[0]}); name a folder that "
                f"has them with --metric-weights or {metric_weights.VARIABLE}") from error

    def __call__(self, reference: np.ndarray, decoded: np.ndarray) -> float | None:
        """Score of `decoded` (H, W, 3) uint8 against `reference`, or None where the picture is too
        small for the metric."""
        if reference.shape != decoded.shape:
            raise DqError(f"decoded picture is {decoded.shape[1]}x{decoded.shape[0]}, "
                          f"the original {reference.shape[1]}x{reference.shape[0]}")
        return self._score(reference, decoded)


class ReferenceCache:
    """Stands before a feature network that a metric calls with the reference and then the decoded
    picture, and keeps the features of the last reference: half the work of a rate sweep.

    turn: set to 0 before each score.
    """

    def __init__(self, network: Callable):
        self.network, self.turn = network, 0
        self._image = self._features = None

    def __call__(self, x):
        self.turn += 1
        if self.turn != 1:
            return self.network(x)
        if self._image is None or self._image.shape != x.shape or not bool((self._image == x).all()):
            self._image, self._features = x, self.network(x)
        return self._features


def _psnr(weights: Path | None) -> Callable:
    from skimage.metrics import peak_signal_noise_ratio

    def score(reference, decoded):
        if np.array_equal(reference, decoded):
            return IDENTICAL_PSNR
        return float(peak_signal_noise_ratio(reference, decoded, data_range=255))

    return score


def _ms_ssim(weights: Path | None) -> Callable:
    from pytorch_msssim import ms_ssim

    def score(reference, decoded):
        if min(reference.shape[:2]) < MS_SSIM_SMALLEST_SIDE:
            return None
        return float(ms_ssim(_tensor(reference), _tensor(decoded), data_range=255))

    return score


def _lpips(net: str) -> Callable:
    def load(weights: Path | None) -> Callable:
        import_torchvision()
        import lpips
        import torch

        file = metric_weights.ALEXNET if net == "alex" else metric_weights.VGG16
        backbone = metric_weights.load(weights, file)
        linear = metric_weights.load(weights, metric_weights.LPIPS_LINEAR.format(net=net))
        if backbone is None:
            network = lpips.LPIPS(net=net, verbose=False)
        else:
            network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
            # lpips keeps torchvision's layer numbers, inside slices of its own: slice2.3.weight
            layers = {key.split(".", 1)[1]: key for key in network.net.state_dict()}
            network.net.load_state_dict(
                {layers[key.removeprefix("features.")]: value for key, value in backbone.items()})
        if linear is not None:
            network.load_state_dict(linear, strict=False)

        network.net.forward = cache = ReferenceCache(network.net.forward)

        def score(reference, decoded):
            cache.turn = 0
            with torch.inference_mode():
                a, b = _tensor(reference) / 127.5 - 1, _tensor(decoded) / 127.5 - 1
                return _or_none(lambda: float(network(a, b)))

        return score

    return load


def _dists(weights: Path | None) -> Callable:
    import_torchvision()
    import torch
    from DISTS_pytorch import DISTS_pt
    from torchvision.models.vgg import cfgs, make_layers

    backbone = metric_weights.load(weights, metric_weights.VGG16)
    heads = metric_weights.load(weights, metric_weights.DISTS)
    if backbone is None:
        network = DISTS_pt.DISTS(load_weights=heads is None)
    else:
        features = make_layers(cfgs["D"])
        features.load_state_dict({key.removeprefix("features."): value for key, value in backbone.items()})
        # The package asks torchvision for a download unconditionally.
        with mock.patch.object(DISTS_pt.models, "vgg16", lambda **_: SimpleNamespace(features=features)):
            network = DISTS_pt.DISTS(load_weights=heads is None)
    if heads is not None:
        network.alpha.data, network.beta.data = heads["alpha"], heads["beta"]
    network.eval()
    network.forward_once = cache = ReferenceCache(network.forward_once)

    def score(reference, decoded):
        cache.turn = 0
        with torch.inference_mode():
            return _or_none(lambda: float(network(_tensor(reference) / 255, _tensor(decoded) / 255)))

    return score


def _tensor(pixels: np.ndarray):
    import torch

    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()  # (1, 3, H, W) in 0..255


def _or_none(score: Callable[[], float]) -> float | None:
    """A pooling network refuses a picture that its layers shrink to nothing."""
    try:
        return score()
    except RuntimeError as error:
        if "too small" in str(error) or "Kernel size" in str(error):
            return None
        raise


_LOADERS = {"psnr": _psnr, "ms_ssim": _ms_ssim, "lpips_alex": _lpips("alex"), "lpips_vgg": _lpips("vgg"),
            "dists": _dists}


def usable(names: tuple[str, ...], weights: Path | None) -> tuple[list[str], list[str]]:
    """The metrics of `names` that can be loaded, and one line for each that can not."""
    good, missing = [], []
    for name in names:
        try:
            Scorer(name, weights)
            good.append(name)
        except MetricMissing as error:
            missing.append(str(error))
    return good, missing
