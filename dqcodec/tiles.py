"""Cutting a large image into tiles with a halo, so that memory stays bounded and no seam shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TILE = 2048  # pixels of a tile's own area along a side, before its halo
WHOLE = 1 << 22  # images up to this many pixels go through the networks in one piece


@dataclass(frozen=True)
class Tile:
    """Bounds in regions. Inner: what the tile is responsible for. Outer: with its halo."""

    top: int
    bottom: int
    left: int
    right: int
    outer_top: int
    outer_bottom: int
    outer_left: int
    outer_right: int


def _spans(count: int, own: int, halo: int) -> list[tuple[int, int, int, int]]:
    parts = -(-count // own)
    edges = [count * i // parts for i in range(parts + 1)]
    return [(a, b, max(0, a - halo), min(count, b + halo)) for a, b in zip(edges, edges[1:], strict=False)]


def tiles(rows: int, cols: int, region: int, halo_pixels: int, whole: int = WHOLE, tile: int = TILE) -> Iterator[Tile]:
    """Tiles that cover a grid of rows x cols regions; one tile if the image has at most `whole` pixels."""
    halo = -(-halo_pixels // region)
    own = max(rows, cols) if rows * cols * region * region <= whole else tile // region
    for top, bottom, outer_top, outer_bottom in _spans(rows, own, halo):
        for left, right, outer_left, outer_right in _spans(cols, own, halo):
            yield Tile(top, bottom, left, right, outer_top, outer_bottom, outer_left, outer_right)
