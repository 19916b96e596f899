"""End to end through the installed command."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.conftest import synthetic

COMMAND = [shutil.which("dqcodec")] if shutil.which("dqcodec") else [sys.executable, "-m", "dqcodec"]


def dq(*args, stdin: bytes | None = None, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, args)], input=stdin, capture_output=True, cwd=cwd, timeout=120)


def fails(done: subprocess.CompletedProcess, *words: str, code: int = 1) -> None:
    """One clear line on stderr, the right exit code, no traceback."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert "Traceback" not in text and len(text.strip().splitlines()) == 1, text
    assert all(word in text for word in words), text


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(synthetic(90, 130)).save(tmp_path / "img.png")
    return tmp_path / "img.png"


@pytest.fixture
def packed(picture):
    target = picture.with_suffix(".dq")
    assert dq("compress", picture, "-o", target, "--quality", 70).returncode == 0
    return target


def test_help_and_import_load_no_network():
    code = "import sys, dqcodec.cli; print([m for m in ('torch', 'compressai', 'skimage') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    for command in ("compress", "decompress", "info", "tokens", "generate", "train", "eval", "eval-gen", "compare"):
        assert command in dq("--help").stdout.decode()


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_threads_wait_quietly_unless_asked_otherwise(packed, asked, monkeypatch):
    """OpenMP itself says what it was told, when torch loads it."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("OMP_DISPLAY_ENV", "true")
    if asked:
        monkeypatch.setenv("OMP_WAIT_POLICY", asked)
    shown = dq("decompress", packed, "-o", packed.with_suffix(".back.png")).stderr.decode()
    assert re.search(f"OMP_WAIT_POLICY *= *'{asked or 'PASSIVE'}'", shown), shown


def test_there_and_back_at_a_rate(photo, tmp_path):
    photo.save(tmp_path / "cat.png")
    assert dq("compress", tmp_path / "cat.png", "--bpp", 0.2).returncode == 0
    bits = 8 * (tmp_path / "cat.dq").stat().st_size / (451 * 300)
    assert 0.98 * 0.2 <= bits <= 0.2
    assert dq("decompress", tmp_path / "cat.dq", "-o", tmp_path / "back.webp").returncode == 0
    assert Image.open(tmp_path / "back.webp").size == photo.size


def test_pipes(photo):
    buffer = io.BytesIO()
    photo.save(buffer, "BMP")
    data = dq("compress", "-", "--size", 4000, stdin=buffer.getvalue())
    assert 3920 <= len(data.stdout) <= 4000
    image = dq("decompress", "-", stdin=data.stdout)
    assert Image.open(io.BytesIO(image.stdout)).size == photo.size


def test_folder_keeps_its_shape_and_names_what_failed(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    Image.fromarray(synthetic(30, 40)).save(tmp_path / "in" / "a.png")
    Image.fromarray(synthetic(30, 40)).convert("L").save(tmp_path / "in" / "sub" / "b.jpg")
    (tmp_path / "in" / "bad.png").write_bytes(b"nothing")
    (tmp_path / "in" / "notes.txt").write_text("left alone")
    done = dq("compress", tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "bad.png" in done.stderr.decode() and "1 of 3 files failed" in done.stderr.decode()
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.*")) == ["a.dq", "b.dq"]
    assert dq("decompress", tmp_path / "out", "-o", tmp_path / "png").returncode == 0
    assert Image.open(tmp_path / "png" / "sub" / "b.png").mode == "L"


def test_two_inputs_for_one_output_are_refused(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    fails(dq("compress", tmp_path / "a.png", tmp_path / "a.jpg"), "would both write")


def test_nothing_is_overwritten_without_force(picture, packed):
    before = packed.read_bytes()
    fails(dq("compress", picture, "-o", packed, "--quality", 5), "exists already", "--force")
    assert packed.read_bytes() == before
    assert dq("compress", picture, "-o", packed, "--quality", 5, "--force").returncode == 0
    assert len(packed.read_bytes()) < len(before)
    fails(dq("compress", picture, "-o", picture, "--force"), "overwrite itself")


def test_info_tells_sections_and_levels(packed):
    facts = json.loads(dq("info", packed, "--json").stdout)
    assert (facts["width"], facts["height"], facts["model"]) == (130, 90, "default")
    assert facts["header_bytes"] + sum(s["bytes"] for s in facts["sections"]) == facts["bytes"] == packed.stat().st_size
    assert abs(sum(facts["level_shares"]) - 1) < 1e-3
    assert b"bits a code" in dq("info", packed).stdout


def test_usage_errors_exit_2(picture):
    for args in (["compress"], ["compress", picture, "--quality", "0"],
                 ["compress", picture, "--bpp", "1", "--size", "9"], ["decompress", picture, "--upto", "finest"]):
        done = dq(*args)
        assert done.returncode == 2 and b"Traceback" not in done.stderr


@pytest.mark.parametrize("content, words", [
    (b"", ["not an image"]), (b"hello", ["not an image"]), (None, ["no such file"]),
])
def test_bad_input_to_compress(tmp_path, content, words):
    source = tmp_path / "x.png"
    if content is not None:
        source.write_bytes(content)
    fails(dq("compress", source), "x.png", *words)
    assert not (tmp_path / "x.dq").exists()


def test_truncated_image_and_rate_out_of_reach(picture):
    picture.with_name("cut.png").write_bytes(picture.read_bytes()[:-200])
    fails(dq("compress", picture.with_name("cut.png")), "cut.png")
    fails(dq("compress", picture, "--bpp", 0.0001), "out of reach", "bpp")
    assert [p.name for p in picture.parent.glob("*.dq")] == []


def test_bad_dq_files(packed, tmp_path):
    good = packed.read_bytes()
    flipped = bytearray(good)
    flipped[-20] ^= 1
    newer = bytearray(good)
    newer[4] = 0x20
    cases = {"cut": (good[:-9], "--partial"), "flip": (bytes(flipped), "checksum"),
             "text": (b"hello world, no dq", "dq"),
             "newer": (bytes(newer), "version"), "empty": (b"", "")}
    for name, (data, word) in cases.items():
        (tmp_path / f"{name}.dq").write_bytes(data)
        fails(dq("decompress", tmp_path / f"{name}.dq"), name, word)
        assert not (tmp_path / f"{name}.png").exists()
    fails(dq("decompress", packed, "-o", tmp_path / "n.png", "--max-pixels", 100), "130x90", "limit")
    fails(dq("decompress", tmp_path / "absent.dq"), "absent.dq", "cannot be read")


def test_partial_decodes_what_is_intact_and_says_so(packed, tmp_path):
    (tmp_path / "cut.dq").write_bytes(packed.read_bytes()[:-9])
    done = dq("decompress", tmp_path / "cut.dq", "--partial")
    assert done.returncode == 0 and b"only a coarser picture" in done.stderr
    assert Image.open(tmp_path / "cut.png").size == (130, 90)


def test_unwritable_places_leave_nothing_behind(picture, tmp_path):
    fails(dq("compress", picture, "-o", tmp_path / "img.png" / "x.dq"), "cannot be written")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*COMMAND, "compress", str(picture), "-o", "-"], stdout=full, stderr=subprocess.PIPE)
        fails(done, "cannot be written", "space")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["img.png"]


def test_interrupt_leaves_no_output(tmp_path):
    Image.fromarray(np.tile(synthetic(256, 256), (10, 10, 1))).save(tmp_path / "big.png")
    # Whoever runs the tests in the background of a script has interrupts ignored, and so would what they start.
    process = subprocess.Popen([*COMMAND, "compress", str(tmp_path / "big.png")], stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("this machine finished before the interrupt")
    assert process.returncode == 130 and b"Traceback" not in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.png"]


def test_train_then_use_the_model(tmp_path):
    for i in range(2):
        (tmp_path / "data").mkdir(exist_ok=True)
        Image.fromarray(synthetic(64, 64, i)).save(tmp_path / "data" / f"{i}.png")
    (tmp_path / "c.yaml").write_text("""
