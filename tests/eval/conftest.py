import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dqcodec.eval.commands import eval_command

SHARED = Path(__file__).resolve().parents[3] / "shared"


def cat_photo(width: int, height: int, left: int = 40, top: int = 20) -> Image.Image:
    """A piece of a photograph that ships with scikit-image."""
    import skimage

    return Image.fromarray(skimage.data.chelsea()).crop((left, top, left + width, top + height))


def read(path) -> np.ndarray:
    """RGB pixels (H, W, 3) uint8 of an image file."""
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """`dqcodec eval` over two readable images and a broken one between them: folder, out, result."""
    folder = tmp_path_factory.mktemp("pictures")
    cat_photo(200, 176).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"not a picture")
    cat_photo(176, 190, 90, 60).save(folder / "c.png")
    out = tmp_path_factory.mktemp("out")
    result = CliRunner().invoke(eval_command, arguments(folder, out))
    return folder, out, result


def arguments(folder, out, *more: str) -> list[str]:
    """A short run without networks."""
    return [str(folder), "--out", str(out), "--codecs", "avif,jpeg,webp", "--metrics", "psnr,ms_ssim",
            "--settings", "jpeg=10,30,70", "--settings", "webp=5,30,70", "--settings", "avif=10,30,60",
            "--show-rates", "0.5", "--jobs", "1", *more]


@pytest.fixture(scope="session")
def chromium():
    """Path of a Chromium or Chrome."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if shutil.which(name):
            return shutil.which(name)
    pytest.skip("no Chromium on this machine")
