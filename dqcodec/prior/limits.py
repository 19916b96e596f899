"""What the tensors of a prior must be so that its integers are exact (docs/FORMAT.md, "The prior")."""

from __future__ import annotations

import numpy as np

from dqcodec.prior import context
from dqcodec.prior import fixed_point as fp
from dqcodec.prior.adaptation import LN2, MOST
from dqcodec.prior.config import PriorConfig

SUM_LIMIT = 2**23  # of a linear layer's products and bias: float32 then holds them, doubled, without rounding
_TABLES = {"exp_table": (1 << 16), "map_table": (1 << 16) - 1}
_ADAPT_TABLES = {"log_table": (256, 0, LN2), "unbias_table": (2 * MOST + 1, 1, 1 << 22)}  # size, least, most


def linear_shapes(config: PriorConfig) -> dict[str, tuple[int, int]]:
    """(rows, columns) of each linear layer by name."""
    d, steps = config.dim, range(len(config.factors))
    hot = 9 * (len(config.factors) + 1)
    shapes = {}
    for s in steps:
        shapes[f"near.{s}"] = d, context.slots(s) * config.embedding + hot
        shapes[f"token.{s}"] = d, config.embedding
        shapes[f"head.{s}"] = config.codebook_sizes[s], d
    for s in steps[:-1]:
        shapes[f"map_wide.{s}"] = config.map_hidden, d + 24
        shapes[f"map_head.{s}"] = 1, config.map_hidden
    for stack, depth in (("position", config.position_layers), ("content", config.content_layers)):
        for i in range(depth):
            parts = {"query": (d, d), "key_value": (2 * d, d), "out": (d, d), "wide": (config.hidden, d),
                     "narrow": (d, config.hidden)}
            shapes |= {f"{stack}_stack.{i}.{name}": shape for name, shape in parts.items()}
    return shapes


def layout(config: PriorConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor of a prior by name."""
    ladder, d = config.ladder, config.dim
    found = {
        "content": ("int8", (context.embedding_rows(ladder), config.embedding)),
        "label": ("int16", (1 + len(config.classes), d)),
        **{f"position.{s}": ("int16", ((config.tile * ladder.side(s)) ** 2, d)) for s in range(len(ladder))},
        **{name: ("uint32", (fp.EXP_SIZE,)) for name in _TABLES},
    }
    if config.adapts:
        found |= {name: ("uint32", (size,)) for name, (size, _, _) in _ADAPT_TABLES.items()}
    for name, (rows, columns) in linear_shapes(config).items():
        found[f"{name}.weight"] = "int8", (rows, columns)
        found[f"{name}.bias"] = "int32", (rows,)
        found[f"{name}.exponent"] = "uint8", (rows,)
    return found


def check(config: PriorConfig, tensors: dict[str, np.ndarray]) -> None:
    """Raise ValueError unless names, types, shapes and values of the tensors are those of an exact prior."""
    wanted = layout(config)
    for name in wanted.keys() ^ tensors.keys():
        raise ValueError(f"prior tensor {name} is {'missing' if name in wanted else 'unknown'}")
    for name, (kind, shape) in wanted.items():
        if tensors[name].dtype != np.dtype(kind) or tensors[name].shape != shape:
            raise ValueError(f"prior tensor {name} must be {kind} {shape}")
    _within(tensors, "content", -fp.CONTENT_MAX, fp.CONTENT_MAX)
    for name in ("label", *(f"position.{s}" for s in range(len(config.factors)))):
        _within(tensors, name, -fp.STREAM_MAX, fp.STREAM_MAX)
    for name, most in _TABLES.items():
        _within(tensors, name, 0 if name == "exp_table" else 1, most)
    for name, (_, least, most) in _ADAPT_TABLES.items():
        if config.adapts:
            _within(tensors, name, least, most)
    if tensors["exp_table"][0] == 0:
        raise ValueError("prior tensor exp_table must not begin with 0")
    for name in linear_shapes(config):
        _within(tensors, f"{name}.exponent", fp.WEIGHT_LOW, fp.WEIGHT_HIGH)
        most = fp.CONTENT_MAX if name.startswith(("near.", "token.")) else fp.INT8_MAX
        weight, bias = tensors[f"{name}.weight"].astype(np.int64), tensors[f"{name}.bias"].astype(np.int64)
        bound = (np.abs(weight).sum(1) * most + np.abs(bias)).max()
        if bound >= SUM_LIMIT:
            raise ValueError(f"prior layer {name}: sums may reach {bound}, beyond 2**23")
    slots = 1 + sum((config.tile * config.ladder.side(s)) ** 2 for s in range(len(config.factors)))
    if (fp.SCORE_TOP**2 >> 10) * fp.INT8_MAX * slots >= 2**24:
        raise ValueError(f"tiles of {config.tile}x{config.tile} regions are too large for exact attention")
    if 2 * fp.INT8_MAX**2 * (config.dim // config.heads) >= 2**24:
        raise ValueError(f"heads of {config.dim // config.heads} values are too wide for exact attention")


def _within(tensors: dict[str, np.ndarray], name: str, low: int, high: int) -> None:
    value = tensors[name]
    if value.min() < low or value.max() > high:
        raise ValueError(f"prior tensor {name} must lie in {low}..{high}")
