import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqcodec import networks
from dqcodec.models.receptive import decoder_radius, encoder_radius
from dqcodec.tiles import tiles
from dqcodec.weights import load
from tests.conftest import synthetic

CPU = torch.device("cpu")


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 300))
def test_tiles_cover_every_region_once_and_keep_their_halo(rows, cols, halo):
    count = np.zeros((rows, cols), int)
    for t in tiles(rows, cols, 16, halo, whole=256 * 400, tile=320):
        count[t.top : t.bottom, t.left : t.right] += 1
        need = -(-halo // 16)
        assert t.outer_top == max(0, t.top - need) and t.outer_right == min(cols, t.right + need)
        assert t.outer_bottom == min(rows, t.bottom + need) and t.outer_left == max(0, t.left - need)
    assert (count == 1).all()


@pytest.fixture(scope="module")
def exact(monkeypatch_module=None):
    """float32 throughout: tiles must agree to rounding, which bfloat16 would hide."""
    original = networks._inference

    class Plain:
        def __init__(self, device):
            self.mode = torch.inference_mode()

        def __enter__(self):
            self.mode.__enter__()

        def __exit__(self, *exc):
            self.mode.__exit__(*exc)

    networks._inference = Plain
    yield
    networks._inference = original


def test_tiled_analysis_equals_the_whole(exact):
    vae = load().vae
    pixels = synthetic(500, 530)
    whole = networks.analyse(vae, pixels, CPU)
    tiled = networks.analyse(vae, pixels, CPU, whole=0, tile=160)
    for a, b in zip(whole.codes, tiled.codes, strict=True):
        assert (a != b).mean() < 2e-3  # near-ties may fall either way
    assert np.abs(whole.distortion - tiled.distortion).max() < 1e-2


def test_no_seam_between_decoded_tiles(exact):
    from dqcodec import rate

    loaded = load()
    analysis = networks.analyse(loaded.vae, synthetic(500, 530), CPU)
    plan = rate.plan(analysis, rate.table_costs(analysis, loaded.tables, loaded.cost_ratio))
    tokens = plan.tokens(plan.levels(len(plan.region) // 2))
    whole = networks.synthesise(loaded.vae, tokens, CPU).astype(int)
    tiled = networks.synthesise(loaded.vae, tokens, CPU, whole=0, tile=160).astype(int)
    assert np.abs(whole - tiled).max() <= 1


def test_stated_radius_bounds_what_the_networks_see():
    vae = load().vae
    side = 2 * max(encoder_radius(vae.config), decoder_radius(vae.config)) + 80
    side += -side % 16
    x = torch.zeros(1, 3, side, side, requires_grad=True)
    features, latents = vae.encoder(x)
    centre = features.shape[2] // 2
    sum(y[..., centre * 16 // f, centre * 16 // f].sum() for f, y in latents.items()).backward()
    seen = x.grad.abs().sum((0, 1)).nonzero()
    reach = (seen - centre * 16).abs().max().item()
    assert reach <= encoder_radius(vae.config) + 16
    values = {f: torch.zeros(1, vae.config.code_dim, side // f, side // f, requires_grad=True)
              for f in vae.config.grains}
    image = vae.decoder(values, torch.zeros(1, side // 16, side // 16, dtype=torch.long))
    image[..., side // 2, side // 2].sum().backward()
    for factor, value in values.items():
        seen = value.grad.abs().sum((0, 1)).nonzero()
        assert ((seen * factor - side // 2).abs().max().item()) <= decoder_radius(vae.config) + factor
