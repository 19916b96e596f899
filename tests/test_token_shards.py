"""Folders to WebDataset shards: plain tar files of samples, the same bytes each time."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

import dqcodec
from dqcodec import token_files, token_shards
from dqcodec.errors import TokenFileError
from tests.test_cli import dq, fails
from tests.test_weights import write as write_model

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_on_tokens.py"


@pytest.fixture
def folder(photo, tmp_path):
    """Two labelled pictures, one .dq file, one name with dots, and two files that are broken."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    photo.save(tmp_path / "in" / "07_00001.png")
    photo.rotate(90, expand=True).save(tmp_path / "in" / "sub" / "03_00002.jpg")
    photo.crop((0, 0, 40, 50)).save(tmp_path / "in" / "v1.2.png")
    (tmp_path / "in" / "made.dq").write_bytes(dqcodec.compress(photo, quality=20))
    (tmp_path / "in" / "bad.png").write_bytes(b"nothing")
    (tmp_path / "in" / "bad2.dq").write_bytes(b"nothing")
    return tmp_path / "in"


def members(*shards: Path) -> dict[str, bytes]:
    found = {}
    for shard in shards:
        with tarfile.open(shard) as archive:
            for member in archive:
                assert member.isreg() and (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                found[member.name] = archive.extractfile(member).read()
    return found


def test_folder_to_shards_and_a_sample_back(folder, tmp_path):
    target = tmp_path / "out" / "t-%03d.tar"
    done = dq("tokens", folder, "-o", target, "--per-shard", 2, "--bpp", 0.2)
    text = done.stderr.decode()
    assert done.returncode == 1 and "Traceback" not in text and len(text.splitlines()) == 3, text
    assert all(word in text for word in ("bad.png: not an image", "bad2.dq", "2 of 6 files failed"))
    shards = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in shards] == ["t-000.tar", "t-001.tar"]
    found = members(*shards)
    keys = ["07_00001", "made", "sub/03_00002", "v1_2"]
    assert list(found) == [f"{key}.{kind}" for key in keys for kind in ("npz", "json")]
    facts = {key: json.loads(found[f"{key}.json"]) for key in keys}
    assert [facts[key]["label"] for key in keys] == [7, None, 3, None]
    mark = dqcodec.load().fingerprint.hex()
    assert facts["sub/03_00002"] == {"width": 300, "height": 451, "fingerprint": mark, "label": 3}
    (tmp_path / "one.npz").write_bytes(found["made.npz"])
    assert dq("tokens", tmp_path / "one.npz").returncode == 0
    assert (tmp_path / "one.dq").read_bytes() == (folder / "made.dq").read_bytes()

    fails(dq("tokens", folder, "-o", target), "t-000.tar", "exists already")
    first = shards[0].read_bytes()
    done = dq("tokens", folder, "-o", target, "--bpp", 0.2, "--force")
    assert done.returncode == 1 and b"t-001.tar: note: left from an earlier run" in done.stderr
    assert members(shards[0]) == found
    assert dq("tokens", folder, "-o", target, "--per-shard", 2, "--bpp", 0.2, "--force").returncode == 1
    assert shards[0].read_bytes() == first


def test_example_trains_on_shards(folder, tmp_path):
    assert dq("tokens", folder, "-o", tmp_path / "t-%06d.tar").returncode == 1
    command = [sys.executable, EXAMPLE, "--shards", tmp_path / "t-*.tar"]
    done = subprocess.run([*map(str, command), "--steps", "2"], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^step (\d+): loss \d+\.\d+, \d+\.\d+ bits per code", done.stdout, re.M) == ["1", "2"]


def test_shards_hold_one_model_and_only_named_samples(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DQCODEC_MODELS", str(tmp_path))
    write_model(tmp_path)
    (folder / "zz.dq").write_bytes(dqcodec.compress(Image.new("RGB", (20, 20)), model="small"))
    Image.new("RGB", (20, 20)).save(folder / "v1_2.png")
    (folder / "bad.png").rename(folder / ("x" * 120 + ".png"))
    (folder / "bad2.dq").unlink()
    done = dq("tokens", folder, "-o", tmp_path / "t-%d.tar")
    text = done.stderr.decode()
    assert done.returncode == 1 and len(text.splitlines()) == 4, text
    assert all(word in text for word in ("zz.dq: is of model", "v1_2.png: would be the same sample as", "v1.2.png",
                                         "too long", "3 of 7 files failed"))
    assert len(members(tmp_path / "t-0.tar")) == 8


def test_labels_of_keys_and_folders(tmp_path):
    (tmp_path / "l.json").write_text('{"cats": 0, "cats/odd": 2, "cats/odd/one": 3}')
    labels = token_shards.read_labels(str(tmp_path / "l.json"))
    keys = ("cats/a", "cats/odd/b", "cats/odd/one", "dogs/07_00001")
    assert [token_shards.label_of(key, labels) for key in keys] == [0, 2, 3, None]
    assert [token_shards.label_of(key, None) for key in keys] == [None, None, None, 7]
    for text in ("[1]", '{"a": "b"}', '{"a": true}', "{"):
        (tmp_path / "l.json").write_text(text)
        with pytest.raises(TokenFileError, match="l.json"):
            token_shards.read_labels(str(tmp_path / "l.json"))


def test_a_shard_is_whole_or_not_there(tmp_path):
    contents = token_files.from_dq(dqcodec.compress(Image.new("RGB", (20, 20))))

    def samples():
        yield token_shards.Sample("a", contents)
        yield token_shards.Sample("b", contents)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        token_shards.write_shards(str(tmp_path / "t-%02d.tar"), samples(), 1)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["t-00.tar", "t-01.tar"]
    (tmp_path / "t-01.tar").unlink()
    with pytest.raises(KeyboardInterrupt):
        token_shards.write_shards(str(tmp_path / "t-%02d.tar"), samples(), 3)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["t-00.tar"]
