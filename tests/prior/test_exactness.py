"""Frequencies are a pure function of tokens and weights: threads, batches, precision and libraries leave no trace."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dqcodec.bitstream import Known, Writer, read, write
from dqcodec.prior import integers, state
from dqcodec.prior.batch import pack
from dqcodec.prior.code_model import PriorModel
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.memory import Memory
from dqcodec.prior.quantised import quantised
from dqcodec.prior.state import ImageState
from tests.bitstream.samples import finder, random_tokens, same
from tests.prior.samples import DEEP, SMALL, equal, model_of, tokens_with, trace, trained, walk

ROOT = Path(__file__).parents[2]
TOKENS = random_tokens(np.random.default_rng(0), 250, 140, DEEP.ladder, 2)


@pytest.fixture(scope="module")
def model():
    return model_of(DEEP)


@pytest.fixture(scope="module")
def expected(model):
    return trace(model, TOKENS)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def precision():
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


@pytest.fixture(params=["native", "float32"])
def matmul(request, monkeypatch):
    """Both ways to multiply int8: this processor's own, and that of processors without int8 products."""
    if request.param == "float32":
        monkeypatch.setattr(integers, "_INT_MM", False)


@pytest.mark.parametrize("count", [1, 2])
def test_threads_leave_no_trace(model, expected, threads, count, matmul):
    threads(count)
    assert equal(trace(model, TOKENS), expected)


def test_cached_steps_give_what_one_parallel_pass_gives(model, expected):
    assert equal(trace(model, TOKENS, decoder=True), expected)


@pytest.mark.parametrize("name", ["highest", "high", "medium"])
def test_precision_of_float32_products_leaves_no_trace(model, expected, precision, name, matmul):
    precision(name)
    assert equal(trace(model, TOKENS), expected)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("name", ["highest", "medium"])
def test_onednn_leaves_no_trace(model, expected, precision, name, matmul):
    precision(name)
    with torch.backends.mkldnn.flags(enabled=False):
        assert equal(trace(model, TOKENS), expected)


