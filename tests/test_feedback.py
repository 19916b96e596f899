"""Codes that answer what the decoder makes of them."""

import numpy as np
import torch

import dqcodec
from dqcodec import feedback, networks, rate
from dqcodec.weights import load

CPU = torch.device("cpu")


def gap(analysis, levels, wanted):
    """What the encoder sees in the decoded picture, against what it saw in the picture."""
    shown = networks.synthesise(load().vae, rate.tokens_at(analysis, levels), CPU)
    seen = networks.latents_of(load().vae, shown, CPU)
    return sum(np.abs(a - b).mean() for a, b in zip(seen, wanted, strict=True))


def test_a_round_brings_what_the_encoder_sees_nearer(analysed):
    pixels, analysis, levels = analysed
    gaps = [gap(feedback.corrected(load().vae, pixels, analysis, levels, CPU, rounds, 0.1), levels, analysis.latents)
            for rounds in (0, 1, 3)]
    assert gaps[0] > gaps[1] > gaps[2]


def test_without_a_round_or_a_gain_nothing_changes(analysed):
    pixels, analysis, levels = analysed
    assert feedback.corrected(load().vae, pixels, analysis, levels, CPU, 0, 0.2) is analysis
    same = feedback.corrected(load().vae, pixels, analysis, levels, CPU, 1, 0.0)
    assert all(np.array_equal(a, b) for a, b in zip(same.codes, analysis.codes, strict=True))


def test_latents_are_what_codes_stand_for_in_tiles_too(analysed):
    pixels, analysis, _ = analysed
    vae = load().vae
    for a, b in zip(networks.latents_of(vae, pixels, CPU), analysis.latents, strict=True):
        assert a.shape[0] == vae.config.code_dim and np.array_equal(a, b)
    for how in ({}, {"whole": 32 * 32, "tile": 32}):
        codes = networks.quantise(vae, analysis.latents, CPU, **how)
        assert all(np.array_equal(a, b) for a, b in zip(codes, analysis.codes, strict=True))


def test_a_file_is_the_same_each_time_and_nearer_than_without(photo, monkeypatch):
    data = dqcodec.compress(photo, bpp=0.3)
    assert dqcodec.compress(photo, bpp=0.3) == data
    monkeypatch.setattr(feedback, "FAST", (0, 0.0))
    before = dqcodec.compress(photo, bpp=0.3)
    errors = [np.abs(np.asarray(dqcodec.decompress(d), float) - np.asarray(photo)).mean() for d in (data, before)]
    assert errors[0] < errors[1]
