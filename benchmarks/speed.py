"""Speed of the shipped model on a 768x512 photograph, against this machine's GEMM peak and Pillow's AVIF.

    python benchmarks/speed.py [--threads 2] [--image FILE] [--output results/speed.json]

Medians of --repeat runs after a warm-up, all in one run on one machine. The picture is coded at its own size, which
takes longest to decode; encode_auto_s also chooses a scale, and takes longer where that is a smaller one. Limits:
network decode at least 40 % of GEMM peak at the same precision, each encode and whole decode at most 0.8 s, of which
the prior's part (bytes to tokens) at most 0.4 s, command line from start to file at most 2.5 s, and to decompress at
most three times as long where every core has another program to run, which is to have half of it. Exits 1 if one is
missed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from compute import kmac_per_pixel
from PIL import Image

from dqcodec import bitstream, codec, networks
from dqcodec.eval import machine
from dqcodec.weights import load

LIMITS = {"decode_share_of_gemm": 0.40, "decode_s": 0.8, "prior_decode_s": 0.4, "encode_s": 0.8,
          "encode_auto_s": 0.8, "cli_s": 2.5, "cli_busy_ratio": 3.0}
SEVERAL = 12  # files of a folder, compressed one by one and as many at a time as there are threads


def median(work: Callable[[], object], repeat: int) -> float:
    """Median seconds of `work` after two warm-up calls."""
    work()
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Every core has another program to run meanwhile."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def gemm_peak(dtype: torch.dtype, repeat: int) -> float:
    """GFLOP/s of a 2048x2048 matrix product."""
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    return 2 * 2048**3 / median(lambda: a @ b, repeat) / 1e9


def sample_image(path: Path | None) -> Image.Image:
    if path is not None:
        return Image.open(path).convert("RGB")
    from skimage import data

    return Image.fromarray(data.astronaut()).resize((768, 768)).crop((0, 128, 768, 640))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--bpp", type=float, default=0.15)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    image = sample_image(args.image)
    pixels = np.asarray(image)
    cpu = torch.device("cpu")
    model = load()
    data = codec.compress(image, bpp=args.bpp, scale=1, device="cpu")
    tokens = codec.tokens_of(data)
    with networks._inference(cpu):
        fast = torch.is_autocast_enabled("cpu")
    peak = gemm_peak(torch.bfloat16 if fast else torch.float32, args.repeat)
    network = median(lambda: networks.synthesise(model.vae, tokens, cpu), args.repeat)
    gflop = 2 * kmac_per_pixel(model.vae)["decoder"] * 1e3 * pixels.shape[0] * pixels.shape[1] / 1e9
    avif = io.BytesIO()
    image.save(avif, "AVIF", quality=12, speed=4)

    def save_avif():
        image.save(io.BytesIO(), "AVIF", quality=12, speed=4)

    facts = {
        "image": f"{image.width}x{image.height}", "bpp": 8 * len(data) / image.width / image.height,
        "threads": args.threads, "precision": "bfloat16" if fast else "float32", "gemm_gflops": peak,
        "network_decode_s": network, "network_decode_gflops": gflop / network,
        "decode_share_of_gemm": gflop / network / peak,
        "network_encode_s": median(lambda: networks.analyse(model.vae, pixels, cpu), args.repeat),
        "prior_decode_s": median(lambda: bitstream.read(data, lambda mark: model.entropy), args.repeat),
        "prior_encode_s": median(lambda: bitstream.write(tokens, model.entropy), args.repeat),
        "encode_s": median(lambda: codec.compress(image, bpp=args.bpp, scale=1, device="cpu"), args.repeat),
        "encode_auto_s": median(lambda: codec.compress(image, bpp=args.bpp, device="cpu"), args.repeat),
        "encode_best_s": median(lambda: codec.compress(image, bpp=args.bpp, effort="best", device="cpu"), 1),
        "decode_s": median(lambda: codec.decompress(data, device="cpu"), args.repeat),
        "avif_encode_s": median(save_avif, args.repeat),
        "avif_decode_s": median(lambda: np.asarray(Image.open(io.BytesIO(avif.getvalue()))), args.repeat),
    }
    with tempfile.TemporaryDirectory() as folder:
        image.save(Path(folder) / "in.png")
        command = [sys.executable, "-m", "dqcodec"]

        def run(*words: str) -> None:
            subprocess.run([*command, *words, "--force"], check=True, cwd=folder)

        facts["cli_compress_s"] = median(lambda: run("compress", "in.png", "--bpp", str(args.bpp)), 5)
        facts["cli_decompress_s"] = median(lambda: run("decompress", "in.dq", "-o", "out.png"), 5)
        with busy(os.cpu_count()):
            facts["cli_decompress_busy_s"] = median(lambda: run("decompress", "in.dq", "-o", "out.png"), 5)
        several = Path(folder) / "several"
        several.mkdir()
        for i in range(SEVERAL):
            image.save(several / f"{i}.png")
        for name, jobs in (("one_by_one", 1), ("by_jobs", args.threads)):
            start = time.perf_counter()
            run("compress", "several", "-o", name, "--bpp", str(args.bpp), "--jobs", str(jobs))
            facts[f"cli_{SEVERAL}_files_{name}_s"] = time.perf_counter() - start
    facts["cli_busy_ratio"] = facts["cli_decompress_busy_s"] / facts["cli_decompress_s"]
    facts["cli_s"] = max(facts["cli_compress_s"], facts["cli_decompress_s"])
    facts["encode_ratio_to_avif"] = facts["encode_s"] / facts["avif_encode_s"]
    facts["decode_ratio_to_avif"] = facts["decode_s"] / facts["avif_decode_s"]
    facts |= machine.describe()
    for name, value in facts.items():
        print(f"{name:<24} {value:.4g}" if isinstance(value, float) else f"{name:<24} {value}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(facts, indent=1) + "\n")
    missed = [n for n, limit in LIMITS.items() if (facts[n] < limit) == (n == "decode_share_of_gemm")]
    for name in missed:
        print(f"MISSED {name}: {facts[name]:.3g}, limit {LIMITS[name]}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
