"""Put what `--effort search` gains on Kodak into README, between its marks.

    OMP_NUM_THREADS=1 dqcodec eval kodak --out results/search --jobs 2 --codecs dqcodec+search,dqcodec \\
        --rates 0.1,0.31 --show-rates 0.1
    python benchmarks/publish_search.py
"""

from __future__ import annotations

import json

from publish import ROOT

from dqcodec.eval.markdown_table import table
from dqcodec.eval.metrics import METRICS

RESULTS = ROOT / "results" / "search" / "kodak.json"
BEGIN, END = "<!-- search -->", "<!-- /search -->"
CODECS = ("dqcodec", "dqcodec+search")


def search_table(results: dict) -> str:
    """Means of each rate, both efforts one below the other, and where they come from."""
    labels = {codec["name"]: codec["label"] for codec in results["codecs"]}
    names = results["metrics"]
    means = sorted(results["means"], key=lambda m: (m["value"], m["codec"]))
    rows = [[labels[m["codec"]], f"{m['bpp']:.4f}", *(f"{m['metrics'][name]:.{min(3, METRICS[name].digits)}f}"
                                                      for name in names), f"{m['enc_s']:.0f}", f"{m['dec_s']:.1f}"]
            for m in means if m["complete"] and m["codec"] in CODECS]
    about = results["about"]
    return (table(["codec", "bpp", *(METRICS[name].label for name in names), "encode s", "decode s"], rows)
            + f"\n\n{len(results['images'])} images of {results['name']}, one thread a process, two processes beside "
              f"each other, {about['machine']['cpu']}, {about['date']}, commit {about['commit'] or 'unknown'}.")


def main() -> None:
    path = ROOT / "README.md"
    before, rest = path.read_text().split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{search_table(json.loads(RESULTS.read_text()))}\n{END}{after}")


if __name__ == "__main__":
    main()
