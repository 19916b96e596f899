"""Which errors cost what: scores of decoded pictures whose low frequencies are replaced by the original's.

    python benchmarks/lowpass.py --images DIR --metric-weights DIR [--model default] [--most 6] [--rates 0.1 0.3] \
        [--jobs 2] [--output results/lowpass.json]

Means of blocks of 64, 32, 16 and 8 pixels, interpolated, of the original in place of the decoded picture's: what the
codec could gain at most by getting them right. Beside it the decoded picture with the original's colour (Cb, Cr), and
with its luma.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import over_pictures
from PIL import Image

from dqcodec import codec
from dqcodec.eval.image_set import read_rgb
from dqcodec.eval.sweep import Shown, bpp

BLOCKS = (64, 32, 16, 8)


def low(pixels: np.ndarray, block: int) -> np.ndarray:
    """(H, W, 3) float32: means of blocks, interpolated back to the picture's size."""
    height, width = pixels.shape[:2]
    small = (-(-width // block), -(-height // block))
    channels = [np.asarray(Image.fromarray(pixels[..., c]).resize(small, Image.Resampling.BOX)
                           .resize((width, height), Image.Resampling.BICUBIC)) for c in range(3)]
    return np.stack(channels, 2)


def variants(original: np.ndarray, decoded: np.ndarray) -> dict[str, np.ndarray]:
    """The decoded picture (H, W, 3) uint8 and what it would be without some of its errors."""
    x, y = original.astype(np.float32), decoded.astype(np.float32)
    found = {"decoded": decoded}
    for block in BLOCKS:
        mended = y + low(x, block) - low(y, block)
        found[f"means of {block} px"] = mended.round().clip(0, 255).astype(np.uint8)
    a, b = (np.asarray(Image.fromarray(p).convert("YCbCr")) for p in (original, decoded))
    for name, parts in (("colour", (b[..., :1], a[..., 1:])), ("luma", (a[..., :1], b[..., 1:]))):
        mended = np.ascontiguousarray(np.concatenate(parts, 2))
        found[name] = np.asarray(Image.fromarray(mended, "YCbCr").convert("RGB"))
    return found


def ways(path: Path, rates: list[float], model: str) -> Iterator[Shown]:
    image = read_rgb(path)
    for rate in rates:
        data = codec.compress(image, bpp=rate, model=model)
        decoded = codec.decompress(data, model=model)
        for name, picture in variants(np.asarray(image), np.asarray(decoded)).items():
            way = {"target": rate, "mended": name}
            yield Shown(way, image, Image.fromarray(picture), {"bpp": bpp(data, image)})


def main() -> None:
    args = over_pictures.options(__doc__, rates=[0.1, 0.3], most=6).parse_args()
    over_pictures.run(partial(ways, rates=args.rates, model=args.model), args)


if __name__ == "__main__":
    main()
