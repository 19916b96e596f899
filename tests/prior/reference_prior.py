"""A second prior, written from docs/FORMAT.md, section 10, alone: plain Python integers, no numpy, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt

from tests.bitstream.reference_decoder import RangeDecoder, varint

CHUNK = 32  # tiles
BAYER = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]
TURN = [[0, 2], [3, 1]]
OWN = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
AROUND = [(dy, dx) for dy in range(-1, 2) for dx in range(-1, 2)]
UNITS = {"near": (3, 6), "token": (3, 6), "query": (5, 4), "key_value": (5, 4), "wide": (5, 4), "map_wide": (5, 4),
         "out": (4, 6), "narrow": (4, 6), "head": (5, 5), "map_head": (4, 5)}  # fmt: skip


def clamp(values: list[int], most: int) -> list[int]:
    return [min(max(x, -most), most) for x in values]


def add(a: list[int], b: list[int]) -> list[int]:
    return clamp([x + y for x, y in zip(a, b, strict=True)], 8191)


def norm(h: list[int]) -> list[int]:
    root = max(isqrt(256 * sum(x * x for x in h) // len(h)), 1)
    return clamp([(1024 * x + root) // (2 * root) for x in h], 127)


class ReferencePrior:
    """config: the settings, as parsed from JSON. tensors: nested lists by name, without "prior."."""

    def __init__(self, config: dict, tensors: dict[str, list]):
        self.config, self.tensors = config, tensors
        self.sides = [16 // factor for factor in config["factors"]]
        self.first = [3 + sum(config["codebook_sizes"][:s]) for s in range(len(self.sides))]

    def linear(self, name: str, x: list[int]) -> list[int]:
        parts = name.split(".")
        grid_in, grid_out = UNITS[parts[-1] if parts[0].endswith("_stack") else parts[0]]
        weight, bias, exponent = (self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "exponent"))
        assert len(weight[0]) == len(x)
        y = []
        for i, row in enumerate(weight):
            shift = grid_in + exponent[i] - grid_out
            total = sum(w * v for w, v in zip(row, x, strict=True) if v) + bias[i]
            y.append((total + 2 ** (shift - 1)) >> shift)
        return y

    def layer(self, name: str, h: list[int], memory: list[tuple[list[int], list[int]]]) -> list[int]:
        q = clamp(self.linear(f"{name}.query", norm(h)), 127)
        width = len(q) // self.config["heads"]
        mixed = []
        for start in range(0, len(q), width):
            head = range(start, start + width)
            score = [sum(q[j] * key[j] for j in head) for key, _ in memory]
            best = max(score)
            e = [max(255 - ((best - s) >> 5), 0) ** 2 >> 10 for s in score]
            for j in head:
                total = sum(weight * value[j] for weight, (_, value) in zip(e, memory, strict=True))
                mixed.append((2 * total + sum(e)) // (2 * sum(e)))
        h = add(h, self.linear(f"{name}.out", mixed))
        wide = [min(max(u, 0), 127) for u in self.linear(f"{name}.wide", norm(h))]
        return add(h, self.linear(f"{name}.narrow", wide))

    def code_frequencies(self, z: list[int]) -> list[int]:
        e = [self.tensors["exp_table"][min(max(z) - x, 511)] for x in z]
        f = [1 + x * (65536 - len(z)) // sum(e) for x in e]
        f[z.index(max(z))] += 65536 - sum(f)
        return f


    def log(self, x: int) -> int:
        e = x.bit_length() - 1
        return 45426 * e + self.tensors["log_table"][(x << 8 >> e) - 256]

    def gap(self, counted: int, expected: int, weight: int) -> int:
        return self.log(65536 * counted + weight) - self.log(expected + weight)


def limited(bias: int) -> int:
    return min(max(bias, -128), 128)


class CodeCounts:
    """What a step's codes have been, and what they were expected to be."""

    def __init__(self, prior: ReferencePrior, step: int):
        self.prior, size = prior, prior.config["codebook_sizes"][step]
        self.rate, self.weight = prior.config.get("adapt_codes", [[0, 1]] * (step + 1))[step]
        self.counted, self.expected = [0] * size, [0] * size

    def bias(self) -> list[int]:
        if not self.rate:
            return [0] * len(self.counted)
        gaps = [self.prior.gap(n, e, self.weight) for n, e in zip(self.counted, self.expected, strict=True)]
        return [limited(gap * self.rate >> 15) for gap in gaps]

    def take(self, bias: list[int], rows: list[list[int]], codes: list[int]) -> None:
        if not self.rate:
            return
        for k, b in enumerate(bias):
            self.expected[k] += sum(row[k] for row in rows) * self.prior.tensors["unbias_table"][b + 128] >> 16
            self.counted[k] += codes.count(k)


