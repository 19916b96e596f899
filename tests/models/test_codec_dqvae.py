import pytest
import torch

from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE

SMALL = {"codebook_size": 32, "code_dim": 4, "encoder_channels": (32, 16, 16, 16), "encoder_blocks": (1, 1, 1, 0),
         "decoder_channels": (32, 16, 16, 16, 16), "decoder_blocks": (1, 1, 1, 0, 0), "router_hidden": 16}
DESIGNS = {
    "exclusive": CodecConfig(factors=(16, 8, 4), exclusive=True, normalised=True, **SMALL),
    "pyramid": CodecConfig(factors=(16, 8, 4), **SMALL),
    "depth": CodecConfig(factors=(16, 16, 16), **SMALL),
    "ladder": CodecConfig(factors=(16, 16, 8, 4), **SMALL),
}


def build(name: str, warm: int = 3) -> DQVAE:
    torch.manual_seed(0)
    model = DQVAE(DESIGNS[name]).train()
    for _ in range(warm):  # give the codebooks vectors of the data's scale
        model(pictures())
    return model


def pictures(height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(2, 3, height // 8, width // 8, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


@pytest.mark.parametrize("name", DESIGNS)
def test_training_lowers_the_error(name):
    model, x = build(name), pictures()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    errors = []
    finest = torch.full((2, 4, 6), len(model.ladder) - 1)
    for _ in range(80):
        out = model(x, levels=finest)
        loss = (out.reconstruction - x).abs().mean() + 0.25 * out.commitment_loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    assert sum(errors[-10:]) < 0.7 * sum(errors[:10])


@pytest.mark.parametrize("name", ["pyramid", "depth", "ladder"])
def test_decoder_input_from_codes_equals_the_encoders(name):
    model, x = build(name).eval(), pictures()
    _, q, _ = model.analyse(x)
    levels = torch.randint(len(model.ladder), (2, 4, 6))
    direct = model.quantizer.values(q.partial, None, levels)
    looked_up = model.quantizer.lookup(q.codes, levels)
    assert direct.keys() == looked_up.keys()
    assert all(torch.allclose(direct[f], looked_up[f], atol=1e-5) for f in direct)


def test_codes_of_a_region_do_not_depend_on_the_levels_of_others():
    model, x = build("ladder").eval(), pictures()
    _, q, _ = model.analyse(x)
    low = torch.zeros(2, 4, 6, dtype=torch.long)
    high = low.clone()
    high[:, 2, 3] = 3
    a, b = (model.quantizer.lookup(q.codes, levels) for levels in (low, high))
    changed = (a[16] != b[16]).any(1)[0]  # (4, 6)
    assert changed.sum() <= 1 and not changed[:2].any()


def test_absent_codes_never_reach_the_decoder():
    model, x = build("ladder").eval(), pictures()
    _, q, _ = model.analyse(x)
    levels = torch.randint(4, (2, 4, 6))
    garbled = [codes.clone() for codes in q.codes]
    for step, codes in enumerate(garbled):
        side = model.ladder.side(step)
        absent = (levels < step).repeat_interleave(side, 1).repeat_interleave(side, 2)
        codes[absent] = -1
    assert all(
        torch.equal(v, model.quantizer.lookup(garbled, levels)[f])
        for f, v in model.quantizer.lookup(q.codes, levels).items()
    )


def test_codebooks_move_once_per_training_step_and_never_in_evaluation():
    model, x = build("ladder"), pictures()
    before = [int(b.updates) for b in model.quantizer.codebooks]
    model(x, levels=torch.full((2, 4, 6), 3))
    assert [int(b.updates) for b in model.quantizer.codebooks] == [n + 1 for n in before]
    model.eval()
    model(x)
    model.reconstruct(x, 0.1)
    assert [int(b.updates) for b in model.quantizer.codebooks] == [n + 1 for n in before]


def test_statistics_count_every_code_in_use_once(monkeypatch):
    model, x = build("ladder"), pictures()
    seen = []
    for book in model.quantizer.codebooks:
        monkeypatch.setattr(book, "update", lambda z, codes, book=book: seen.append(len(z)))
    levels = torch.tensor([0, 1, 2, 3]).repeat(12).view(2, 4, 6)
    model(x, levels=levels)
    # 48 regions carry step 0, 36 step 1, 24 step 2 with 4 codes each, 12 step 3 with 16 codes each.
    assert seen == [48, 36, 24 * 4, 12 * 16]


@pytest.mark.parametrize("bpp", [0.05, 0.15, 0.4])
def test_budget_holds_for_every_image_not_only_for_the_mean(bpp):
    model = build("ladder").eval()
    flat, busy = torch.zeros(1, 3, 128, 128), torch.rand(1, 3, 128, 128) * 2 - 1
    _, bits = model.reconstruct(torch.cat([flat, busy]), bpp)
    assert (bits <= bpp * 128 * 128 + 1e-3).all()
    _, most = model.reconstruct(busy, bpp)
    assert most.item() > 0.7 * bpp * 128 * 128


def test_decoder_is_told_the_grain_map():
    model, x = build("ladder").eval(), pictures()
    _, q, _ = model.analyse(x)
    levels = torch.zeros(2, 4, 6, dtype=torch.long)
    values = model.quantizer.values(q.partial, None, levels)
    torch.nn.init.normal_(model.decoder.level_embedding.weight)
    assert not torch.allclose(model.decoder(values, levels), model.decoder(values, levels + 1))


def test_predicted_distortion_never_rises_with_the_level():
    model, x = build("ladder").eval(), pictures()
    _, _, distortion = model.analyse(x)
    assert (distortion[:, 1:] <= distortion[:, :-1]).all() and (distortion >= 0).all()


@pytest.mark.parametrize("size", [(16, 16), (16, 208), (112, 48)])
def test_any_multiple_of_a_region_is_a_legal_size(size):
    model = build("ladder").eval()
    image, _ = model.reconstruct(pictures(*size) if min(size) > 16 else torch.zeros(1, 3, *size), 0.2)
    assert image.shape[2:] == size


def test_gradient_reaches_every_encoder_parameter_and_none_from_the_router():
    model, x = build("ladder"), pictures()
    model.zero_grad()
    out = model(x, levels=torch.full((2, 4, 6), 3))
    out.predicted_distortion.sum().backward(retain_graph=True)
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.router.parameters())
    (out.reconstruction.square().mean() + out.commitment_loss).backward()
    for name, p in model.encoder.named_parameters():
        assert p.grad is not None, name


def test_bypass_hands_unquantised_latents_to_the_decoder_in_training_only():
    torch.manual_seed(0)
    model, x = DQVAE(CodecConfig(factors=(16, 8), bypass=1.0, **SMALL)), pictures()
    levels = torch.randint(2, (2, 4, 6))
    latents, q, _ = model.analyse(x)
    smooth = model.decoder(model.quantizer.continuous(latents, levels), levels)
    coded = model.decoder(model.quantizer.values(q.partial, None, levels), levels)
    assert torch.allclose(model.eval()(x, levels=levels).reconstruction, coded, atol=1e-5)
    assert torch.allclose(model.train()(x, levels=levels).reconstruction, smooth, atol=1e-5)


def test_absent_grains_are_zero_without_quantisation_too():
    model, x = build("ladder"), pictures()
    latents, _, _ = model.analyse(x)
    levels = torch.zeros(2, 4, 6, dtype=torch.long)
    values = model.quantizer.continuous(latents, levels)
    assert values[16].any() and not values[8].any() and not values[4].any()
