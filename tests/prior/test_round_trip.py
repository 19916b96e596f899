"""Whatever tokens go into a file with a prior come out, also of part of the file."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqcodec.bitstream import header, inspect, read, sections, write
from dqcodec.errors import ChecksumError, FormatError, TruncatedError
from dqcodec.prior import memory
from tests.bitstream.samples import finder, random_tokens, same
from tests.prior.samples import RASTER, REPEATED, SMALL, model_of, tokens_with

MODELS = {"small": model_of(SMALL), "repeated": model_of(REPEATED), "raster": model_of(RASTER)}
SIZES = st.one_of(st.integers(1, 100), st.sampled_from([1, 16, 17, 31, 32, 33, 64]))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(MODELS)), SIZES, SIZES, st.integers(0, 2**32 - 1), st.data())
def test_tokens_survive_the_round_trip(name, width, height, seed, data):
    model = MODELS[name]
    top = data.draw(st.integers(0, 2))
    tokens = random_tokens(np.random.default_rng(seed), width, height, model.ladder, top)
    blob = write(tokens, model)
    parsed = read(blob, finder(model))
    assert same(parsed.tokens, tokens) and parsed.problem is None
    assert write(parsed.tokens, model) == blob
    upto = data.draw(st.integers(0, 2))
    assert same(read(blob, finder(model), upto_step=upto).tokens, tokens.upto(model.ladder, upto))


@pytest.mark.parametrize("width, height", [(1, 1), (1, 130), (130, 1), (33, 31)])
@pytest.mark.parametrize("level", [0, 2])
def test_smallest_and_narrowest_pictures_survive(width, height, level):
    model = MODELS["small"]
    levels = np.full(model.ladder.grid(width, height), level, np.uint8)
    tokens = tokens_with(np.random.default_rng(1), width, height, model.ladder, levels)
    assert same(read(write(tokens, model), finder(model)).tokens, tokens)


def test_truncated_file_decodes_to_the_steps_that_are_whole():
    model = MODELS["small"]
    tokens = random_tokens(np.random.default_rng(2), 90, 60, model.ladder, 2)
    blob = write(tokens, model)
    ends = [section.end for section in inspect(blob).sections]
    for cut in (ends[0], ends[0] + 5, ends[1] - 1, ends[1], ends[2] - 1):
        whole = sum(end <= cut for end in ends)
        with pytest.raises(TruncatedError):
            read(blob[:cut], finder(model))
        parsed = read(blob[:cut], finder(model), partial=True)
        assert parsed.steps_read == whole and parsed.problem
        assert same(parsed.tokens, tokens.upto(model.ladder, whole - 1))


def test_damaged_step_is_noticed_and_the_steps_before_it_are_delivered():
    model = MODELS["raster"]
    tokens = random_tokens(np.random.default_rng(3), 60, 60, model.ladder, 2)
    blob = bytearray(write(tokens, model))
    blob[-6] ^= 1
    with pytest.raises(ChecksumError):
        read(bytes(blob), finder(model))
    parsed = read(bytes(blob), finder(model), partial=True)
    assert parsed.steps_read == 2 and same(parsed.tokens, tokens.upto(model.ladder, 1))


def test_memories_of_a_picture_do_not_wait_for_the_garbage_collector(monkeypatch):
    """It counts objects, not bytes: one after another the pictures of a folder would pile up gigabytes."""
    model, alive, made = MODELS["small"], weakref.WeakSet(), []
    begin = memory.Memory.__init__

    def watched(self, *args):
        alive.add(self)
        made.append(id(self))
        begin(self, *args)

    monkeypatch.setattr(memory.Memory, "__init__", watched)
    gc.disable()
    try:
        read(write(random_tokens(np.random.default_rng(5), 90, 60, model.ladder, 2), model), finder(model))
        assert made and not alive
    finally:
        gc.enable()


@pytest.mark.parametrize("name", MODELS)
def test_steps_without_any_candidate_hold_nothing(name):
    """No writer makes such a file, but nothing forbids it: a step without regions, and one after it."""
    model = MODELS[name]
    tokens = tokens_with(np.random.default_rng(4), 40, 30, model.ladder, np.zeros((2, 3), np.uint8))
    blob = write(tokens, model)
    (first,) = inspect(blob).sections
    payload = blob[first.offset : first.end]
    quiet = next(p for p in map(bytes, ([], [1], [64], [128], [255])) if _stays(model, blob, payload, p))
    data = header.pack(header.Header(40, 30, model.fingerprint, 3, False)) + payload
    data += sections.pack(sections.STEP + 1, quiet) + sections.pack(sections.STEP + 2, b"")
    assert same(read(data, finder(model)).tokens, tokens)


def _stays(model, blob: bytes, first: bytes, payload: bytes) -> bool:
    """Whether `payload` as step 1 says that no region rises."""
    data = header.pack(header.Header(40, 30, model.fingerprint, 2, False)) + first
    try:
        return read(data + sections.pack(sections.STEP + 1, payload), finder(model)).tokens.levels.max() == 0
    except FormatError:
        return False
