"""Synthetic pictures of the kinds that a codec trained on photographs may code badly, drawn here.

Each is made from fixed numbers: the same on every run with the same Pillow and numpy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 384, 256
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#bcbd22")
TEXT = ("The quick brown fox jumps over the lazy dog while five boxing wizards pack my red jugs with liquor "
        "and 1234567890 sphinxes of black quartz judge (their) vows: we promptly jab big kite, for $5.")
WORDS = TEXT.split()


def draw(kind: str, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Picture (height, width, 3) uint8 of a kind, a key of KINDS. Raises KeyError for another word.

    >>> from dqcodec.eval.kinds import KINDS, draw
    >>> draw("text").shape, len(KINDS)
    ((256, 384, 3), 12)
    """
    return KINDS[kind](width, height)


def _gradient(width: int, height: int) -> np.ndarray:
    """A dusk sky: slow ramps of all three channels, dithered by nothing."""
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]  # 0..1
    return _bytes(np.stack([40 + 190 * y, 70 + 110 * y + 20 * x, 160 - 60 * y + 40 * x], -1))


def _hues(width: int, height: int) -> np.ndarray:
    """All hues from left to right, saturation falling from top to bottom."""
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
    wave = np.cos(2 * np.pi * (x[..., None] - np.array([0, 1, 2]) / 3))
    return _bytes(128 + 100 * (1 - y[..., None]) * wave)


def _flat(width: int, height: int) -> np.ndarray:
    """A colour chart of 6 x 4 flat patches: a row of greys, three rows of colours."""
    greys = [(v, v, v) for v in (0, 51, 102, 153, 204, 255)]
    tones = [tuple(int(v) for v in row) for row in np.random.default_rng(0).integers(20, 236, (18, 3))]
    chart = np.array(greys + tones, np.uint8).reshape(4, 6, 3)
    rows, cols = np.arange(height) * 4 // height, np.arange(width) * 6 // width
    return chart[rows][:, cols]


