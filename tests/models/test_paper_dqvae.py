"""Paper mode: the whole DQ-VAE, and that the faults of the reference release are absent."""

import dataclasses
import math

import pytest
import torch

from dqcodec.errors import ImageError
from dqcodec.models.paper import PaperCodes, PaperConfig, PaperDQVAE
from dqcodec.models.paper.budget import budget_loss
from dqcodec.models.paper.router import hard_gumbel
from dqcodec.training.config import load

DUAL = PaperConfig.from_dict(load("paper_dual_tiny").model)
TRIPLE = dataclasses.replace(
    DUAL, grains=(32, 16, 8), channel_multipliers=(1, 1, 2, 2, 4, 4), budget_ratios=(0.3, 0.3)
)


@pytest.fixture(params=[DUAL, TRIPLE], ids=["dual", "triple"])
def model(request):
    torch.manual_seed(0)
    return PaperDQVAE(request.param)


def pictures(batch=2, height=64, width=96):
    """Smooth ramps with a noisy corner, in [-1, 1]."""
    generator = torch.Generator().manual_seed(1)
    x = torch.linspace(-1, 1, width).expand(batch, 3, height, width).clone()
    x[..., : height // 2, : width // 2] = 2 * torch.rand(
        batch, 3, height // 2, width // 2, generator=generator
    ) - 1
    return x


def test_shapes_levels_bits_and_codes_are_consistent(model):
    x, config = pictures(), model.config
    out = model.train()(x, step=0)
    assert out.reconstruction.shape == x.shape
    assert out.commitment_loss.ndim == out.auxiliary_loss.ndim == 0
    regions = (2, 64 // config.region, 96 // config.region)
    assert out.levels.shape == regions and out.levels.dtype == torch.int64
    counts = torch.tensor(config.codes_per_region)[out.levels].sum(dim=(1, 2))
    assert torch.allclose(out.bits, counts * math.log2(config.codebook_size))
    codes = model.eval().encode(x)
    assert codes.indices.shape == (2, 8, 12)
    assert codes.indices.min() >= 0 and codes.indices.max() < config.codebook_size


def test_evaluation_is_deterministic_and_agrees_with_encode_and_decode(model):
    model.eval()
    x = pictures()
    first, second = model(x, step=0), model(x, step=1)
    assert torch.equal(first.reconstruction, second.reconstruction)
    codes = model.encode(x)
    assert torch.equal(codes.levels, first.levels)
    assert torch.allclose(model.decode(codes), first.reconstruction, atol=1e-5)


def test_every_image_of_a_batch_meets_its_budget(model):
    count = model.config.codes_per_region
    ratios = model.config.budget_ratios
    codes = model.eval().encode(pictures(batch=3), ratios)
    regions = codes.levels[0].numel()
    for grain, ratio in enumerate(ratios, start=1):
        assert ((codes.levels == grain).sum(dim=(1, 2)) == round(ratio * regions)).all()
    _, bits = model.reconstruct(pictures(batch=3), bpp=0.05)
    wanted = max(0.05 * 64 * 96, regions * math.log2(model.config.codebook_size))
    step = (count[-1] - 1) * math.log2(model.config.codebook_size)
    assert ((bits - wanted).abs() <= step).all() and bits.unique().numel() == 1


@pytest.mark.parametrize("height, width", [(32, 32), (32, 96), (96, 64)])
def test_sizes_other_than_256_work(model, height, width):
    x = pictures(1, height, width)
    assert model.train()(x, step=0).reconstruction.shape == x.shape
    assert model.eval().decode(model.encode(x)).shape == x.shape


@pytest.mark.parametrize("shape", [(1, 3, 40, 64), (1, 1, 64, 64), (3, 64, 64), (1, 3, 0, 64)])
def test_input_that_regions_do_not_cover_is_refused(model, shape):
    with pytest.raises(ImageError, match=f"multiples of {model.config.region}"):
        model(torch.zeros(shape))


def test_replicated_code_counts_once_in_the_codebook_statistics(model):
    seen = []
    model.codebook.update = seen.append
    out = model.train()(pictures(), step=0)
    codes = torch.tensor(model.config.codes_per_region)[out.levels].sum().item()
    assert [len(vectors) for vectors in seen] == [codes]
    assert (out.levels == 0).any() and codes < 2 * 8 * 12  # a count of cells would not pass


def test_codebook_moves_exactly_once_per_step(model):
    x, steps = pictures(), []
    update = model.codebook.update
    model.codebook.update = lambda vectors: (steps.append(0), update(vectors))
    model.train()
    model(x, step=0)
    moved = model.codebook.embedding.clone()
    model(x, step=0)  # a second pass of the same step, as for a discriminator
    with torch.no_grad():
        model(x, step=1)
    model(x)
    model.eval()(x, step=1)
    assert len(steps) == 1 and torch.equal(model.codebook.embedding, moved)
    model.train()(x, step=1)
    assert len(steps) == 2 and not torch.equal(model.codebook.embedding, moved)


def test_decoder_is_told_the_grain_map(model):
    codes = model.eval().encode(pictures(), ratios=(0.0,) * len(model.config.budget_ratios))
    other = PaperCodes(torch.ones_like(codes.levels), codes.indices)
    assert not torch.allclose(model.decode(codes), model.decode(other), atol=1e-3)


def test_flat_images_of_any_brightness_are_routed_and_decoded(model):
    flat = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 64, 64)
    out = model.eval()(flat)
    assert out.reconstruction.isfinite().all() and out.commitment_loss.isfinite()
    assert out.levels.min() >= 0 and out.levels.max() < len(model.config.grains)
    model.train()(flat, step=0).reconstruction.mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_router_learns_from_the_reconstruction(model):
    x = pictures()
    (model.train()(x, step=0).reconstruction - x).abs().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.router.mlp.parameters())


