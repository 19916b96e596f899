import numpy as np
import pytest
import torch
from PIL import Image

from dqcodec.errors import DataError
from dqcodec.training.config import DataConfig
from dqcodec.training.data import Pictures
from dqcodec.training.resident import ResidentBatches

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    # Red says the row, green the column, blue the picture: a crop tells where it is from.
    for i, (height, width) in enumerate([(64, 96), (128, 80), (40, 40)]):
        rows, cols = np.mgrid[:height, :width]
        Image.fromarray(np.stack([rows, cols, np.full_like(rows, 40 * (i + 1))], 2).astype(np.uint8)).save(
            tmp_path / f"{i}.png")
    return tmp_path


def batches(folder, rank=0, **values):
    config = DataConfig(**{"crop": 48, "batch": 40, "grey": 0.0, **values})
    return ResidentBatches(Pictures([folder]), config, 0, rank, 2, CPU)


def test_crops_are_pieces_of_the_pictures(folder):
    x = batches(folder, min_scale=1.0)(3)
    assert x.shape == (40, 3, 48, 48) and x.dtype == torch.float32
    pixels = ((x + 1) * 127.5).round()
    blue = pixels[:, 2, 0, 0]
    plain = [p for p in pixels if bool((p[2] == p[2, 0, 0]).all()) and int(p[2, 0, 0]) in (40, 80)]
    assert len(plain) > 25 and set(blue.int().tolist()) >= {40, 80} and 120 not in blue.int().tolist()
    mirrored = 0
    for p in plain:
        top, left = p[0, 0, 0], p[1, 0].min()
        expected = left + torch.arange(48)
        mirrored += int(p[1, 0, 0] > p[1, 0, 1])
        assert torch.equal(p[1, 0].sort().values, expected) and torch.equal(p[0, :, 0], top + torch.arange(48))
    assert 0 < mirrored < len(plain)


def test_larger_pieces_are_reduced(folder):
    x = batches(folder, min_scale=0.5)(0)
    slope = (x[:, 0, -1] - x[:, 0, 0]).mean(1) * 127.5 / 47  # pixels of the picture for one of the crop
    assert slope.max() > 1.2 and slope.min() > 0.5


def test_a_batch_depends_on_seed_step_and_rank_alone(folder):
    one, again, other = batches(folder), batches(folder), batches(folder, rank=1)
    one(0)
    assert torch.equal(one(5), again(5))
    assert not torch.equal(one(5), one(6)) and not torch.equal(one(5), other(5))


def test_pictures_smaller_than_a_crop_are_named(folder):
    with pytest.raises(DataError, match="as large as a crop, 256x256"):
        batches(folder, crop=256)
