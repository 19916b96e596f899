"""LPIPS with VGG16 as a loss, with a distance for each region.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". Own
code because training must run on a machine that has only torch; evaluation uses the lpips package.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dqcodec.errors import DataError
from dqcodec.torchvision_fix import import_torchvision

VGG_FILE = "vgg16_features_fp16.safetensors"
LINEAR_FILE = "lpips_lin_v0.1_vgg.safetensors"
CACHED = 1 << 16  # numbers of a tensor that UnitGap and Lengths work on at a time on a CPU
# VGG16 as (torchvision layer index, channels), "pool" between; a tap after each block.
BLOCKS = (((0, 64), (2, 64)), ((5, 128), (7, 128)), ((10, 256), (12, 256), (14, 256)),
          ((17, 512), (19, 512), (21, 512)), ((24, 512), (26, 512), (28, 512)))


class LpipsVgg(nn.Module):
    """forward(a, b), both (B, 3, H, W) in [-1, 1], H and W multiples of 16 -> (B, H/16, W/16), whose
    mean is LPIPS-VGG v0.1. Gradient flows to `a` only."""

    def __init__(self, folder: str | Path | None):
        """folder: with VGG_FILE and LINEAR_FILE; None for those of the lpips package. Raises DataError without."""
        super().__init__()
        weights, linear = _of_package() if folder is None else _of_folder(Path(folder))
        self.blocks = nn.ModuleList()
        cin = 3
        for block in BLOCKS:
            convs = nn.ModuleList()
            for index, cout in block:
                conv = nn.Conv2d(cin, cout, 3, padding=1)
                conv.weight.data = weights[f"features.{index}.weight"].float()
                conv.bias.data = weights[f"features.{index}.bias"].float()
                convs.append(conv)
                cin = cout
            self.blocks.append(convs)
        for i, key in enumerate(sorted(linear)):
            self.register_buffer(f"linear{i}", linear[key].float().flatten())
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self._gap = UnitGap.apply

    def fuse(self) -> None:
        """Compile features and distances, each to a few kernels."""
        self._gap = unit_gap
        self.features = torch.compile(self.features, dynamic=False)
        self.distance = torch.compile(self.distance, dynamic=False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Activations (B, C, H/2**i, W/2**i) after block i = 0..4 of x (B, 3, H, W) in [-1, 1]."""
        h = (x - self.shift) / self.scale
        taps = []
        for i, convs in enumerate(self.blocks):
            if i:
                h = F.max_pool2d(h, 2)
            for conv in convs:
                h = F.relu(conv(h))
            taps.append(h)
        return taps

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """LPIPS (B, H/16, W/16) between pictures with the features a and b."""
        grid = (a[0].shape[2] // 16, a[0].shape[3] // 16)
        total = 0
        for i, (fa, fb) in enumerate(zip(a, b, strict=True)):
            gap = self._gap(fa, fb, getattr(self, f"linear{i}"))  # (B, h, w)
            total = total + F.adaptive_avg_pool2d(gap[:, None], grid)[:, 0]
        return total

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        with torch.no_grad():
            reference = self.features(b)
        return self.distance(self.features(a), reference)


def _of_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """VGG16's and LPIPS' weights."""
    for name in (VGG_FILE, LINEAR_FILE):
        if not (folder / name).exists():
            raise DataError(
                f"{folder / name}: missing; LPIPS-VGG needs VGG16 and LPIPS weights as safetensors, "
                "name their folder with --metric-weights"
            )
    return _read(folder / VGG_FILE), _read(folder / LINEAR_FILE)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: broken weight file ({error}); fetch it again") from error


def _of_package() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same from the lpips package, for which torchvision downloads VGG16 once."""
    help_ = "name a folder that has them with --metric-weights"
    try:
        import_torchvision()
        import lpips

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torchvision")  # about how lpips calls it
            state = lpips.LPIPS(net="vgg", verbose=False).state_dict()
    except ImportError as error:
        raise DataError(f"LPIPS-VGG needs VGG16 and LPIPS weights: {help_}, or pip install 'dqcodec[eval]', which "
                        "downloads them") from error
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"LPIPS-VGG: its weights can not be downloaded ({reason}); {help_}") from error
    # lpips keeps torchvision's layer numbers, inside slices of its own: net.slice2.5.weight
    return ({f"features.{key.split('.', 2)[2]}": value for key, value in state.items() if key.startswith("net.slice")},
            {key: value for key, value in state.items() if key.startswith("lin") and not key.startswith("lins")})


def unit_gap(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """UnitGap as an expression, for a compiler to fuse: by itself it keeps much in memory."""
    with torch.autocast(a.device.type, enabled=False):
        a, b = (f.float() / lengths(f) for f in (a, b.detach()))
        return ((a - b).square() * weight[:, None, None]).sum(1)


def lengths(f: Tensor) -> Tensor:
    """Lengths as an expression, for a compiler to fuse."""
    return _length(f.float())


class UnitGap(torch.autograd.Function):
    """Features a and b (B, C, h, w), weight (C,) -> (B, h, w): sum over channels of weight * (a/|a| - b/|b|)^2.

    Gradient flows to `a` only.
    """

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(a, b, weight)
        ra, rb = _rows(a), _rows(b)
        gap = torch.empty(len(ra), device=a.device)
        with torch.autocast(a.device.type, enabled=False):
            for part in _parts(ra):
                gap[part] = (_unit(ra[part])[0] - _unit(rb[part])[0]).square_() @ weight
        return gap.view(a.shape[0], *a.shape[2:])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        a, b, weight = ctx.saved_tensors
        ra, rb = _rows(a), _rows(b)
        grad = 2 * grad.reshape(-1, 1).float()  # (P, 1)
        out = torch.empty_like(ra)
        for part in _parts(ra):
            ua, length = _unit(ra[part])
            towards = (ua - _unit(rb[part])[0]).mul_(weight).mul_(grad[part])  # gradient of a/|a|
            along = (towards * ua).sum(1, keepdim=True)  # a/|a| does not change with the length of a
            out[part] = towards.sub_(ua.mul_(along)).div_(length)
        return _picture(out, a), None, None


class Lengths(torch.autograd.Function):
    """Features (B, C, h, w) -> their lengths over channels (B, 1, h, w), float32."""

    @staticmethod
    def forward(ctx, f: Tensor) -> Tensor:
        rows = _rows(f)
        out = torch.empty(len(rows), 1, device=f.device)
        for part in _parts(rows):
            out[part] = _length(rows[part].float())
        ctx.save_for_backward(f, out)
        return out.view(f.shape[0], 1, *f.shape[2:])

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        f, lengths = ctx.saved_tensors
        rows = _rows(f)
        scale = grad.reshape(-1, 1).float() / lengths  # (P, 1)
        out = torch.empty_like(rows)
        for part in _parts(rows):
            out[part] = rows[part].float() * scale[part]
        return _picture(out, f)


# On a CPU these work on a few rows at a time, which stay in its cache: with whole tensors a sixth of a training
# step went into them.


def _rows(f: Tensor) -> Tensor:
    """(B, C, h, w) -> (P, C), P = B*h*w places; a view of channels_last features."""
    return f.permute(0, 2, 3, 1).reshape(-1, f.shape[1])


def _picture(rows: Tensor, like: Tensor) -> Tensor:
    """(P, C) -> (B, C, h, w) as of `like`, a channels_last view."""
    return rows.view(like.shape[0], *like.shape[2:], like.shape[1]).permute(0, 3, 1, 2)


def _parts(rows: Tensor) -> Iterator[slice]:
    """Runs of rows (P, C)."""
    size = max(1, CACHED // rows.shape[1]) if rows.device.type == "cpu" else len(rows)
    return (slice(start, start + size) for start in range(0, len(rows), size))


def _length(rows: Tensor) -> Tensor:
    """Lengths (P, 1) of rows (P, C), or (B, 1, h, w) of features (B, C, h, w), never zero."""
    return torch.linalg.vector_norm(rows, dim=1, keepdim=True) + 1e-10


def _unit(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (P, C) scaled to unit length, in float32, and their lengths (P, 1)."""
    rows = rows.float()
    length = _length(rows)
    return rows / length, length


def random_patch(x: Tensor, side: int) -> tuple:
    """Index of a random square of pictures (B, C, H, W), of `side` pixels or as many as there are."""
    side = min(side, x.shape[2], x.shape[3])
    top, left = (int(torch.randint(size - side + 1, ())) for size in x.shape[2:])
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)