def test_older_processors_leave_no_trace():
    """The golden test once more in a process that has the kernels of processors without AVX2 only. (There
    torch._int_mm saturates, and the processor's flags do not tell.)"""
    older = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
    script = (
        "import json\n"
        "from tests.prior.samples import trace\n"
        "from tests.vectors.make_prior import CASES, HERE, describe\n"
        "case = CASES['default']; model = case.model()\n"
        "found = describe(case, model, trace(model, case.tokens()))\n"
        "assert json.loads(json.dumps(found)) == json.loads((HERE / 'default.json').read_text())\n"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env=os.environ | older, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_int8_products_are_exact_whichever_way_they_are_computed(monkeypatch):
    rng = np.random.default_rng(1)
    for n, k, m in [(0, 8, 8), (1, 8, 1), (1, 512, 24), (17, 48, 96), (300, 1384, 192), (33, 768, 192)]:
        a, b = rng.integers(-128, 128, (n, k)), rng.integers(-128, 128, (m, k))
        if k == 512:  # all extremes of one sign: the largest sum there is
            a[:], b[:] = 127, 127
        got = []
        for native in (integers._INT_MM, False):
            monkeypatch.setattr(integers, "_INT_MM", native)
            left, right = torch.from_numpy(a.astype(np.int8)), torch.from_numpy(b.astype(np.int8)).t()
            got.append(integers.IntegerLinear(right, torch.zeros(m), torch.ones(m))(left).numpy())
        assert np.array_equal(got[0], a @ b.T) and np.array_equal(got[1], a @ b.T)


def test_roots_and_quotients_round_as_integers_do():
    rng = np.random.default_rng(2)
    streams = np.concatenate([rng.integers(-most, most + 1, (400, 24)) for most in (1, 30, 1000, 8191)])
    got = integers.normalise(torch.from_numpy(streams.astype(np.float32))).numpy()
    root = np.array([int(np.maximum(1, np.floor(np.sqrt(256 * (h * h).sum() // 24)))) for h in streams])[:, None]
    assert ((root * root <= 256 * (streams**2).sum(1, keepdims=True) // 24) | (root == 1)).all()
    assert np.array_equal(got, ((1024 * streams + root) // (2 * root)).clip(-127, 127))


def test_a_tile_alone_gives_what_it_gives_among_sixteen(model):
    network, rng = model.network, np.random.default_rng(3)
    count = rng.integers(1, 30, 16)
    tile = np.repeat(np.arange(16), count)
    slot = np.concatenate([1 + np.arange(n) for n in count])
    sight = 1 + rng.integers(0, count[tile]) + (slot >= 0)
    h = torch.from_numpy(rng.integers(-300, 301, (len(tile), DEEP.dim)).astype(np.float32))

    def run(tiles, rows, which):
        memory = Memory(network, tiles)
        memory.reserve(1 + int(count.max()))
        kept = memory.remember(h[rows], which, slot[rows], sight[rows])
        return kept, memory.ask(h[rows].flip(1), which, sight[rows])

    together = run(16, np.arange(len(tile)), tile)
    for t in range(16):
        rows = np.flatnonzero(tile == t)
        alone = run(1, rows, np.zeros(len(rows), np.int64))
        assert all(torch.equal(one, all_[rows]) for one, all_ in zip(alone, together, strict=True))


def test_sixteen_pictures_at_once_give_what_each_gives_alone():
    """Pictures take turns, as tasks of one server would."""
    rng, config = np.random.default_rng(4), replace(SMALL, tile=3)
    pictures = [random_tokens(rng, 80, 70, config.ladder, 2) for _ in range(16)]
    alone = [trace(model_of(config), tokens) for tokens in pictures]
    model = model_of(config)
    walks = [walk(model, tokens) for tokens in pictures]
    found = [[] for _ in pictures]
    for i in [*np.repeat(np.arange(16), 2), *rng.permutation(16)]:
        found[i].append(next(walks[i]))
    assert all(equal(a, b) for a, b in zip(alone, found, strict=True))


@pytest.mark.parametrize("chunk", [32, 2])
def test_what_a_writer_keeps_of_the_last_file_leaves_no_trace(chunk, monkeypatch):
    """Files that agree in one, two or all steps. Some refine one region in a small tile only, where there is room in
    what is kept, so that it is shared."""
    monkeypatch.setattr(state, "CHUNK", chunk)
    rng, config = np.random.default_rng(4), replace(SMALL, tile=3)
    model = model_of(config)
    everywhere = np.full((5, 5), 2, np.uint8)
    first, second = (tokens_with(rng, 80, 70, config.ladder, everywhere).codes for _ in range(2))
    writer = Writer(model)
    for _ in range(25):
        levels = rng.integers(0, 3, (5, 5)).astype(np.uint8) if rng.random() < 0.5 else np.zeros((5, 5), np.uint8)
        levels[-1, -1] = rng.integers(0, 3)
        agree = rng.integers(1, 4)  # steps whose codes are those of `first`
        tokens = tokens_with(rng, 80, 70, config.ladder, levels)
        for step, codes in enumerate(tokens.codes):
            source = (first if step < agree else second)[step]
            codes[codes >= 0] = source[codes >= 0]
        assert writer.write(tokens) == write(tokens, model)


def test_how_tiles_share_the_work_leaves_no_trace(model, expected, monkeypatch):
    from dqcodec.prior import places, probabilities

    monkeypatch.setattr(places, "SCORES", 1000)
    monkeypatch.setattr(state, "_ROWS", 7)
    monkeypatch.setattr(probabilities, "_ROWS", 5)
    assert equal(trace(model, TOKENS), expected)


def test_chunks_give_the_same_to_encoder_and_decoder(monkeypatch):
    monkeypatch.setattr(state, "CHUNK", 3)
    chunked = model_of(SMALL)
    tokens = random_tokens(np.random.default_rng(5), 150, 90, SMALL.ladder, 2)
    assert equal(trace(chunked, tokens), trace(chunked, tokens, decoder=True))
    assert same(read(write(tokens, chunked), finder(chunked)).tokens, tokens)


def test_training_computes_the_integers_that_decoding_computes():
    network = trained(DEEP)
    integer = IntegerNetwork(DEEP, quantised(network))
    with torch.inference_mode():
        codes, maps = network(pack(DEEP, [TOKENS]), quantise=True)
        known = Known.nothing(TOKENS.width, TOKENS.height, DEEP.ladder, complete=TOKENS)
        image = ImageState(integer, known)
        for step in range(3):
            if step:
                turns = image.map_turns(step)
                z = torch.cat([image.map_logits(step, turn) for turn in _answer(turns, known, step)])
                order = torch.from_numpy(np.argsort(np.concatenate(turns)))
                assert torch.equal(z[order], 32 * maps[step])
            groups = image.begin_step(step)
            z = torch.cat([image.logits(group) for group in range(len(groups))])
            known.codes[step][:] = TOKENS.codes[step]
            assert torch.equal(z, 32 * codes[step])


def _answer(turns, known, step):
    for turn in turns:
        yield turn
        known.levels.reshape(-1)[turn] += TOKENS.levels.reshape(-1)[turn] >= step


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", ["highest", "medium"])
def test_files_travel_between_processor_and_gpu(model, expected, precision, name):
    precision(name)
    gpu = model_of(DEEP, device="cuda")
    assert equal(trace(gpu, TOKENS), expected)
    assert equal(trace(gpu, TOKENS, decoder=True), expected)
    ours, theirs = write(TOKENS, model), write(TOKENS, gpu)
    assert ours == theirs
    assert same(read(ours, finder(gpu)).tokens, TOKENS) and same(read(theirs, finder(model)).tokens, TOKENS)


def test_model_object_is_reusable_for_picture_after_picture(model, expected):
    other = random_tokens(np.random.default_rng(6), 64, 300, DEEP.ladder, 2)
    once = trace(PriorModel(model.network, b"test"), other)
    for _ in range(2):
        assert equal(trace(model, other), once)
        assert equal(trace(model, TOKENS), expected)
