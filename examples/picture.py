"""Make the picture at the top of README: a photograph, its grain map, and the same bytes in AVIF.

    python examples/picture.py docs/picture.png [--bpp 0.15]

The photographs ship with scikit-image (astronaut: NASA, public domain; chelsea: CC0).
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

import dqcodec
from dqcodec import codec

HEIGHT, CAPTION = 300, 26


def avif_within(image: Image.Image, limit: int) -> bytes:
    """The best AVIF of at most `limit` bytes, or its smallest."""
    best = None
    for quality in range(60):
        buffer = io.BytesIO()
        image.save(buffer, "AVIF", quality=quality, speed=4)
        if best is not None and buffer.tell() > limit:
            break
        best = buffer.getvalue()
    return best


def grain_overlay(image: Image.Image, blob: bytes) -> Image.Image:
    """The picture, darker and bluer where regions are coarse, brighter where they carry more codes."""
    tokens = codec.tokens_of(blob)
    steps = len(tokens.codes) - 1
    side = 16
    regions = np.kron(tokens.levels, np.ones((side, side), np.uint8))[: tokens.height, : tokens.width]
    # The file may code the picture at less than its size.
    levels = np.asarray(Image.fromarray(regions).resize(image.size, Image.Resampling.NEAREST))[..., None] / steps
    grey = np.asarray(image.convert("L"), float)[..., None]
    tint = levels * np.array([255, 200, 80]) + (1 - levels) * np.array([20, 30, 90])
    return Image.fromarray((0.35 * grey + 0.65 * tint).clip(0, 255).astype(np.uint8))


def panel(image: Image.Image, text: str, width: int) -> Image.Image:
    canvas = Image.new("RGB", (width, HEIGHT + CAPTION), "white")
    canvas.paste(image.resize((width, HEIGHT), Image.Resampling.LANCZOS), (0, 0))
    ImageDraw.Draw(canvas).text((4, HEIGHT + 4), text, fill="black", font=ImageFont.load_default(15))
    return canvas


def row(image: Image.Image, bpp: float) -> Image.Image:
    blob = dqcodec.compress(image, bpp=bpp)
    avif = avif_within(image, len(blob))
    pixels = image.width * image.height
    width = round(HEIGHT * image.width / image.height)
    panels = [
        panel(image, f"original, {image.width}x{image.height}", width),
        panel(dqcodec.decompress(blob), f"dqcodec, {len(blob)} bytes, {8 * len(blob) / pixels:.3f} bpp", width),
        panel(Image.open(io.BytesIO(avif)), f"AVIF, {len(avif)} bytes, {8 * len(avif) / pixels:.3f} bpp", width),
        panel(grain_overlay(image, blob), "where the codes go", width),
    ]
    sheet = Image.new("RGB", (sum(p.width + 6 for p in panels) - 6, HEIGHT + CAPTION), "white")
    x = 0
    for p in panels:
        sheet.paste(p, (x, 0))
        x += p.width + 6
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--bpp", type=float, default=0.15)
    args = parser.parse_args()
    astronaut = Image.fromarray(data.astronaut())
    rows = [row(Image.fromarray(data.chelsea()), args.bpp), row(astronaut.crop((0, 0, 512, 341)), args.bpp)]
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    y = 0
    for r in rows:
        sheet.paste(r, (0, y))
        y += r.height
    args.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.output, optimize=True)


if __name__ == "__main__":
    main()
