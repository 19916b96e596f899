"""The adversary: hinge losses, adaptive weight, and that the two players do not touch each other."""

import pytest
import torch
from torch import nn

from dqcodec.errors import ConfigError
from dqcodec.training.adversarial import AdversarialConfig, Adversary
from dqcodec.training.discriminator import FeatureDiscriminator, PatchDiscriminator


def small(**changes):
    torch.manual_seed(0)
    return Adversary(AdversarialConfig(**{"ndf": 8, "layers": 2, "norm": "none"} | changes))


def game(adversary, seed=0):
    """A one-layer generator on noise: (loss, metrics, its last layer's weight, reconstruction loss)."""
    torch.manual_seed(seed)
    generator = nn.Conv2d(3, 3, 3, padding=1)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    fake = generator(x)
    reconstruction = (fake - x).abs().mean()
    loss, metrics = adversary.generator_loss(fake, reconstruction, generator.weight)
    return loss, metrics, generator.weight, reconstruction


def test_default_discriminator_is_the_papers():
    model = PatchDiscriminator()
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(2.77, abs=0.01)
    assert model(torch.zeros(2, 3, 256, 256)).shape == (2, 1, 30, 30)


def test_adaptive_weight_balances_the_gradients_at_the_last_layer():
    loss, _, weight, reconstruction = game(small(max_adaptive_weight=1e9))
    pull = torch.autograd.grad(loss, weight, retain_graph=True)[0].norm()
    wanted = torch.autograd.grad(reconstruction, weight)[0].norm()
    assert 0.5 * wanted < pull <= wanted  # the guard of 1e-4 in the denominator takes a little


def test_adaptive_weight_is_clamped():
    _, metrics, *_ = game(small(max_adaptive_weight=0.01))
    assert metrics["adaptive_weight"] == pytest.approx(0.01)


def test_weight_scales_the_generator_loss():
    single, double = game(small(weight=1.0))[0], game(small(weight=2.0))[0]
    assert double.item() == pytest.approx(2 * single.item())


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_generator_step_leaves_no_gradient_in_the_discriminator(norm):
    adversary = small(norm=norm)
    loss, _, weight, _ = game(adversary)
    loss.backward()
    assert weight.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in adversary.parameters())


def test_discriminator_step_does_not_reach_the_generator():
    adversary = small()
    fake = torch.zeros(2, 3, 32, 32, requires_grad=True)
    adversary.discriminator_loss(torch.ones(2, 3, 32, 32), fake)[0].backward()
    assert fake.grad is None
    assert all(p.grad is not None for p in adversary.parameters())


def test_hinge_is_one_for_an_undecided_and_zero_for_a_sure_discriminator():
    adversary = small()
    real, fake = torch.ones(1, 3, 32, 32), -torch.ones(1, 3, 32, 32)
    adversary.discriminator = nn.Identity()
    assert adversary.discriminator_loss(torch.zeros_like(real), torch.zeros_like(real))[0].item() == 1
    assert adversary.discriminator_loss(real, fake)[0].item() == 0
    assert adversary.discriminator_loss(fake, real)[0].item() == 2


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_discriminator_learns_to_tell_flat_from_noise(norm):
    adversary = small(norm=norm)
    optimiser = torch.optim.Adam(adversary.parameters(), 2e-3, betas=(0.5, 0.9))
    for _ in range(30):
        noise, flat = 2 * torch.rand(4, 3, 32, 32) - 1, torch.zeros(4, 3, 32, 32)
        loss, metrics = adversary.discriminator_loss(noise, flat)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert metrics["discriminator"] < 0.5 and metrics["score_real"] > metrics["score_fake"]


@pytest.mark.parametrize("change", [
    {"norm": "layer"}, {"kind": "pixels"}, {"blocks": (5,)}, {"rate": -1.0}, {"weight": -1.0}, {"start_step": -1},
    {"push_step": -1}, {"layers": 0}, {"ndf": 0},
])
def test_config_out_of_range_is_refused(change):
    with pytest.raises(ConfigError):
        AdversarialConfig(**change)


def features(seed, places=8):
    """Features of VGG16's shapes on two patches, like those of LpipsVgg.features."""
    g = torch.Generator().manual_seed(seed)
    channels = FeatureDiscriminator.CHANNELS
    return [torch.rand(2, c, 4 * places >> i, 4 * places >> i, generator=g) for i, c in enumerate(channels)]


def test_every_block_of_features_has_the_same_weight():
    model = FeatureDiscriminator((1, 3))
    for head, value in zip(model.heads, (1.0, -3.0), strict=True):
        nn.init.zeros_(head[-1].weight)
        nn.init.constant_(head[-1].bias, value)
    scores = model(features(0))
    assert scores.shape == (2, 2 * 16 * 16) and scores.mean().item() == -1


def test_scores_are_those_of_heads_on_features_of_unit_length():
    model, seen = FeatureDiscriminator((0, 2)), features(0)
    expected = []
    for block, head in zip(model.blocks, model.heads, strict=True):
        f = seen[block]
        unit = f / (f.norm(dim=1, keepdim=True) + 1e-10)
        expected.append(head(unit * f.shape[1] ** 0.5).flatten(1))
    expected[1] = expected[1].repeat(1, expected[0].shape[1] // expected[1].shape[1])
    assert torch.allclose(model(seen), torch.cat(expected, 1), atol=1e-5)


def test_feature_discriminator_learns_and_pulls_the_generator_through_the_features():
    adversary = small(kind="features", adaptive=False, weight=0.1, blocks=(1, 2))
    optimiser = torch.optim.Adam(adversary.parameters(), 2e-3, betas=(0.5, 0.9))
    for step in range(20):
        poorer = [f * (torch.arange(f.shape[1]) % 2)[:, None, None] for f in features(step)]  # every other channel
        loss, metrics = adversary.discriminator_loss(features(step), poorer)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert metrics["discriminator"] < 0.5 and metrics["score_real"] > metrics["score_fake"]
    fake = [f.requires_grad_() for f in features(99)]
    pull, _ = adversary.generator_loss(fake, torch.zeros(()), nn.Parameter(torch.zeros(1)))
    pull.backward()
    assert fake[1].grad.abs().sum() > 0 and fake[0].grad is None  # block 0 is not looked at
    assert pull.item() == pytest.approx(-0.1 * adversary.discriminator(features(99)).mean().item(), rel=1e-5)


def test_the_view_is_the_picture_or_the_features_of_the_loss():
    x = torch.zeros(1, 3, 8, 8)
    assert small().view(x, None) is x
    seen = features(0)
    assert small(kind="features").view(x, seen) is seen
    with pytest.raises(ConfigError, match="lpips_vgg"):
        small(kind="features").view(x, None)