def _text(width: int, height: int, ink: str = "black", paper: str = "white") -> np.ndarray:
    """Paragraphs of antialiased text from 9 to 22 pixels."""
    image = Image.new("RGB", (width, height), paper)
    canvas, top = ImageDraw.Draw(image), 6
    for turn in range(99):
        size = (12, 12, 12, 16, 16, 22, 9, 9)[turn % 8]
        if top > height:
            break
        canvas.text((8, top), _line(turn, 3 * width // size), ink, _font(size))
        top += size + size // 3
    return np.asarray(image)


def _terminal(width: int, height: int) -> np.ndarray:
    """Light text on dark ground."""
    return _text(width, height, "#d0e0d0", "#10141c")


def _line_art(width: int, height: int) -> np.ndarray:
    """Thin antialiased lines, circles and hatching on white."""
    scale = 3
    image = Image.new("L", (width * scale, height * scale), 255)
    canvas = ImageDraw.Draw(image)
    rng = np.random.default_rng(1)
    for _ in range(14):
        x, y, radius = rng.random(3) * [image.width, image.height, image.height / 4]
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), outline=0, width=4)
    for _ in range(24):
        canvas.line(tuple(rng.random(4) * np.tile(image.size, 2)), fill=0, width=4)
    for offset in range(0, image.width // 3, 15):
        canvas.line((offset, image.height, offset + image.height // 3, image.height * 2 // 3), fill=0, width=3)
    return np.asarray(image.resize((width, height), Image.Resampling.BOX).convert("RGB"))


def _screenshot(width: int, height: int) -> np.ndarray:
    """A window: title bar, menu, side list with icons, paragraphs, buttons."""
    image = Image.new("RGB", (width, height), "#f4f5f7")
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((0, 0, width, 25), fill="#2f3b52")
    canvas.text((10, 6), "Documents - Reader", "white", _font(13))
    for i, colour in enumerate(COLOURS[:3]):
        canvas.ellipse((width - 20 - 18 * i, 7, width - 9 - 18 * i, 18), fill=colour)
    side = width // 4
    canvas.rectangle((0, 26, side, height), fill="#e3e6ec")
    for i in range((height - 30) // 22):
        top = 32 + 22 * i
        canvas.rectangle((8, top, 21, top + 13), fill=COLOURS[i % 8])
        canvas.text((28, top), WORDS[i % len(WORDS)], "#222222", _font(11))
    for i in range((height - 90) // 15):
        canvas.text((side + 12, 36 + 15 * i), _line(i, (width - side) // 7), "#333333", _font(11))
    for i, colour in enumerate(("#1f77b4", "#ffffff")):
        box = (side + 12 + 90 * i, height - 34, side + 92 + 90 * i, height - 12)
        canvas.rounded_rectangle(box, 4, fill=colour, outline="#8090a0")
        canvas.text((box[0] + 16, box[1] + 5), ("Accept", "Cancel")[i], ("white", "#333333")[i], _font(11))
    return np.asarray(image)


def _chart(width: int, height: int) -> np.ndarray:
    """Bars in flat colours with axes, grid lines and labels."""
    image = Image.new("RGB", (width, height), "white")
    canvas = ImageDraw.Draw(image)
    base, left = height - 30, 36
    for i in range(6):
        y = base - i * (base - 30) // 5
        canvas.line((left, y, width - 10, y), fill="#cccccc")
        canvas.text((8, y - 6), str(20 * i), "black", _font(10))
    step = (width - left - 10) // len(COLOURS)
    for i, (colour, share) in enumerate(zip(COLOURS, (0.3, 0.8, 0.55, 0.95, 0.4, 0.7, 0.15, 0.6), strict=True)):
        x = left + 6 + i * step
        canvas.rectangle((x, base - int(share * (base - 30)), x + step - 12, base), fill=colour)
        canvas.text((x, base + 6), WORDS[i][:5], "black", _font(10))
    canvas.text((left, 6), "Throughput of eight methods, percent", "black", _font(14))
    canvas.line((left, base, width - 10, base), fill="black", width=2)
    return np.asarray(image)


def _checker(width: int, height: int) -> np.ndarray:
    """Black and white: checks of 1, 2, 4 and 8 pixels on the left, a ramp in ordered dither on the right."""
    y, x = np.mgrid[:height, :width]
    size = 1 << np.minimum(3, y * 4 // height)
    checks = (x // size + y // size) % 2
    bayer = np.array([[0, 2], [3, 1]])
    for _ in range(2):
        bayer = np.block([[4 * bayer, 4 * bayer + 2], [4 * bayer + 3, 4 * bayer + 1]])  # 8 x 8, 0..63
    ramp = (64 * y / height > bayer[y % 8, x % 8]).astype(int)
    return np.repeat(np.where(x < width // 2, checks, ramp)[..., None] * 255, 3, axis=2).astype(np.uint8)


def _scene(width: int, height: int, seed: int = 2) -> np.ndarray:
    """Noise with the spectrum of photographs (amplitude 1/f) in correlated colours: (H, W, 3) float, 0..255."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    amplitude = 1 / np.maximum(np.hypot(fx, fy), 1 / max(width, height))  # (H, W/2 + 1)
    layers = [np.fft.irfft2(amplitude * np.fft.rfft2(rng.random((height, width)) - 0.5), (height, width))
              for _ in range(3)]
    light, warm, green = (layer / layer.std() for layer in layers)
    return np.stack([125 + 42 * light + 14 * warm, 125 + 42 * light + 7 * green, 118 + 40 * light - 14 * warm], -1)


def _nature(width: int, height: int) -> np.ndarray:
    """Texture with the statistics of a photograph, as a control."""
    return _bytes(_scene(width, height))


def _grey(width: int, height: int) -> np.ndarray:
    """The same without colour."""
    return _bytes(np.repeat(_scene(width, height, 3).mean(2, keepdims=True), 3, axis=2))


def _night(width: int, height: int) -> np.ndarray:
    """A dark picture with a few lights and sensor noise."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(4)
    picture = 14 + (_scene(width, height, 5) - 120) * 0.08 + 5 * (rng.random((height, width, 3)) - 0.5)
    for cx, cy, size, warm in rng.random((12, 4)):
        glow = np.exp(-np.hypot(x - cx * width, y - cy * height) / (2 + 9 * size))[..., None]
        picture = picture + glow * [250, 200 + 40 * warm, 90 + 150 * warm]
    return _bytes(picture)


KINDS: dict[str, Callable[[int, int], np.ndarray]] = {
    "gradient": _gradient, "hues": _hues, "flat": _flat, "text": _text, "terminal": _terminal,
    "line art": _line_art, "screenshot": _screenshot, "chart": _chart, "checker": _checker,
    "nature": _nature, "grey": _grey, "night": _night,
}


def _line(start: int, letters: int) -> str:
    """Words from place 7 * start of WORDS on, at most `letters` letters."""
    line = ""
    for i in range(len(WORDS)):
        line += WORDS[(7 * start + i) % len(WORDS)] + " "
    return line[:letters]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
