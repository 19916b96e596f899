import pytest
import torch

from dqcodec.models.detail import PATCH, VALUES, Detail, DetailConfig

SMALL = DetailConfig(codes=16, width=8, blocks=1, half=4)


def detail(trained: bool = True) -> Detail:
    torch.manual_seed(0)
    made = Detail(SMALL).eval()
    if trained:
        for p in made.parameters():
            torch.nn.init.normal_(p, std=0.1)
    return made


def pictures(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return tuple(torch.rand(2, *shape, 3, 48, 32).mul(2).sub(1))


@torch.no_grad()
def test_an_untrained_layer_is_residual_quantisation():
    made, (x, shown) = detail(trained=False), pictures(2)
    codes = made.quantise(x, shown)
    vectors = made.lookup(codes)
    assert codes.shape == (2, 12, 8) and vectors.shape == (2, VALUES, 12, 8)
    lacking = torch.nn.functional.pixel_unshuffle(x - shown, PATCH).permute(0, 2, 3, 1)
    nearest = torch.cdist(lacking.reshape(-1, VALUES), made.codebook.embedding).argmin(1)
    assert torch.equal(codes, nearest.view(2, 12, 8))
    added = made.add(shown, vectors, torch.ones(2, 1, 12, 8))
    assert torch.allclose(added, shown + 0.7 * torch.nn.functional.pixel_shuffle(vectors, PATCH), atol=1e-6)


@torch.no_grad()
def test_a_patch_without_detail_stays_as_it_is():
    made, (x, shown) = detail(), pictures(2)
    present = (torch.rand(2, 1, 12, 8) < 0.5).float()
    added = made.add(shown, made.lookup(made.quantise(x, shown)), present)
    here = torch.nn.functional.interpolate(present, scale_factor=PATCH).bool().expand_as(shown)
    assert torch.equal(added[~here], shown[~here]) and (added != shown)[here].float().mean() > 0.9


@torch.no_grad()
def test_pixels_depend_on_nothing_beyond_the_radius():
    made = detail()
    shown = torch.rand(1, 3, 96, 96)
    clear = 8 + made.radius
    vectors = torch.randn(1, VALUES, 24, 24)
    changed = vectors.clone()
    changed[..., :2] += 1  # columns 0..7
    one = torch.ones(1, 1, 24, 24)
    gap = (made.add(shown, vectors, one) - made.add(shown, changed, one)).abs().amax((0, 1, 2))
    assert gap[clear:].max() < 1e-6 < gap[8:].max()


@pytest.mark.parametrize("fields", [{"codes": 1}, {"codes": 5000}, {"width": 0}, {"blocks": -1}])
def test_impossible_layers_are_refused(fields):
    with pytest.raises(ValueError):
        DetailConfig(**fields)
