"""Train a tiny generator of coarse codes on shards of `dqcodec tokens FOLDER -o tokens-%06d.tar`.

    python examples/train_on_tokens.py --shards 'tokens-*.tar' --steps 200

Codes of step 0 come in raster order; a GRU predicts each from those before it, and is told the code
above. A model worth using would also have maps, finer steps and labels (docs/tokens.md).
"""

import argparse
import glob
import io
import math
import tarfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def read(pattern):
    """Coarse codes (rows, cols) int32 of every sample, and the size of their codebook."""
    grids, size = [], 0
    for path in sorted(glob.glob(pattern)):
        with tarfile.open(path) as shard:
            for member in shard:
                if member.name.endswith(".npz"):
                    arrays = np.load(io.BytesIO(shard.extractfile(member).read()))
                    grids.append(arrays["codes_0"])
                    size = int(arrays["codebook_sizes"][0])
    return grids, size


class NextCode(nn.Module):
    def __init__(self, size, dim=128):
        super().__init__()
        self.before, self.above = nn.Embedding(size + 1, dim), nn.Embedding(size + 1, dim)  # size: no code there
        self.gru, self.out = nn.GRU(dim, dim, batch_first=True), nn.Linear(dim, size)

    def forward(self, codes):  # (B, h, w) -> logits (B, h * w, K)
        none = self.out.out_features
        before = F.pad(codes.flatten(1), (1, 0), value=none)[:, :-1]  # (B, h * w)
        above = F.pad(codes, (0, 0, 1, 0), value=none)[:, :-1].flatten(1)  # (B, h * w)
        return self.out(self.gru(self.before(before) + self.above(above))[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", required=True, help="shards, as a glob pattern in quotes")
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    grids, size = read(args.shards)
    if not grids:
        parser.error(f"no samples in {args.shards}")
    side = min(8, *(n for grid in grids for n in grid.shape))  # of the crops, so that they make a batch
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    net = NextCode(size)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for step in range(1, args.steps + 1):
        chosen = [grids[i] for i in rng.integers(len(grids), size=16)]
        corners = [[rng.integers(n - side + 1) for n in grid.shape] for grid in chosen]
        crops = [g[y : y + side, x : x + side] for g, (y, x) in zip(chosen, corners, strict=True)]
        codes = torch.from_numpy(np.stack(crops)).long()  # (B, side, side)
        loss = F.cross_entropy(net(codes).flatten(0, 1), codes.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (1, args.steps) or step % 20 == 0:
            bits = loss.item() / math.log(2)
            print(f"step {step}: loss {loss.item():.3f}, {bits:.2f} bits per code (uniform: {math.log2(size):.2f})")


if __name__ == "__main__":
    main()