model: {factors: [16, 8], codebook_size: 16, code_dim: 4, encoder_channels: [16, 16, 16, 16],
        encoder_blocks: [0, 0, 0, 0], decoder_channels: [16, 16, 16, 16, 16], decoder_blocks: [0, 0, 0, 0, 0]}
loss: {lpips_vgg: 0.0}
data: {crop: 32, batch: 2, workers: 1}
steps: 3
""")
    train = ["train", "vae", "--config", tmp_path / "c.yaml", "--data", tmp_path / "data", "--out", tmp_path / "run"]
    assert dq(*train).returncode == 0
    fails(dq(*train), "--resume")
    model = tmp_path / "mine.safetensors"
    done = dq("train", "export", "--run", tmp_path / "run", "--data", tmp_path / "data", "--output", model,
              "--pictures", 8)
    assert done.returncode == 0, done.stderr
    source = tmp_path / "data" / "0.png"
    assert dq("compress", source, "-o", tmp_path / "a.dq", "--model", model).returncode == 0
    fails(dq("decompress", tmp_path / "a.dq"), "not at hand", "--model")
    assert dq("decompress", tmp_path / "a.dq", "--model", model).returncode == 0


def test_wrong_config_is_named(tmp_path):
    (tmp_path / "c.yaml").write_text("stepz: 4")
    fails(dq("train", "vae", "--config", tmp_path / "c.yaml", "--data", tmp_path, "--out", tmp_path / "o"), "stepz")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_file_has_a_bar_once_it_says_how_far_it_is(monkeypatch):
    from dqcodec.cli import progress

    for terminal, shares, shown in ((True, [0.25, 0.5], True), (True, [], False), (False, [0.5], False)):
        monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
        with progress(1) as advance:
            for share in shares:
                advance.within(share)
                assert not terminal or advance.bar.tasks[0].completed == share
            advance()
        assert bool(sys.stderr.getvalue()) == shown
