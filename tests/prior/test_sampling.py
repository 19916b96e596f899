"""Sampling: integers only, the same tokens for a seed everywhere, kept tokens unchanged."""

import hashlib

import numpy as np
import pytest
from hypothesis import given as example_of
from hypothesis import settings, strategies

from dqcodec.bitstream import Known, Tokens
from dqcodec.errors import GenerateError
from dqcodec.prior import sampling
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.draw import draw, images_at_once
from dqcodec.prior.given import Given, coding_order
from dqcodec.prior.sampling import Sampling
from dqcodec.prior.state import ImageState
from tests.prior.samples import RASTER, REPEATED, SMALL, model_of, trace

TOP = 2**64 - 1
NETWORK = model_of(SMALL).network
TABLE = NETWORK.exp_table.numpy().astype(np.int64)
LADDER = SMALL.ladder


def same(a: Tokens, b: Tokens) -> bool:
    return np.array_equal(a.levels, b.levels) and all(map(np.array_equal, a.codes, b.codes))


def one(given: Given, seed: int = 0, config: PriorConfig = SMALL, label: int = 0, **options) -> Tokens:
    network = NETWORK if config is SMALL else model_of(config).network
    (tokens,) = draw(network, given, 1, seed, Sampling(**options), label)
    tokens.validate(config.ladder)
    return tokens


def nothing(width: int = 90, height: int = 75, config: PriorConfig = SMALL) -> Given:
    return Given.nothing(config.ladder, width, height)


def digest(tokens: Tokens) -> str:
    parts = [tokens.levels.astype("<i4"), *(codes.astype("<i4") for codes in tokens.codes)]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


# -- random words


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 of one counter, as docs/generation.md has it."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [b >> 64 ^ c[1] ^ k[0], b & TOP, a >> 64 ^ c[3] ^ k[1], a & TOP]
        k = [(k[0] + 0x9E3779B97F4A7C15) & TOP, (k[1] + 0xBB67AE8584CAA73B) & TOP]
    return c


@pytest.mark.parametrize("seed, image, stream", [(0, 0, 0), (TOP, 5, 3)])
def test_random_words_are_those_of_the_page(seed, image, stream):
    expected = [word for n in (1, 2, 3) for word in philox([n, 0, stream, 0], [seed, image])]
    assert sampling.words(seed, image, stream, 11).tolist() == expected[:11]


# -- integers to symbols


@example_of(strategies.lists(strategies.integers(0, 65536), min_size=1, max_size=40).filter(sum),
            strategies.integers(0, TOP))
def test_symbol_is_the_first_whose_sum_exceeds_the_point(weights, word):
    point, running = word * sum(weights) >> 64, 0
    for symbol, weight in enumerate(weights):  # noqa: B007
        running += weight
        if running > point:
            break
    assert sampling.choose(np.array([weights]), np.array([word], np.uint64)).tolist() == [symbol]


def test_the_largest_total_does_not_overflow():
    weights = np.full((2, 65536), 65536)
    assert sampling.choose(weights, np.array([0, TOP], np.uint64)).tolist() == [0, 65535]


