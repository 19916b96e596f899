"""Checkpoints: written to a temporary file, then renamed, so that a kill never leaves half of one."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from dqcodec.errors import DataError
from dqcodec.prior.quantised import restored
from dqcodec.weights.fingerprint import PRIOR, TABLES
from dqcodec.weights.loans import read_whole
from dqcodec.weights.realism import DECODER, REALISM, Dial
from dqcodec.weights.registry import is_model_file

NAME = "checkpoint.pt"


def save(folder: Path, state: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (NAME + ".part")
    torch.save(state, temporary)
    os.replace(temporary, folder / NAME)


def load(folder: Path, device: torch.device | str = "cpu") -> dict:
    """State of the last checkpoint in `folder`; raises DataError if there is none or it is broken."""
    path = Path(folder) / NAME
    if not path.exists():
        raise DataError(f"{path}: nothing to resume; start without --resume")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise DataError(f"{path}: broken checkpoint ({str(error).splitlines()[0]})") from error


def initial_prior(path: Path, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """State dict to start a prior's run from: the averaged weights of a checkpoint, or the integers of a model file."""
    if not is_model_file(path):
        return initial_weights(path, device)
    integers = {k.removeprefix(PRIOR): v for k, v in read_whole(path)[0].items() if k.startswith(PRIOR)}
    if not integers:
        raise KeyError(f"{path} has no prior")
    return {name: value.to(device) for name, value in restored(integers).items()}


def initial_weights(path: Path, device: torch.device | str = "cpu", real: bool = False) -> dict[str, torch.Tensor]:
    """State dict to start a run from: the averaged weights of a checkpoint, or those of a model file.

    real: of a model with two decoders the one after adversarial training; else the plain one, without the noise and
    the blocks that only the other has.

    A model file has no moving averages of its codebooks. They start as if every code had been used as
    often as its entropy table says, once a step in the mean, so that no code is restarted at once.
    """
    if not is_model_file(path):
        return torch.load(path, map_location=device, weights_only=True)["ema"]
    tensors = {name: value for name, value in read_whole(path)[0].items() if not name.startswith(PRIOR)}
    dial = {name: tensors.pop(name) for name in list(tensors) if name.startswith(REALISM)}
    state = {name: torch.from_numpy(value).to(device) for name, value in tensors.items()}
    tables = {name: state.pop(name) for name in list(state) if name.startswith(TABLES)}
    state = {name: value.float() for name, value in state.items()}
    if dial and real:
        state |= {DECODER + name: state[DECODER + name] + delta.to(device)
                  for name, delta in Dial.read(dial, state, 1.0).delta.items()}
    elif dial:
        blocks = {name: name.rpartition(".conv")[0] for name in state if name.startswith(DECODER + "stages.")}
        used = {block for name, block in blocks.items() if state[name].any()}
        state = {name: value for name, value in state.items() if not name.startswith(DECODER + "noise.")
                 and (name not in blocks or blocks[name] in used)}
    for name, table in tables.items():
        book = f"quantizer.codebooks.{name.removeprefix(TABLES)}."
        count = table.float() / table.float().mean()  # (K,)
        state[book + "ema_count"] = count
        state[book + "ema_sum"] = count[:, None] * state[book + "embedding"]
        state[book + "updates"] = torch.tensor(10_000, device=device)
    return state
