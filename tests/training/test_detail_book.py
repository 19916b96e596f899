"""The codebook for single patches: what it codes is worth its bits, and its file shows by another layer's network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dqcodec.cli import cli
from dqcodec.errors import ConfigError, DataError
from dqcodec.models.detail import PLACE_BITS, VALUES, Detail, DetailConfig, best_codes
from dqcodec.training.detail_book import Lacking, cluster
from dqcodec.training.detail_config import from_dict
from dqcodec.training.detail_trainer import DetailTrainer
from dqcodec.weights import detail_file
from tests.training.test_detail_trainer import CONFIG, folders, run  # noqa: F401  one is a fixture


@pytest.mark.parametrize("count", [0, 1, 50])
def test_the_best_code_is_the_best_of_all(count):
    torch.manual_seed(0)
    vectors, book, bits = torch.randn(count, VALUES), torch.randn(16, VALUES), torch.rand(16) * 12
    worth = torch.rand(count)
    codes, saved = best_codes(vectors, book, bits, worth)
    error = (vectors[:, None] - book).square().sum(-1)  # (n, K)
    gain = vectors.square().sum(1)[:, None] - error - worth[:, None] * (bits + PLACE_BITS)
    assert codes.shape == saved.shape == (count,)
    assert torch.allclose(saved, gain.max(1).values if count else gain.sum(1), atol=1e-3)
    assert torch.equal(codes, gain.argmax(1))


def test_the_codebook_finds_what_lacks_often_and_leaves_the_rest():
    """Eight shapes come often and strong, noise around them is worth nothing at this worth of a bit."""
    torch.manual_seed(0)
    shapes = torch.randn(8, VALUES)
    which = torch.randint(8, (4000,))
    strong = torch.arange(4000) < 1000
    vectors = 0.1 * torch.randn(4000, VALUES) + strong[:, None] * shapes[which]
    found = Lacking(vectors, torch.full((4000,), 0.3))
    book = cluster(found, 16)
    assert torch.cdist(shapes, book).min(1).values.max() < 0.5
    _, saved = best_codes(vectors, book, torch.full((16,), 4.0), found.worth)
    assert (saved[strong] > 0).all() and (saved[~strong] > 0).float().mean() < 0.01
    with pytest.raises(DataError, match="more crops"):
        cluster(found, 1000)


def test_the_command_makes_a_layer_that_borrows_a_network(folders, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "detail").mkdir()
    monkeypatch.setenv("DQCODEC_MODELS", str(tmp_path))
    torch.manual_seed(0)
    config = DetailConfig(codes=32, width=8, blocks=1, half=4)
    lender = tmp_path / "detail" / "default.safetensors"
    mark = detail_file.write(lender, config, Detail(config).state_dict(), np.full(32, 2048, np.uint32),
                             {"steps": "0", "hours": "0"})
    output = tmp_path / "detail" / "sparse.safetensors"
    result = CliRunner().invoke(cli, ["train", "book", "--network", str(lender), "--model", str(folders.models[0]),
                                      "--data", str(folders.data[0]), "--output", str(output), "--codes", "8",
                                      "--crops", "2"])
    assert result.exit_code == 0, result.output
    layer = detail_file.named("sparse")
    assert layer.fingerprint.hex() in result.output and layer.fingerprint != mark
    assert layer.table.sparse and layer.net.config.codes == 8 and layer.table.table.sum() == 65536
    assert torch.isfinite(layer.net.codebook.embedding).all()
    _train_on(folders, lender, output, tmp_path)


def _train_on(folders, lender, sparse, tmp_path) -> None:  # noqa: F811
    """The network of both goes on, and files notice by its looks alone."""
    values = CONFIG | {"sparse": 0.5}
    with pytest.raises(ConfigError, match="--layer"):
        DetailTrainer(from_dict(values), folders)
    with pytest.raises(DataError, match="single patches"):
        DetailTrainer(from_dict(values), replace(folders, layers=(sparse, lender)))
    state = run(from_dict(values), replace(folders, layers=(lender, sparse)))
    rows = (folders.out / "valid.csv").read_text().splitlines()
    assert rows[0] == "step,hours,psnr_base,psnr_detail,psnr_patches"
    before, after = detail_file.read(lender), tmp_path / "after.safetensors"
    done = CliRunner().invoke(cli, ["train", "export", "--run", str(folders.out), "--layer", str(lender), "--output",
                                    str(after)])
    assert done.exit_code == 0 and before.fingerprint.hex() in done.output, done.output
    got = detail_file.read(after)
    assert np.array_equal(got.table.table, before.table.table) and state["step"] == 6
    assert torch.equal(got.net.codebook.embedding, before.net.codebook.embedding)
    assert not torch.equal(got.net.trunk[0].weight, before.net.trunk[0].weight)
    other = DetailConfig(codes=32, width=8, blocks=1, half=4)
    torch.manual_seed(5)
    detail_file.write(tmp_path / "else.safetensors", other, Detail(other).state_dict(), before.table.table, {})
    done = CliRunner().invoke(cli, ["train", "export", "--run", str(folders.out), "--layer",
                                    str(tmp_path / "else.safetensors"), "--output", str(after)])
    assert done.exit_code != 0
