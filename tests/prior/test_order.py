"""Coverage is complete: every candidate gets one map bit, every present cell is coded once, in the order promised."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqcodec.bitstream import Known
from dqcodec.prior import sequence, state
from dqcodec.prior.order import BAYER, group_count, group_of
from tests.prior.samples import RASTER, REPEATED, SMALL, model_of

CONFIGS = {"small": SMALL, "repeated": REPEATED, "raster": RASTER}
MODELS = {name: model_of(config) for name, config in CONFIGS.items()}


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(CONFIGS)), st.integers(1, 100), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_every_candidate_and_every_present_cell_comes_once(name, width, height, seed):
    model, ladder = MODELS[name], CONFIGS[name].ladder
    rng = np.random.default_rng(seed)
    known = Known.nothing(width, height, ladder)
    for step in range(3):
        if step:
            turns = list(model.map_model().batches(step, known))
            asked = np.concatenate([np.empty(0, int), *turns])
            assert sorted(asked) == np.flatnonzero(known.levels.reshape(-1) == step - 1).tolist()
            known.levels.reshape(-1)[asked] += rng.integers(0, 2, len(asked)).astype(np.uint8)
        groups = model.groups(step, known)
        present = np.kron(known.levels >= step, np.ones((ladder.side(step),) * 2, bool))
        assert sorted(np.concatenate([np.empty(0, int), *groups])) == np.flatnonzero(present).tolist()
        assert all(len(group) for group in groups)
        for group, cells in enumerate(groups):
            model.frequencies(step, group, known)
            known.codes[step].reshape(-1)[cells] = 0


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(CONFIGS)), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_token_sees_what_came_before_it_in_its_tile_and_nothing_else(name, rows, cols, seed):
    config = CONFIGS[name]
    levels = np.random.default_rng(seed).integers(0, 3, (rows, cols))
    down, across = sequence.tile_grid(config, rows, cols)
    base = np.ones(down * across, np.int64)
    for step in range(3):
        found = sequence.step_rows(config, step, levels, base)
        side = config.tile * config.ladder.side(step)
        assert np.array_equal(found.tile, found.y // side * across + found.x // side)
        for tile in range(down * across):
            mine = found.tile == tile
            group = found.group[mine]
            assert np.array_equal(found.slot[mine], base[tile] + np.arange(mine.sum()))
            assert np.array_equal(found.query_sight[mine], base[tile] + (group[:, None] > group).sum(1))
            assert np.array_equal(found.memory_sight[mine], base[tile] + (group[:, None] >= group).sum(1))
        base = base + np.bincount(found.tile, minlength=len(base))


@pytest.mark.parametrize("groups", range(1, 17))
def test_groups_are_spread_evenly_and_number_as_many_as_promised(groups):
    config = type(SMALL)(groups=(groups,) * 3)
    y, x = (a.ravel() for a in np.mgrid[:8, :8])
    sizes = np.bincount(group_of(config, 1, y, x))
    assert len(sizes) == group_count(config, 1) == groups
    assert sizes.max() - sizes.min() <= 4  # one cell in each square of 4x4
    assert sorted(BAYER.ravel()) == list(range(16))


def test_raster_order_codes_one_cell_of_each_tile_at_a_time():
    known = Known.nothing(64, 64, RASTER.ladder)
    for tile_count, cells in zip([4] * 4, MODELS["raster"].groups(0, known), strict=True):
        y, x = np.divmod(cells, 4)
        assert len(set(zip(y // 2, x // 2, strict=True))) == len(cells) == tile_count


def test_codes_of_a_large_picture_come_chunk_by_chunk(monkeypatch):
    monkeypatch.setattr(state, "CHUNK", 2)
    groups = MODELS["small"].groups(0, Known.nothing(96, 32, SMALL.ladder))  # 2x6 regions: 3 tiles, 2 chunks
    tiles = [set(cells % 6 // 2) for cells in groups]
    first = [t <= {0, 1} for t in tiles]
    assert first == sorted(first, reverse=True) and {2} in tiles
