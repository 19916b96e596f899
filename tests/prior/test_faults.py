"""What the published DQ-Transformer gets wrong does not happen here, and what cannot be exact is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dqcodec.bitstream import header, read, sections, write
from dqcodec.errors import FormatError
from dqcodec.prior.batch import pack
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.probabilities import code_frequencies, exp_table, map_frequencies, map_table
from tests.bitstream.samples import finder, random_tokens, same
from tests.prior.samples import NARROW, RASTER, REPEATED, SMALL, model_of, tokens_with, trace, trained
from tests.vectors.make_prior import make_tensors

MODEL = model_of(SMALL)


def bits(logits: torch.Tensor, codes: torch.Tensor) -> float:
    return torch.nn.functional.cross_entropy(logits.double(), codes, reduction="sum").item()


def test_likelihood_of_a_picture_is_the_same_alone_and_in_any_batch():
    rng = np.random.default_rng(0)
    images = [random_tokens(rng, *size, SMALL.ladder, 2) for size in [(40, 60), (100, 20), (16, 16)]]
    network = trained(SMALL)
    found = []
    for batch in ([0], [0, 1], [0, 2, 1], [0, 0, 0, 0]):
        packed = pack(SMALL, [images[i] for i in batch])
        with torch.inference_mode():
            logits = network(packed, quantise=True)[0]
        count = [int((c >= 0).sum()) for c in images[0].codes]
        found.append(sum(bits(z[:n], s.code[:n]) for z, s, n in zip(logits, packed.steps, count, strict=True)))
    assert len(set(found)) == 1


@pytest.mark.parametrize("config", [SMALL, REPEATED, RASTER], ids=["small", "repeated", "raster"])
def test_only_possible_symbols_have_frequencies_and_all_of_them_do(config):
    """No code of another codebook, no end mark, no position outside the map: their probability is 0."""
    tokens = random_tokens(np.random.default_rng(1), 70, 50, config.ladder, 2)
    for step, here in enumerate(trace(model_of(config), tokens, decoder=True)):
        for cells, rows in zip(here.cells, here.frequencies, strict=True):
            assert rows.shape == (len(cells), config.codebook_sizes[step])
            assert rows.min() >= 1 and (rows.sum(1) == 65536).all()
            assert (tokens.codes[step].reshape(-1)[cells] >= 0).all()
        for regions, rows in zip(here.regions, here.map_frequencies, strict=True):
            assert (tokens.levels.reshape(-1)[regions] >= step - 1).all()
            assert rows.min() >= 64 and rows.max() <= 65472


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(1, 60), st.lists(st.binary(max_size=60), min_size=1, max_size=3))
def test_whatever_a_payload_holds_decodes_to_tokens_that_the_ladder_allows(width, height, payloads):
    data = header.pack(header.Header(width, height, MODEL.fingerprint, len(payloads), False))
    for step, payload in enumerate(payloads):
        data += sections.pack(sections.STEP + step, payload.rstrip(b"\0"))
    try:
        tokens = read(data, finder(MODEL)).tokens
    except FormatError as error:
        assert "range encoder" in str(error)
        return
    tokens.validate(SMALL.ladder)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_region_can_be_coarse_and_every_region_can_be_finest(level):
    tokens = tokens_with(np.random.default_rng(2), 50, 70, SMALL.ladder, np.full((5, 4), level, np.uint8))
    assert same(read(write(tokens, MODEL), finder(MODEL)).tokens, tokens)


def test_most_certain_map_still_leaves_both_choices():
    z = torch.tensor([-1e6, -256.0, 0, 255.0, 1e6])
    assert map_frequencies(z, map_table().astype(np.int64)).tolist() == [64, 64, 32768, 65472, 65472]


def test_most_certain_code_still_leaves_all_others():
    table = torch.from_numpy(exp_table().astype(np.int32))
    z = torch.tensor([[0.0, 4e6, 0, 4e6], [5.0, 5.0, 5.0, 5.0], [0.0, -22.0, -511.0, -512.0]])
    rows = code_frequencies(z, table)
    assert rows.min() == 1 and (rows.sum(1) == 65536).all()
    # Of equal codes the first takes what division leaves.
    assert rows[0].tolist() == [1, 32767, 1, 32767] and rows[1].tolist() == [16384] * 4


def test_known_codes_across_the_border_of_a_tile_are_seen():
    rng = np.random.default_rng(3)
    a = tokens_with(rng, 64, 32, SMALL.ladder, np.zeros((2, 4), np.uint8))
    codes = a.codes[0].copy()
    codes[0, 1] = (codes[0, 1] + 1) % 8  # the last cell of the first tile; (1, 2), a neighbour, comes later
    b = type(a)(64, 32, a.levels, (codes, *a.codes[1:]))
    rows = [np.concatenate([here.cells[i] for here in trace(MODEL, a) for i in range(len(here.cells))])]
    frequencies = [trace(MODEL, tokens)[0].code_rows(8) for tokens in (a, b)]
    changed = set(rows[0][(frequencies[0] != frequencies[1]).any(1)].tolist())
    order = rows[0].tolist()
    assert changed and all(order.index(cell) > order.index(1) for cell in changed)
    assert changed & {2, 3, 6, 7}


REFUSED = {
    "order": dict(order="spiral"),
    "too many groups": dict(groups=(17, 8, 8)),
    "no group": dict(groups=(0, 8, 8)),
    "groups of two steps": dict(groups=(8, 8)),
    "heads": dict(heads=3),
    "no heads": dict(heads=0),
    "width": dict(embedding=12),
    "tile": dict(tile=0),
    "codebook": dict(codebook_sizes=(8, 8, 65537)),
    "ladder": dict(factors=(16, 4, 8)),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_settings_that_make_no_prior_are_refused(change):
    with pytest.raises(ValueError):
        assert replace(SMALL, **change).ladder


def with_changed(name, change):
    tensors = make_tensors(SMALL, 1)
    tensors[name] = change(tensors[name])
    return tensors


INEXACT = {
    "sums may reach": ("near.2.bias", lambda b: b + 2**23),
    "near.0.weight must be int8": ("near.0.weight", lambda w: w[:, 1:]),
    "wide.exponent must lie in 4..14": ("position_stack.0.wide.exponent", lambda e: e * 0 + 15),
    "content must lie in -31..31": ("content", lambda c: c + 31),
    "label must lie in": ("label", lambda x: x + 8192),
    "position.1 must lie in": ("position.1", lambda x: x * 0 - 8192),
    "exp_table must not begin": ("exp_table", lambda t: t * 0),
    "exp_table must lie in": ("exp_table", lambda t: t + 1),
    "map_table must lie in": ("map_table", lambda t: t * 0),
    "head.1.bias must be int32": ("head.1.bias", lambda b: b.astype(np.int64)),
}


@pytest.mark.parametrize("message", INEXACT)
def test_tensors_that_could_be_inexact_are_refused(message):
    name, change = INEXACT[message]
    with pytest.raises(ValueError, match=message):
        IntegerNetwork(SMALL, with_changed(name, change))


def test_missing_and_unknown_tensors_are_refused():
    for change in ({"label": None}, {"extra": np.zeros(1, np.int8)}):
        tensors = {k: v for k, v in (make_tensors(SMALL, 1) | change).items() if v is not None}
        with pytest.raises(ValueError, match="missing|unknown"):
            IntegerNetwork(SMALL, tensors)


def test_tiles_and_heads_too_large_for_exact_attention_are_refused():
    for config, message in (
        (PriorConfig((16,), (8,), groups=(1,), tile=46, **NARROW), "tiles of 46x46"),
        (PriorConfig((16,), (8,), groups=(1,), **NARROW | dict(dim=528, heads=1)), "heads of 528"),
    ):
        with pytest.raises(ValueError, match=message):
            IntegerNetwork(config, make_tensors(config, 1))
