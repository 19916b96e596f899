"""Attention of the prior in training, tile by tile.

Weights are (1 - (best - score) / range)_+ squared, a sparse relative of softmax (entmax with alpha 1.5,
Peters et al. 2019) that integers compute without an exponential; integers.attend is its counterpart.
The backward pass is written out, since autograd would keep and walk five arrays of all scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dqcodec.prior.fixed_point import HEAD, SCORE_SHIFT, SCORE_TOP

_STEP = 2.0 ** (2 * HEAD - SCORE_SHIFT)  # from a score in real units to steps of t
_FALL = 2.0**-10  # from t squared to a weight; only integers, which lose what is below one, need it


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, kv, starts, sight, heads, quantise):
        out = torch.empty_like(q)
        kept = []
        for a, b in zip(starts, starts[1:], strict=False):
            qt, kt, vt = _split(q, kv, a, b, heads)
            hidden = torch.arange(b - a, device=q.device) >= sight[a:b, None]  # (n, m)
            t = (qt @ kt.transpose(-1, -2)).masked_fill_(hidden, -1e4)  # (h, n, m) scores
            best, where = t.max(-1, keepdim=True)
            t.sub_(best).mul_(_STEP)
            if quantise:
                t.ceil_()
            t.add_(SCORE_TOP).clamp_min_(0)
            e = _weights(t, quantise)
            # Asked for float32, the sum of bfloat16 would first copy all of e.
            total = e.sum(-1, keepdim=True, dtype=torch.float32 if quantise else None).float()
            mixed = ((e @ vt).float() / total).to(q.dtype)  # (h, n, c)
            out[a:b] = mixed.transpose(0, 1).flatten(1)
            kept += [t, where, total]
        ctx.save_for_backward(q, kv, out, *kept)
        ctx.shape = starts, heads, quantise
        return out

    @staticmethod
    def backward(ctx, grad):
        q, kv, out, *kept = ctx.saved_tensors
        starts, heads, quantise = ctx.shape
        grad_q, grad_kv = torch.empty_like(q), torch.empty_like(kv)
        half = q.shape[1]
        for i, (a, b) in enumerate(zip(starts, starts[1:], strict=False)):
            t, where, total = kept[3 * i : 3 * i + 3]
            qt, kt, vt = _split(q, kv, a, b, heads)
            g = grad[a:b].view(b - a, heads, -1).transpose(0, 1).float() / total  # (h, n, c)
            o = out[a:b].view(b - a, heads, -1).transpose(0, 1)
            mean = (g * o).sum(-1, keepdim=True).to(q.dtype)
            g = g.to(q.dtype)
            grad_kv[a:b, half:] = (_weights(t, quantise).transpose(-1, -2) @ g).transpose(0, 1).flatten(1)
            # d weight / d score; the best score moves all others the other way.
            s = (g @ vt.transpose(-1, -2)).sub_(mean).mul_(t).mul_(2 * _STEP * (_FALL if quantise else 1))
            s.scatter_add_(-1, where, -s.sum(-1, keepdim=True))
            grad_q[a:b] = (s @ kt).transpose(0, 1).flatten(1)
            grad_kv[a:b, :half] = (s.transpose(-1, -2) @ qt).transpose(0, 1).flatten(1)
        return grad_q, grad_kv, None, None, None, None


def _split(q: Tensor, kv: Tensor, a: int, b: int, heads: int) -> list[Tensor]:
    """Queries, keys and values (h, n, c) of the rows a..b-1."""
    parts = (q[a:b], *kv[a:b].chunk(2, -1))
    return [part.reshape(b - a, heads, -1).transpose(0, 1) for part in parts]


def _weights(t: Tensor, quantise: bool) -> Tensor:
    e = t * t
    return e.mul_(_FALL).floor_() if quantise else e


def attend(q: Tensor, kv: Tensor, starts: list[int], sight: Tensor, heads: int, quantise: bool) -> Tensor:
    """Each row attends to the first `sight` rows of its own tile.

    q (rows, d), kv (rows, 2 d) keys and values, starts: rows where tiles begin, sight (rows,) >= 1.
    Returns (rows, d), not yet rounded.
    """
    return _Attend.apply(q, kv, starts, sight, heads, quantise)
