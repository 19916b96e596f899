import csv
import json

import pytest
from click.testing import CliRunner
from PIL import Image

from dqcodec.errors import DataError
from dqcodec.eval.commands import eval_command

from .conftest import arguments


def snapshot(out):
    return {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()}


def test_unreadable_image_in_the_middle_is_named_skipped_counted_and_fails_the_run(small_run):
    folder, out, result = small_run
    assert result.exit_code == 1, result.output
    assert "b.png: not an image" in result.output
    assert "1 failed" in result.output
    found = json.loads((out / f"{folder.name}.json").read_text())
    assert found["images"] == ["a", "c"] and len(found["cells"]) == 2 * 9


def test_bits_per_pixel_are_those_of_the_file_on_disk(small_run):
    folder, out, _ = small_run
    for cell in json.loads((out / f"{folder.name}.json").read_text())["cells"]:
        suffix = {"jpeg": ".jpg"}.get(cell["codec"], f".{cell['codec']}")
        file = out / "cells" / cell["codec"] / cell["setting"] / (cell["image"] + suffix)
        assert file.stat().st_size == cell["bytes"]
        assert cell["bpp"] == pytest.approx(8 * cell["bytes"] / (cell["width"] * cell["height"]))
        assert Image.open(file).size == (cell["width"], cell["height"])


def test_means_are_means_of_the_rows_and_context_is_stated(small_run):
    folder, out, _ = small_run
    with (out / f"{folder.name}.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    with (out / f"{folder.name}-mean.csv").open(newline="") as f:
        means = list(csv.DictReader(f))
    assert len(means) == 9
    for mean in means:
        own = [r for r in rows if (r["codec"], r["setting"]) == (mean["codec"], mean["setting"])]
        for key in ("bpp", "psnr", "ms_ssim"):
            assert float(mean[key]) == pytest.approx(sum(float(r[key]) for r in own) / len(own), rel=1e-4)
    found = json.loads((out / f"{folder.name}.json").read_text())
    about = found["about"]
    assert about["machine"]["cores"] >= 1 and about["machine"]["cpu"] and about["versions"]["numpy"]
    assert "commit" in about and "one thread" in about["timing"]
    assert {row["codec"] for row in found["bjontegaard"]} == {"jpeg", "webp"}


def test_plots_and_tables_are_written(small_run):
    folder, out, _ = small_run
    for metric in ("psnr", "ms_ssim"):
        for kind in ("png", "svg"):
            assert (out / f"{folder.name}-{metric}.{kind}").stat().st_size > 5000
    text = (out / f"{folder.name}.md").read_text()
    assert "BD-rate against AVIF" in text and "| WebP |" in text


def test_second_run_does_no_finished_cell_again_and_a_new_metric_no_encoding(small_run):
    folder, out, _ = small_run
    before = snapshot(out)
    CliRunner().invoke(eval_command, arguments(folder, out))
    assert snapshot(out) == before
    cell = out / "cells" / "jpeg" / "q30" / "a.json"
    stored = json.loads(cell.read_text())
    del stored["metrics"]["psnr"]
    cell.write_text(json.dumps(stored))
    CliRunner().invoke(eval_command, arguments(folder, out))
    after = snapshot(out)
    assert {path for path in before if after[path] != before[path]} == {cell}
    assert json.loads(cell.read_text())["enc_s"] == stored["enc_s"]
    assert "psnr" in json.loads(cell.read_text())["metrics"]


def test_cell_of_another_picture_or_another_version_is_measured_again(small_run, tmp_path):
    folder, out, _ = small_run
    cell = next((out / "cells" / "jpeg").rglob("c.json"))
    stored = json.loads(cell.read_text())
    cell.write_text(json.dumps(stored | {"identity": "an older library"}))
    CliRunner().invoke(eval_command, arguments(folder, out))
    assert json.loads(cell.read_text())["identity"] == stored["identity"]


@pytest.mark.parametrize("more, message", [
    (("--codecs", "bpg"), "no codec 'bpg'"),
    (("--metrics", "vmaf"), "no metric 'vmaf'"),
    (("--show", "z"), "--show z"),
    (("--settings", "jpeg=200"), "outside of q 1..95"),
])
def test_wrong_option_is_one_clear_line(small_run, tmp_path, more, message):
    folder, _, _ = small_run
    result = CliRunner().invoke(eval_command, arguments(folder, tmp_path / "out", *more))
    assert isinstance(result.exception, DataError) and message in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("more", [("--rates", "much"), ("--settings", "jpeg"), ("--jobs", "0")])
def test_malformed_option_is_a_usage_error(small_run, tmp_path, more):
    folder, _, _ = small_run
    assert CliRunner().invoke(eval_command, arguments(folder, tmp_path / "out", *more)).exit_code == 2


def test_out_that_is_a_file_is_one_clear_line(small_run, tmp_path):
    folder, _, _ = small_run
    (tmp_path / "taken").write_text("")
    result = CliRunner().invoke(eval_command, arguments(folder, tmp_path / "taken" / "out"))
    assert isinstance(result.exception, DataError) and "--out" in str(result.exception)
