import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from dqcodec.errors import DataError
from dqcodec.training.config import DataConfig
from dqcodec.training.data import Batches, Pictures, augmented_crop


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    with tarfile.open(tmp_path / "shard-000.tar", "w") as shard:
        for i in range(3):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (80, 100, 3), np.uint8)).save(buffer, "WEBP")
            member = tarfile.TarInfo(f"{i:05}.webp")
            member.size = buffer.tell()
            buffer.seek(0)
            shard.addfile(member, buffer)
    (tmp_path / "plain").mkdir()
    Image.fromarray(rng.integers(0, 255, (70, 64), np.uint8)).save(tmp_path / "plain" / "grey.png")
    return tmp_path


def test_shards_and_plain_folders_are_read_together(folder):
    pictures = Pictures([folder])
    assert len(pictures) == 4
    assert all(pictures[i].shape[2] == 3 for i in range(4))


def test_batch_is_a_function_of_seed_and_step_alone(folder):
    config = DataConfig(crop=32, batch=4)
    first = Batches(Pictures([folder]), config, seed=7)
    walked = [first(step) for step in range(3)]
    jumped = Batches(Pictures([folder], cache_bytes=0), config, seed=7)(2)
    assert torch.equal(walked[2], jumped)
    assert not torch.equal(walked[1], walked[2])
    assert not torch.equal(Batches(Pictures([folder]), config, seed=8)(2), jumped)


def test_ranks_get_the_parts_of_one_larger_batch(folder):
    whole = Batches(Pictures([folder]), DataConfig(crop=32, batch=4), 7)(0)
    halves = [Batches(Pictures([folder]), DataConfig(crop=32, batch=2), 7, rank, 2)(0) for rank in (0, 1)]
    assert torch.equal(whole, torch.cat(halves))


def test_crops_of_pictures_smaller_than_the_crop_are_enlarged():
    crop = augmented_crop(np.zeros((20, 30, 3), np.uint8), DataConfig(crop=48), np.random.default_rng(0))
    assert crop.shape == (48, 48, 3)


def test_missing_empty_and_broken_data_are_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        Pictures([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="no pictures"):
        Pictures([tmp_path])
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="bad.png"):
        Pictures([tmp_path])[0]