def slow_weights(z: list[int], temperature: int, k: int, top_p: int) -> list[int]:
    """The rule of docs/generation.md, one number after another."""
    gaps = [min((max(z) - value) * 64 // temperature, 511) for value in z]
    order = sorted(range(len(z)), key=lambda code: (gaps[code], code))[:k]
    total, before, kept = sum(int(TABLE[gaps[code]]) for code in order), 0, [0] * len(z)
    for code in order:
        if before * 65536 < top_p * total:
            kept[code] = int(TABLE[gaps[code]])
        before += int(TABLE[gaps[code]])
    return kept


@settings(max_examples=200)
@example_of(strategies.lists(strategies.integers(-600, 600), min_size=1, max_size=30),
            strategies.integers(1, 512), strategies.integers(1, 31), strategies.integers(1, 65536))
def test_weights_follow_the_rule_one_number_after_another(z, temperature, k, top_p):
    chosen = Sampling(temperature / 64, k, top_p / 65536)
    found = sampling.code_weights(np.array([z]), chosen, TABLE)[0].tolist()
    assert found == slow_weights(z, temperature, k, top_p)
    assert sum(found) > 0


def test_equal_codes_rank_by_their_number():
    z = np.array([[5, 9, 9, 9, 1]])
    assert np.flatnonzero(sampling.code_weights(z, Sampling(top_k=2), TABLE)[0]).tolist() == [1, 2]
    assert np.flatnonzero(sampling.code_weights(z, Sampling(top_p=0.4), TABLE)[0]).tolist() == [1, 2]
    assert np.flatnonzero(sampling.code_weights(z, Sampling(top_p=1e-9), TABLE)[0]).tolist() == [1]


def test_guidance_goes_on_beyond_the_class_and_rounds_down():
    plain, labelled = np.array([0, 0, 10, -7]), np.array([3, -3, 10, 9])
    assert sampling.guide(plain, labelled, 16).tolist() == labelled.tolist()
    assert sampling.guide(plain, labelled, 0).tolist() == plain.tolist()
    assert sampling.guide(plain, labelled, 24).tolist() == [4, -5, 10, 17]


def test_shares_of_symbols_are_their_weights():
    weights = np.array([4, 0, 1, 3])
    found = sampling.choose(np.tile(weights, (20000, 1)), sampling.words(1, 0, 0, 20000))
    assert np.abs(np.bincount(found, minlength=4) / 20000 - weights / 8).max() < 0.012


@pytest.mark.parametrize("wrong", [
    {"temperature": 0.0}, {"temperature": 9.0}, {"temperature": float("nan")}, {"top_k": 0}, {"top_p": 0.0},
    {"top_p": 1.1}, {"guidance": -1.0}, {"guidance": 17.0}, {"detail": 17.0}, {"order": "spiral"},
])  # fmt: skip
def test_settings_out_of_range_are_named(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(GenerateError, match=f"{name.replace('_', '-')}.*{value}"):
        Sampling(**wrong)


# -- whole images


PINNED = ["55d1f4d92d9ae859", "242d36062cb0e46a", "aeacd0fde8d21995"]


def test_a_seed_gives_the_pinned_tokens():
    """Another digest here means other pictures for the seeds that users wrote down."""
    found = [digest(one(nothing(), 7)), digest(one(nothing(), 7, temperature=0.8, top_k=5, top_p=0.9, detail=0.5)),
             digest(one(nothing(60, 50, RASTER), 7, RASTER, label=2, guidance=1.5))]
    assert [mark[:16] for mark in found] == PINNED


def test_seeds_differ_and_repeat():
    assert same(one(nothing(), 3), one(nothing(), 3))
    assert not same(one(nothing(), 3), one(nothing(), 4))


@pytest.mark.parametrize("width, height", [(32, 32), (90, 40), (33, 20)])
def test_an_image_does_not_depend_on_those_sampled_with_it(width, height):
    start = nothing(width, height)
    together = list(draw(NETWORK, start, 9, 5))
    assert images_at_once(SMALL, *start.tokens.levels.shape) > 2
    assert len({digest(tokens) for tokens in together}) == 9
    assert same(together[0], one(start, 5))
    assert all(map(same, together, draw(NETWORK, start, 3, 5)))
    assert images_at_once(SMALL, 40, 40) == 1


@pytest.mark.parametrize("config, size", [(SMALL, (90, 75)), (REPEATED, (70, 50)), (SMALL, (300, 110))])
def test_symbols_follow_from_the_logits_that_coding_asks_for(config, size):
    network = model_of(config).network
    tokens = one(nothing(*size, config), 2, config, temperature=0.9)
    # As an encoder goes: it knows all tokens and answers a step in one pass.
    state = ImageState(network, known := Known.nothing(*size, config.ladder, complete=tokens))
    for step in range(int(tokens.levels.max()) + 1):
        levels = known.levels.reshape(-1)
        for regions in state.map_turns(step) if step else ():
            z = state.map_logits(step, regions).numpy().astype(np.int64)
            random = sampling.words(2, 0, 2 * step, levels.size)[regions]
            bits = sampling.choose_bits(z, Sampling(), network.map_table, random)
            assert np.array_equal(bits, tokens.levels.reshape(-1)[regions] >= step)
            levels[regions] += bits
        for group, cells in enumerate(state.begin_step(step)):
            weights = sampling.code_weights(state.logits(group).numpy().astype(np.int64), Sampling(0.9), TABLE)
            random = sampling.words(2, 0, 2 * step + 1, tokens.codes[step].size)[cells]
            assert np.array_equal(sampling.choose(weights, random), tokens.codes[step].reshape(-1)[cells])
            known.codes[step].reshape(-1)[cells] = tokens.codes[step].reshape(-1)[cells]


def test_coding_order_is_that_of_the_file():
    for config, size in ((SMALL, (90, 75)), (REPEATED, (70, 50)), (RASTER, (60, 50)), (SMALL, (330, 110))):
        tokens = one(nothing(*size, config), 1, config)
        order = {(step, kind): [] for step in range(4) for kind in (True, False)}
        for step, is_map, at in coding_order(config, tokens):
            order[step, is_map].extend(at.tolist())
        for step, here in enumerate(trace(model_of(config), tokens)):
            assert order[step, True] == [int(i) for batch in here.regions for i in batch]
            assert order[step, False] == [int(i) for batch in here.cells for i in batch]


def symbols(tokens: Tokens) -> list[int]:
    """All symbols in the order of a file."""
    found: list[int] = []
    for step, is_map, at in coding_order(SMALL, tokens):
        values = tokens.levels >= step if is_map else tokens.codes[step]
        found += values.reshape(-1)[at].astype(int).tolist()
    return found


@pytest.mark.parametrize("fraction, order", [
    *((f, "groups") for f in (0.0, 0.1, 0.33, 0.5, 0.77, 0.98, 1.0)), (0.4, "raster"),
])  # fmt: skip
def test_kept_tokens_come_back_unchanged(fraction, order):
    tokens = one(nothing(100, 60), 1)
    before = symbols(tokens)
    count = int(fraction * len(before))
    for i, drawn in enumerate(draw(NETWORK, Given.first(SMALL, tokens, fraction), 3, 9, Sampling(order=order))):
        drawn.validate(LADDER)
        after = symbols(drawn)
        assert after[:count] == before[:count]
        assert (after == before) == (fraction == 1.0), i


def test_what_follows_a_kept_prefix_is_what_the_seed_draws():
    """Keeping a part of an image and sampling on with its own seed gives the image."""
    tokens = one(nothing(150, 60), 1)
    for fraction in (0.2, 0.6):
        assert same(one(Given.first(SMALL, tokens, fraction), 1), tokens)


def test_kept_steps_stay_and_later_ones_go_no_further_than_allowed():
    tokens = one(nothing(), 1, detail=2.0)
    for last_step in (1, 2):
        drawn = one(Given.steps(LADDER, tokens, 0, last_step), 2, detail=16.0)
        assert same(drawn.upto(LADDER, 0), tokens.upto(LADDER, 0))
        assert drawn.levels.max() == last_step
    assert same(one(Given.steps(LADDER, tokens, 2), 3), tokens)


def test_all_outside_a_box_stays():
    tokens = one(nothing(150, 100), 1)
    given = Given.outside(LADDER, tokens, (40, 33, 30, 10))
    touched = np.zeros(tokens.levels.shape, bool)
    touched[2:3, 2:5] = True
    assert np.array_equal(~touched, given.bits[1])
    changed = False
    for drawn in draw(NETWORK, given, 4, 2):
        drawn.validate(LADDER)
        assert np.array_equal(drawn.levels[~touched], tokens.levels[~touched])
        for step, codes in enumerate(drawn.codes):
            cells = np.kron(~touched, np.ones((LADDER.side(step),) * 2, bool))
            assert np.array_equal(codes[cells], tokens.codes[step][cells])
        changed |= not same(drawn, tokens)
    assert changed


def test_detail_moves_the_share_of_refined_regions():
    means = [one(nothing(200, 200), 1, detail=detail).levels.mean() for detail in (-16.0, -1.0, 0.0, 1.0, 16.0)]
    assert means == sorted(means) and means[0] < 0.1 and means[-1] > 1.9


def test_class_and_guidance_change_what_is_drawn():
    def marks(**options):
        return digest(one(nothing(60, 50, RASTER), 1, RASTER, **options))

    cat, dog, none = marks(label=1), marks(label=2), marks()
    assert len({cat, dog, none, marks(label=1, guidance=4.0)}) == 4
    assert marks(label=1, guidance=0.0) == none

