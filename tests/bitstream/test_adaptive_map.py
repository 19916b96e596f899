"""The map model visits every candidate once, in order, learns, and is fast."""

import time

import numpy as np

from dqcodec.bitstream import Ladder, StaticTables, Tokens, inspect, read, write
from dqcodec.bitstream.adaptive_map import AdaptiveMap, starting_counts
from dqcodec.bitstream.code_model import Known
from tests.bitstream.samples import load_vector_maker

ONE_CODE = np.array([65536], np.uint32)


def map_only(levels: np.ndarray, steps: int = 5) -> tuple[Tokens, StaticTables]:
    """Tokens whose codes carry nothing, so that the file holds the maps alone."""
    ladder = Ladder((16,) * steps, (1,) * steps)
    codes = tuple(np.where(levels >= s, 0, -1).astype(np.int32) for s in range(steps))
    tokens = Tokens(levels.shape[1] * 16, levels.shape[0] * 16, levels.astype(np.uint8), codes)
    return tokens, StaticTables(ladder, b"map.", (ONE_CODE,) * steps)


def blobs(rows: int, cols: int, scale: int) -> np.ndarray:
    """Level map with patches of scale x scale regions."""
    generator = load_vector_maker().Generator(9)
    small = generator.grid(-(-rows // scale), -(-cols // scale), 5)
    return np.kron(small, np.ones((scale, scale), int))[:rows, :cols]


def map_bits(levels: np.ndarray) -> float:
    tokens, model = map_only(levels)
    return 8 * sum(len(section.payload) for section in inspect(write(tokens, model)).sections)


def test_batches_hold_each_candidate_once_even_columns_before_odd():
    levels = np.array([[1, 1, 0, 1], [0, 1, 1, 1]], np.uint8)
    known = Known(64, 32, levels.copy(), ())
    maps = AdaptiveMap()
    seen = []
    for batch in maps.batches(2, known):
        seen.append(batch.tolist())
        maps.frequencies(2, batch, known)
        maps.update(2, batch, np.ones(len(batch), np.int32))
    assert seen == [[0], [1, 3], [6], [5, 7]]


def test_starting_counts_lean_to_refined_neighbours_and_are_symmetric():
    counts = starting_counts()
    assert (counts > 0).all() and (counts.sum(axis=1) == 120).all()
    share = counts[:, 1]
    assert (np.diff(share[:5]) > 0).all() and (np.diff(share[5:]) > 0).all()
    assert (share[:5] + share[4::-1] == 120).all() and (share[5:] + share[:4:-1] == 120).all()


def test_blobby_maps_cost_far_less_than_a_bit_per_candidate():
    levels = blobs(64, 64, 6)
    raw = sum(np.count_nonzero(levels >= step - 1) for step in range(1, 5))
    assert map_bits(levels) < 0.45 * raw


def test_random_maps_cost_hardly_more_than_a_bit_per_region():
    levels = load_vector_maker().Generator(4).grid(64, 64, 2)
    assert 64 * 64 * 0.98 < map_bits(levels) < 64 * 64 * 1.03


def test_maps_of_a_12_megapixel_photo_take_less_than_half_a_second():
    levels = blobs(188, 250, 5)
    tokens, model = map_only(levels)
    times = []
    for _ in range(3):
        start = time.process_time()
        parsed = read(write(tokens, model), lambda _: model)
        times.append(time.process_time() - start)
    assert np.array_equal(parsed.tokens.levels, levels)
    assert min(times) < 1.0  # writing and reading, half a second each