class Tile:
    """Keys and values of one tile, for each layer of both stacks."""

    def __init__(self, prior: ReferencePrior):
        config = prior.config
        self.prior = prior
        self.position = [(f"position_stack.{i}", []) for i in range(config["position_layers"])]
        self.content = [(f"content_stack.{i}", []) for i in range(config["content_layers"])]
        self.remember([prior.tensors["label"][0]])

    def _append(self, name: str, memory: list, normalised: list[list[int]]) -> None:
        for r in normalised:
            kv = clamp(self.prior.linear(f"{name}.key_value", r), 127)
            memory.append((kv[: len(r)], kv[len(r) :]))

    def remember(self, streams: list[list[int]]) -> list[list[int]]:
        for name, memory in self.position:
            self._append(name, memory, [norm(g) for g in streams])
            streams = [self.prior.layer(name, g, memory) for g in streams]
        outputs = [norm(g) for g in streams]
        for name, memory in self.content:
            self._append(name, memory, outputs)
        return outputs

    def ask(self, h: list[int]) -> list[int]:
        for name, memory in self.content:
            h = self.prior.layer(name, h, memory)
        return norm(h)


class ReferenceImage:
    """One image as a decoder sees it: `levels` and `codes` (-1: unknown or absent) grow as the caller fills them."""

    def __init__(self, prior: ReferencePrior, rows: int, cols: int):
        self.prior, self.rows, self.cols = prior, rows, cols
        self.across = -(-cols // prior.config["tile"])
        self.tiles = [Tile(prior) for _ in range(-(-rows // prior.config["tile"]) * self.across)]
        self.levels = [[0] * cols for _ in range(rows)]
        self.codes = [[[-1] * (cols * side) for _ in range(rows * side)] for side in prior.sides]
        self.outputs: dict[tuple[int, int, int], list[int]] = {}

    def map_batches(self, step: int) -> Iterator[tuple[list[tuple[int, int]], list[int]]]:
        """(regions, frequencies of "rises") turn by turn; the caller sets `levels` before it asks for the next."""
        rate, weight = self.prior.config.get("adapt_maps", [0, 1])
        counted, expected = [0, 0], [0, 0]
        for turn in range(4):
            found = [(r, c) for r in range(self.rows) for c in range(self.cols)
                     if TURN[r % 2][c % 2] == turn and self.levels[r][c] == step - 1]  # fmt: skip
            if found:
                logits = [self._map_logit(step, r, c) for r, c in found]
                bias = 0
                if rate:
                    gaps = [self.prior.gap(counted[i], expected[i], weight) for i in range(2)]
                    bias = limited((gaps[1] - gaps[0]) * rate >> 15)
                    alone = [self._map_frequency(z) for z in logits]
                    expected[0] += 65536 * len(alone) - sum(alone)
                    expected[1] += sum(alone)
                yield found, [self._map_frequency(z + bias) for z in logits]
                for r, c in found:
                    counted[self.levels[r][c] - step + 1] += 1

    def _map_frequency(self, z: int) -> int:
        return self.prior.tensors["map_table"][min(max(z, -256), 255) + 256]

    def _map_logit(self, step: int, r: int, c: int) -> int:
        side, prior = self.prior.sides[step - 1], self.prior
        cells = [(step - 1, r * side + i, c * side + j) for i in range(side) for j in range(side)]
        count = len(cells)
        mean = [(2 * sum(values) + count) // (2 * count)
                for values in zip(*(self.outputs[cell] for cell in cells), strict=True)]  # fmt: skip
        on = [0] * 24
        for i, (dy, dx) in enumerate(a for a in AROUND if a != (0, 0)):
            on[3 * i + self._map_state(step, r, c, r + dy, c + dx)] = 32
        u = [min(max(x, 0), 127) for x in prior.linear(f"map_wide.{step - 1}", mean + on)]
        (z,) = prior.linear(f"map_head.{step - 1}", u)
        return z

    def _map_state(self, step: int, r: int, c: int, y: int, x: int) -> int:
        if not (0 <= y < self.rows and 0 <= x < self.cols):
            return 0
        if self.levels[y][x] < step - 1:
            return 1
        if TURN[y % 2][x % 2] >= TURN[r % 2][c % 2]:
            return 0
        return 2 if self.levels[y][x] == step else 1

    def code_batches(self, step: int) -> Iterator[tuple[list[tuple[int, int]], list[list[int]]]]:
        """(cells, frequencies) batch by batch; the caller sets `codes` before it asks for the next."""
        config, side = self.prior.config, self.prior.sides[step]
        span = config["tile"] * side
        order: dict[tuple[int, int], dict[int, list[tuple[int, int]]]] = {}
        for y in range(self.rows * side):
            for x in range(self.cols * side):
                if self.levels[y // side][x // side] >= step:
                    tile = y // span * self.across + x // span
                    if config["order"] == "raster":
                        group = (y % span) * span + x % span
                    else:
                        group = BAYER[y % 4][x % 4] * config["groups"][step] // 16
                    order.setdefault((tile // CHUNK, group), {}).setdefault(tile, []).append((y, x))
        counts = CodeCounts(self.prior, step)
        for batch in sorted(order):
            tiles = sorted(order[batch])
            queries = {cell: self._query(step, *cell) for tile in tiles for cell in order[batch][tile]}
            answers = [self.tiles[tile].ask(queries[cell]) for tile in tiles for cell in order[batch][tile]]
            logits = [self.prior.linear(f"head.{step}", r) for r in answers]
            bias = counts.bias()
            rows = [self.prior.code_frequencies([x + b for x, b in zip(z, bias, strict=True)]) for z in logits]
            yield list(queries), rows
            counts.take(bias, rows, [self.codes[step][y][x] for y, x in queries])
            for tile in tiles:
                cells = order[batch][tile]
                outputs = self.tiles[tile].remember([self._memory(step, cell, queries[cell]) for cell in cells])
                for (y, x), output in zip(cells, outputs, strict=True):
                    self.outputs[step, y, x] = output

    def _index(self, step: int, y: int, x: int) -> int:
        side = self.prior.sides[step]
        if not (0 <= y < self.rows * side and 0 <= x < self.cols * side):
            return 0
        if self.levels[y // side][x // side] < step:
            return 1
        code = self.codes[step][y][x]
        return 2 if code < 0 else self.prior.first[step] + code

    def _query(self, step: int, y: int, x: int) -> list[int]:
        tensors, sides = self.prior.tensors, self.prior.sides
        side, choices = sides[step], len(sides) + 1
        span = self.prior.config["tile"] * side
        indices = [self._index(step, y + dy, x + dx) for dy, dx in OWN]
        for above in range(step):
            q = side // sides[above]
            indices += [self._index(above, y // q + dy, x // q + dx) for dy, dx in AROUND]
        inputs = [value for index in indices for value in tensors["content"][index]]
        on = [0] * (9 * choices)
        for i, (dy, dx) in enumerate(AROUND):
            r, c = y // side + dy, x // side + dx
            inside = 0 <= r < self.rows and 0 <= c < self.cols
            on[i * choices + (self.levels[r][c] if inside else len(sides))] = 8
        place = tensors[f"position.{step}"][(y % span) * span + x % span]
        return add(place, self.prior.linear(f"near.{step}", inputs + on))

    def _memory(self, step: int, cell: tuple[int, int], query: list[int]) -> list[int]:
        row = self.prior.first[step] + self.codes[step][cell[0]][cell[1]]
        return add(query, self.prior.linear(f"token.{step}", self.prior.tensors["content"][row]))


def decode(data: bytes, prior: ReferencePrior) -> tuple[list, list]:
    """(levels, codes) of a whole .dq file without extras."""
    width, offset = varint(data, 6)
    height, offset = varint(data, offset)
    offset += 6
    image = ReferenceImage(prior, -(-height // 16), -(-width // 16))
    for step in range(data[5] & 15):
        assert data[offset] == 0x10 + step
        length, start = varint(data, offset + 1)
        coder = RangeDecoder(data[start : start + length])
        for regions, ones in image.map_batches(step) if step else ():
            for (r, c), f1 in zip(regions, ones, strict=True):
                image.levels[r][c] += coder.symbol([65536 - f1, f1])
        for cells, rows in image.code_batches(step):
            for (y, x), f in zip(cells, rows, strict=True):
                image.codes[step][y][x] = coder.symbol(f)
        offset = start + length + 4
    assert offset == len(data)
    return image.levels, image.codes
