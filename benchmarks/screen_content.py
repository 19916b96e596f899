"""Which pictures `dqcodec compress` would warn of, and what looking costs: for choosing the thresholds.

    python benchmarks/screen_content.py shared/data/valid shared/data/train

Takes folders of pictures and of tar shards. Prints the pictures that score 1 or more, the highest scores below
that, and the mean time.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dqcodec.content import screen_score
from dqcodec.files import IMAGE_SUFFIXES


def pictures(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and pixels (H, W, 3) uint8 of each picture in a folder and in its tar files."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".tar":
            with tarfile.open(path) as shard:
                for member in shard:
                    data = io.BytesIO(shard.extractfile(member).read())
                    yield f"{path.name}/{member.name}", np.asarray(Image.open(data).convert("RGB"))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path.name, np.asarray(Image.open(path).convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    for folder in parser.parse_args().folders:
        scores, seconds = {}, 0.0
        for name, pixels in pictures(folder):
            start = time.process_time()
            scores[name] = screen_score(pixels)
            seconds += time.process_time() - start
        ranked = sorted(scores, key=lambda name: -scores[name])
        warned = [name for name in ranked if scores[name] >= 1]
        print(f"{folder}: warns of {len(warned)} of {len(scores)}, {1000 * seconds / len(scores):.2f} ms a picture")
        for name in ranked[: len(warned) + 5]:
            print(f"  {scores[name]:.2f} {name}")


if __name__ == "__main__":
    main()
