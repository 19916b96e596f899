"""The network in training: the same with or without rounding, alone or in a batch, and its gradients."""

import numpy as np
import pytest
import torch

from dqcodec.prior import attention, fixed_point
from dqcodec.prior.batch import pack
from dqcodec.prior.integer_network import IntegerNetwork
from dqcodec.prior.quantised import quantised
from tests.bitstream.samples import random_tokens
from tests.prior.samples import DEEP, RASTER, REPEATED, trained

CONFIGS = {"deep": DEEP, "repeated": REPEATED, "raster": RASTER}


def pictures(config, count: int):
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 140, (count, 2)).tolist()
    return [random_tokens(rng, w, h, config.ladder, len(config.factors) - 1) for w, h in sizes]


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_of_a_picture_are_those_it_has_among_sixteen(name):
    config = CONFIGS[name]
    network, images = trained(config), pictures(config, 16)
    with torch.inference_mode():
        together = network(pack(config, images), quantise=True)
        start = [[0, 0] for _ in config.factors]
        for image in images:
            for kind, alone in enumerate(network(pack(config, [image]), quantise=True)):
                for step, logits in enumerate(alone):
                    if logits is not None:
                        at = start[step][kind]
                        assert torch.equal(together[kind][step][at : at + len(logits)], logits)
                        start[step][kind] += len(logits)


@pytest.mark.parametrize("name", CONFIGS)
def test_without_rounding_the_network_gives_nearly_the_same(name):
    config = CONFIGS[name]
    network, batch = trained(config), pack(config, pictures(config, 2))
    with torch.inference_mode():
        smooth, rounded = network(batch, quantise=False), network(batch, quantise=True)
    for a, b in zip([*smooth[0], *smooth[1][1:]], [*rounded[0], *rounded[1][1:]], strict=True):
        assert not a.numel() or (a - b).abs().mean() < 0.05


def test_class_label_reaches_every_code():
    batches = [pack(RASTER, pictures(RASTER, 1), [label]) for label in (0, 1)]
    with torch.inference_mode():
        a, b = (trained(RASTER)(batch)[0] for batch in batches)
    assert all((x != y).any(1).all() for x, y in zip(a, b, strict=True) if x.shape[1] > 1)


def test_trained_weights_become_integers_that_a_loader_accepts():
    network = trained(DEEP)
    with torch.no_grad():
        network.content.mul_(100)
        network.label.mul_(1e5)
        network.head[0].weight.mul_(1e-9)
        network.position_stack[0].query.weight[0] = 0
    IntegerNetwork(DEEP, quantised(network))


def test_logits_of_one_head_share_their_exponent():
    tensors = quantised(trained(DEEP))
    for step in range(3):
        assert len(set(tensors[f"head.{step}.exponent"].tolist())) == 1


def test_written_out_gradient_of_attention_is_that_of_autograd():
    torch.manual_seed(0)
    starts, heads = [0, 5, 12], 2
    sight = torch.tensor([1, 1, 2, 3, 5, 1, 1, 2, 3, 3, 6, 7])
    q = (3 * torch.randn(12, 8)).requires_grad_()
    kv = (3 * torch.randn(12, 16)).requires_grad_()
    grad = torch.randn(12, 8)
    out = attention.attend(q, kv, starts, sight, heads, False)
    ours = torch.autograd.grad(out, (q, kv), grad)
    expected = plain_attention(q, kv, starts, sight, heads)
    assert torch.allclose(out, expected, atol=1e-5)
    for a, b in zip(ours, torch.autograd.grad(expected, (q, kv), grad), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def plain_attention(q, kv, starts, sight, heads):
    """attention.attend as one would write it down."""
    rows = []
    for a, b in zip(starts, starts[1:], strict=False):
        for row in range(a, b):
            seen = kv[a : a + int(sight[row])].view(-1, 2, heads, q.shape[1] // heads)
            score = torch.einsum("hc,mhc->hm", q[row].view(heads, -1), seen[:, 0])
            t = (255 - 8 * (score.max(1, keepdim=True).values - score)).clamp_min(0)  # 2**8 / 2**5 steps for one
            rows.append(torch.einsum("hm,mhc->hc", t**2 / (t**2).sum(1, keepdim=True), seen[:, 1]).flatten())
    return torch.stack(rows)


def test_gradient_passes_rounding_and_stops_at_limits():
    x = torch.tensor([-9.0, -0.3, 0.26, 9.0], requires_grad=True)
    y = fixed_point.snap(x, 2, 31, True)
    assert y.tolist() == [-7.75, -0.25, 0.25, 7.75]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]
