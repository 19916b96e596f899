import csv

from dqcodec.eval import anchors
from dqcodec.eval.metrics import METRICS

FOUND_ON_KODAK = {"Control-GIC", "MS-ILLM", "EF-LIC", "RDVQ", "HiFiC", "VTM", "VTM-23.10"}


def names(image_set, metric):
    return {curve.codec for curve in anchors.curves(image_set, metric)}


def test_the_codecs_that_matter_are_in_the_table():
    assert set().union(*(names("kodak", metric) for metric in METRICS)) >= FOUND_ON_KODAK


def test_lpips_networks_and_image_sets_are_never_mixed():
    assert "EF-LIC" in names("kodak", "lpips_vgg") and "EF-LIC" not in names("kodak", "lpips_alex")
    assert "OneDC" in names("kodak", "lpips_alex") and "OneDC" not in names("kodak", "lpips_vgg")
    assert "CoD-Lite" in names("kodak512", "lpips_alex") and "CoD-Lite" not in names("kodak", "lpips_alex")
    assert anchors.curves("my holiday", "psnr") == []


def test_a_published_point_stands_as_it_was_published():
    curve = next(c for c in anchors.curves("kodak", "lpips_alex") if c.codec == "MS-ILLM")
    assert (0.15317, 0.0732) in curve.points
    assert curve.source.startswith("facebookresearch/NeuralCompression@")
    curve = next(c for c in anchors.curves("kodak", "lpips_vgg") if c.codec == "EF-LIC")
    assert (0.10693, 0.1828) in curve.points


def test_every_row_has_a_source_and_a_score():
    for row in anchors.rows():
        assert row["source"] and row["kind"]
        assert any(row[metric] for metric in METRICS), row


def test_every_lpips_of_the_table_is_in_the_collected_facts(shared):
    facts = set()
    for name in ("kodak", "clic2020", "div2k_tecnick"):
        with (shared / "anchors" / f"{name}_perceptual.csv").open(newline="") as f:
            facts |= {(r["dataset"], float(r["bpp"]), r["lpips_net"], float(r["lpips"]))
                      for r in csv.DictReader(f) if r["lpips"]}
    for row in anchors.rows():
        for net in ("alex", "vgg"):
            if row[f"lpips_{net}"]:
                assert (row["dataset"], float(row["bpp"]), net, float(row[f"lpips_{net}"])) in facts