def test_router_learns_from_the_budget(model):
    model.train()(pictures(), step=0).auxiliary_loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.router.mlp.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())


def test_training_the_decoder_alone_keeps_the_codes(model):
    x = pictures()
    codes = model.eval().encode(x)
    model.train()
    for part in (model.encoder, model.router, model.codebook):
        part.eval()
    out = model(x, step=0)
    assert torch.equal(out.levels, codes.levels)
    assert torch.equal(model.eval().encode(x).indices, codes.indices)


def test_training_lowers_the_loss_on_a_fixed_batch(model):
    x = pictures()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    model.train()
    losses = []
    for step in range(20):
        out = model(x, step=step)
        reconstruction = (out.reconstruction - x).abs().mean()
        optimiser.zero_grad()
        (reconstruction + 0.25 * out.commitment_loss + out.auxiliary_loss).backward()
        optimiser.step()
        losses.append(reconstruction.item())
    assert sum(losses[-3:]) / 3 < 0.8 * losses[0], losses


def test_budget_loss_alone_drives_the_sampled_share_to_the_budget():
    torch.manual_seed(0)
    model = PaperDQVAE(dataclasses.replace(DUAL, budget_ratios=(0.1,))).train()
    optimiser = torch.optim.Adam(model.router.parameters(), 1e-2)
    x = pictures(2, 64, 64)
    with torch.no_grad():
        maps = model.encoder(x)
    for _ in range(200):
        gates = hard_gumbel(model.router(maps), 1.0)
        optimiser.zero_grad()
        budget_loss(gates, (0.1,), 1.0).backward()
        optimiser.step()
    with torch.no_grad():
        shares = torch.stack([hard_gumbel(model.router(maps), 1.0)[:, 1].mean((1, 2)) for _ in range(50)])
    assert torch.allclose(shares.mean(0), torch.full((2,), 0.1), atol=0.06)


def test_bfloat16_autocast_trains(model):
    x = pictures()
    with torch.autocast("cpu", torch.bfloat16):
        out = model.train()(x, step=0)
    loss = (out.reconstruction.float() - x).abs().mean() + out.commitment_loss + out.auxiliary_loss
    loss.backward()
    assert loss.isfinite() and model.last_layer.grad.isfinite().all()
