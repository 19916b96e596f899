"""From the trained network to the integers that model files hold, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dqcodec.prior import fixed_point as fp
from dqcodec.prior.adaptation import log_table, unbias_table
from dqcodec.prior.network import DQTransformer, FixedLinear
from dqcodec.prior.probabilities import exp_table, map_table

# Grid of each linear layer's input, by the first or last part of its name.
_INPUT = {"near": fp.CONTENT, "token": fp.CONTENT, "head": fp.NORM, "map_wide": fp.NORM, "map_head": fp.HEAD,
          "query": fp.NORM, "key_value": fp.NORM, "out": fp.HEAD, "wide": fp.NORM, "narrow": fp.HEAD}


def quantised(network: DQTransformer) -> dict[str, np.ndarray]:
    """Integer tensors of a prior by name: weight int8, bias int32 and exponent uint8 of each linear layer,
    embeddings int8 and int16, and the tables."""
    found: dict[str, np.ndarray] = {"exp_table": exp_table(), "map_table": map_table()}
    if network.config.adapts:
        found |= {"log_table": log_table(), "unbias_table": unbias_table()}
    with torch.no_grad():
        found["content"] = _grid(network.content, fp.CONTENT, fp.CONTENT_MAX).astype(np.int8)
        found["label"] = _grid(network.label, fp.STREAM, fp.STREAM_MAX).astype(np.int16)
        for s, position in enumerate(network.position):
            found[f"position.{s}"] = _grid(position, fp.STREAM, fp.STREAM_MAX).astype(np.int16)
        for name, module in network.named_modules():
            if isinstance(module, FixedLinear):
                found |= _linear(name, module, _exponent_in(name))
    return found


def restored(tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """State of a DQTransformer whose integers are `tensors`, as `quantised` gives them: to train on from a model
    file. `quantised` of it gives the same integers again."""
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        x = torch.from_numpy(value.astype(np.float32))
        kind, _, part = name.rpartition(".")
        if name == "content":
            state[name] = x / 2**fp.CONTENT
        elif name == "label" or kind == "position":
            state[name] = x / 2**fp.STREAM
        elif part in ("weight", "bias"):
            scale = torch.from_numpy(np.exp2(tensors[f"{kind}.exponent"].astype(np.float32)))  # (rows,)
            state[name] = x / scale[:, None] if part == "weight" else x / (scale * 2 ** _exponent_in(kind))
    return state


def _exponent_in(name: str) -> int:
    """Exponent of the inputs of the linear layer `name`."""
    parts = name.split(".")
    return _INPUT.get(parts[0]) or _INPUT[parts[-1]]


def _grid(x: Tensor, exponent: int, most: int) -> np.ndarray:
    return torch.floor(x.float() * 2**exponent + 0.5).clamp(-most, most).cpu().numpy()


def _linear(name: str, module: FixedLinear, exponent_in: int) -> dict[str, np.ndarray]:
    exponent = fp.weight_exponents(module.weight, module.shared)  # (rows,)
    weight = torch.floor(module.weight * fp.power_of_two(exponent)[:, None] + 0.5).clamp(-fp.INT8_MAX, fp.INT8_MAX)
    bias = torch.floor(module.bias * fp.power_of_two(exponent + exponent_in) + 0.5)
    return {
        f"{name}.weight": weight.cpu().numpy().astype(np.int8),
        f"{name}.bias": bias.cpu().numpy().astype(np.int32),
        f"{name}.exponent": exponent.cpu().numpy().astype(np.uint8),
    }
