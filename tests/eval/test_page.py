"""The pages in a real browser: a copy of the page with a script added that works it and reports."""

import json
import re
import subprocess

import pytest
from click.testing import CliRunner

from dqcodec.errors import ImageError
from dqcodec.eval.commands import compare_command

from .conftest import cat_photo

LISTEN = """<script>
window.problems = [];
window.addEventListener("error", (e) => problems.push(String(e.message || e.target.src)), true);
for (const level of ["error", "warn"]) console[level] = (...a) => problems.push(a.join(" "));
</script>"""

WORK = """<script>
addEventListener("load", async () => {
  const find = (selector) => document.querySelector(selector);
  const edge = () => find(".handle").getBoundingClientRect().left - find("#stage").getBoundingClientRect().left;
  const report = { width: find("#stage").getBoundingClientRect().width, edges: [edge()] };
  const slider = find("#slider");
  slider.value = 200;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  report.edges.push(edge());
  const box = find("#stage").getBoundingClientRect();
  const at = { clientX: box.left + 0.75 * box.width, clientY: box.top + 20 };
  const press = { pointerId: 1, buttons: 1, bubbles: true, ...at };
  find("#stage").setPointerCapture = () => {};
  find("#stage").dispatchEvent(new PointerEvent("pointerdown", press));
  report.edges.push(edge());
  report.clip = getComputedStyle(find("#left-layer")).clipPath;
  const before = find("#right-image").src;
  find("#strip button:last-child").click();
  report.swapped = find("#right-image").src !== before;
  const images = [...document.images];
  // Not decode(): the browser's clock runs ahead of its decoding threads, and stops only for what still loads.
  await Promise.all(images.map((i) => i.complete || new Promise((done) => { i.onload = i.onerror = done; })));
  const pixel = document.createElement("canvas").getContext("2d");
  const isDrawn = (image) => {
    pixel.clearRect(0, 0, 1, 1);
    if (image.naturalWidth) pixel.drawImage(image, 0, 0, 1, 1);
    return pixel.getImageData(0, 0, 1, 1).data[3] === 255;
  };
  report.images = images.length;
  report.loaded = images.filter(isDrawn).length;
  const dot = find("#chart circle");
  if (dot) {
    const at = dot.getBoundingClientRect();
    dot.dispatchEvent(new PointerEvent("pointermove", { clientX: at.left, clientY: at.top, bubbles: true }));
    report.tip = find(".tip").hidden ? "" : find(".tip").textContent;
    report.rows = document.querySelectorAll("#cell-table tbody tr").length;
  }
  report.overflow = document.documentElement.scrollWidth - innerWidth;
  report.outside = performance.getEntriesByType("resource").filter((r) => !r.name.startsWith("data:")).length;
  report.problems = problems;
  document.body.replaceChildren(Object.assign(document.createElement("pre"), { textContent: JSON.stringify(report) }));
});
</script>"""


def work(chromium, page, tmp_path, width=1000) -> dict:
    """What the page does when it is used at a window of this width."""
    text = page.read_text(encoding="utf-8")
    copy = tmp_path / "page.html"
    copy.write_text(text.replace("<head>", "<head>" + LISTEN).replace("</body>", WORK + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom", copy.as_uri()],
        capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<pre>(\{.*\})</pre>", done.stdout, re.DOTALL)
    assert found, "the page's script did not finish: " + done.stdout[-500:]
    return json.loads(found.group(1).replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


@pytest.mark.parametrize("width", [1000, 500])
def test_report_works_in_a_browser(chromium, small_run, tmp_path, width):
    _, out, _ = small_run
    report = work(chromium, out / "report.html", tmp_path, width)
    assert report["problems"] == []
    shares = [edge / report["width"] for edge in report["edges"]]
    assert shares == [pytest.approx(0.5, abs=0.02), pytest.approx(0.2, abs=0.02), pytest.approx(0.75, abs=0.02)]
    assert "inset" in report["clip"] and report["swapped"]
    assert report["images"] == report["loaded"] == 2 + 3
    assert "bpp" in report["tip"] and report["rows"] == 9
    assert report["overflow"] <= 0
    assert report["outside"] == 0


def test_report_is_one_file_without_links_to_anything(small_run):
    _, out, _ = small_run
    text = (out / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text)


def test_comparison_of_one_picture_works_in_a_browser(chromium, tmp_path):
    picture = tmp_path / "<!--<script>.png"  # a name that must stay text on the page
    cat_photo(180, 120).save(picture)
    page = tmp_path / "compare.html"
    result = CliRunner().invoke(compare_command, [
        str(picture), "--bpp", "0.6", "--out", str(page), "--codecs", "jpeg,webp", "--metrics", "psnr",
        "--jobs", "1"])
    assert result.exit_code == 0, result.output
    report = work(chromium, page, tmp_path)
    assert report["problems"] == [] and report["swapped"] and report["loaded"] == report["images"] == 4
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL).group(1))
    for entry in data["views"][0]["entries"]:
        assert entry["bpp"] == pytest.approx(0.6, rel=0.1)


def test_comparison_of_something_that_is_no_picture_writes_nothing(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    result = CliRunner().invoke(compare_command, [str(tmp_path / "x.png"), "--out", str(tmp_path / "page.html")])
    assert isinstance(result.exception, ImageError) and "x.png" in str(result.exception)
    assert not (tmp_path / "page.html").exists()
