import pytest

from dqcodec.eval.bjontegaard_table import deltas

RATES = (0.05, 0.1, 0.2, 0.4)
PSNR = (26.0, 28.5, 31.0, 33.5)
LPIPS = (0.5, 0.4, 0.28, 0.15)


def curve(rates, scores, factor=1.0, shift=0.0):
    return [(rate * factor, score + shift) for rate, score in zip(rates, scores, strict=True)]


@pytest.mark.parametrize("metric, scores", [("psnr", PSNR), ("lpips_alex", LPIPS)])
def test_half_the_size_at_equal_quality_is_minus_fifty_percent(metric, scores):
    row = deltas(curve(RATES, scores), curve(RATES, scores, factor=0.5), metric)
    assert row["bd_rate"] == pytest.approx(-50)
    assert row["quality_overlap"] == [pytest.approx(min(scores)), pytest.approx(max(scores)), pytest.approx(1)]


def test_better_score_at_equal_rate_has_the_sign_of_its_metric():
    assert deltas(curve(RATES, PSNR), curve(RATES, PSNR, shift=1), "psnr")["bd_metric"] == pytest.approx(1)
    row = deltas(curve(RATES, LPIPS), curve(RATES, LPIPS, shift=-0.1), "lpips_alex")
    assert row["bd_metric"] == pytest.approx(-0.1) and row["bd_rate"] < 0


def test_only_the_overlap_is_used_and_its_share_is_stated():
    row = deltas(curve(RATES, PSNR), curve(RATES[1:], PSNR[1:], factor=0.5), "psnr")
    assert row["bd_rate"] == pytest.approx(-50)
    assert row["quality_overlap"] == [28.5, 33.5, pytest.approx(1)]
    assert row["rate_overlap"][:2] == [pytest.approx(0.05), pytest.approx(0.2)]


def test_curves_that_do_not_overlap_are_refused():
    row = deltas(curve(RATES, PSNR), curve(RATES, PSNR, shift=20), "psnr")
    assert row["bd_rate"] is None and row["bd_metric"] is not None and "BD-rate" in row["refused"]
    row = deltas(curve(RATES, PSNR), curve(RATES, PSNR, factor=100), "psnr")
    assert row["bd_metric"] is None and "BD-metric" in row["refused"]


def test_curve_that_turns_back_or_is_too_short_is_refused():
    assert "monotone" in deltas(curve(RATES, PSNR), curve(RATES, (26, 29, 28, 33)), "psnr")["refused"]
    assert "points" in deltas(curve(RATES, PSNR), curve(RATES[:2], PSNR[:2]), "psnr")["refused"]
    assert "points" in deltas([], curve(RATES, PSNR), "psnr")["refused"]
