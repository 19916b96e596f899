from dataclasses import replace

import pytest
import torch

from dqcodec.errors import DataError
from dqcodec.training import checkpoint, parts
from dqcodec.training.config import from_dict
from dqcodec.training.parts import join, split
from dqcodec.training.trainer import Trainer
from tests.training.test_trainer import CONFIG, folders, run

__all__ = ["folders"]


def test_a_run_comes_home_in_pieces(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "LARGEST", 4096)
    state = run(from_dict(CONFIG | {"steps": 2}), folders)
    pieces = split(folders.out, tmp_path / "pieces")
    assert len(pieces) > 3 and max(p.stat().st_size for p in pieces) == 4096
    join(tmp_path / "pieces", tmp_path / "home")
    found = checkpoint.load(tmp_path / "home")
    assert from_dict(found["config"]) == from_dict(CONFIG | {"steps": 2}) and found["step"] == 2
    assert found["ema"].keys() == state["ema"].keys()
    for name, value in state["ema"].items():
        kernel = name.startswith(("encoder.", "router.", "decoder.")) and value.ndim > 1
        assert torch.equal(found["ema"][name], value.half().float() if kernel else value), name


def test_a_missing_piece_is_noticed(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "LARGEST", 4096)
    run(from_dict(CONFIG | {"steps": 1}), folders)
    split(folders.out, tmp_path / "pieces")[1].unlink()
    for source in (tmp_path / "pieces", tmp_path / "nothing"):
        with pytest.raises(DataError, match="not the pieces of a run"):
            join(source, tmp_path / "home")


def test_a_deeper_model_starts_as_the_one_it_comes_from(folders, tmp_path):
    shallow = run(from_dict(CONFIG | {"steps": 2}), folders)
    model = CONFIG["model"] | {"encoder_blocks": [1, 1, 1, 1], "decoder_blocks": [2, 1, 1, 0, 0]}
    start = folders.out / checkpoint.NAME
    new = replace(folders, out=tmp_path / "new")
    deep, plain = (Trainer(from_dict(CONFIG | {"model": shape}), new, init=start).model
                   for shape in (model, CONFIG["model"]))
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    levels = torch.full((1, 4, 4), 2)
    with torch.no_grad():
        ours, theirs = (m.eval()(x, levels=levels).reconstruction for m in (deep, plain))
    assert len(deep.state_dict()) > len(shallow["ema"]) and torch.allclose(ours, theirs, atol=1e-5)
