"""Put measured tables where people read them: README's results and the card of the default model.

    python benchmarks/publish.py --results results/kodak --run runs/default_first runs/default

--results: what `dqcodec eval kodak --out results` wrote, without suffix. --run: the training stages of
the shipped model in order, for steps, hours and losses.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from dqcodec.training import checkpoint
from dqcodec.weights import load

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results -->", "<!-- /results -->"

CARD = """# Model card: default

- Fingerprint {fingerprint} (ladder, codebooks, predictors, tables), format 1.0.
- Codec-mode DQ-VAE, ladder {factors}, {k} codes of {dim} dimensions at each step; {parameters:.1f} M
  parameters, networks in float16, codebooks in float32; {megabytes:.1f} MB.
- Trained from random initialisation by `dqcodec train vae` with the packaged configs, on two CPU cores
  that other jobs shared, about {flop:.1e} FLOP in all:
{stages}
  Hours and the LPIPS patches were changed during the runs (docs/experiments.md, section 2).
  This is a first model: the loss was still falling, and more compute is the first thing it lacks.
- Loss: L1 + LPIPS-VGG (patches of 64x64) + commitment; random budget for each image; averaged
  weights (EMA). No adversarial phase. Last training figures: L1 {l1:.4f}, LPIPS-VGG {lpips:.4f}.
- Data: 2,277 photographs and some graphics, WebP quality 90, short side 256-416 pixels, of mixed licences,
  used for training only and not redistributed; retrain with one command for other terms. Few night, text
  and black-and-white pictures. Tables counted on 400 crops of the same pictures at random budgets.
- Chosen on 16 crops of 32 validation photographs; Kodak was used for reporting only.

## Validation while training (averaged weights, raw code bits)
{valid}

## Kodak, 24 pictures, bytes of real files ({result_commit})
{kodak}

LPIPS-AlexNet and DISTS were not trained on; LPIPS-VGG was.
"""


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def kodak_table(results: dict) -> str:
    metrics = results["metrics"]
    rows = [
        [f"{m['bpp']:.4f}", *(f"{m['metrics'][name]:.4f}" for name in metrics),
         f"{m['enc_s']:.2f}", f"{m['dec_s']:.2f}"]
        for m in results["means"] if m["codec"] == "dqcodec"
    ]
    return markdown(["bpp", *metrics, "encode s", "decode s"], rows)


def valid_table(runs: list[Path]) -> str:
    rows = []
    for run in runs:
        with (run / "valid.csv").open(newline="") as f:
            rows += [{**r, "step": f"{run.name} {r['step']}"} for r in csv.DictReader(f)]
    keys = [k for k in rows[0] if k.startswith(("psnr", "lpips"))]
    return markdown(["step", *keys], [[r["step"], *(f"{float(r[k]):.3f}" for k in keys)] for r in rows])


def card(results: dict, runs: list[Path]) -> str:
    stages, flop = [], 0.0
    for run in runs:
        state = checkpoint.load(run)
        data = state["config"]["data"]
        flop += 0.917e6 * data["crop"] ** 2 * data["batch"] * state["step"]  # docs/training.md
        stages.append(f"  - {run.name}: {state['step']} steps of {data['batch']} crops of {data['crop']} px, "
                      f"{state['elapsed'] / 3600:.2f} hours, bypass {state['config']['model'].get('bypass', 0)}")
    with (runs[-1] / "log.csv").open(newline="") as f:
        last = list(csv.DictReader(f))[-50:]
    model = load()
    return CARD.format(
        fingerprint=model.fingerprint.hex(), factors=list(model.config.factors), k=model.config.codebook_size,
        dim=model.config.code_dim, parameters=sum(p.numel() for p in model.vae.parameters()) / 1e6,
        megabytes=(ROOT / "dqcodec" / "weights" / "default.safetensors").stat().st_size / 1e6,
        stages="\n".join(stages), flop=flop, l1=sum(float(r["l1"]) for r in last) / len(last),
        lpips=sum(float(r["lpips_vgg"]) for r in last) / len(last), valid=valid_table(runs),
        kodak=kodak_table(results), result_commit=f"`dqcodec eval kodak` at {results['about']['commit']}",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--run", required=True, type=Path, nargs="+")
    args = parser.parse_args()
    results = json.loads(args.results.with_suffix(".json").read_text())
    (ROOT / "dqcodec" / "weights" / "default.md").write_text(card(results, args.run))
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    tables = args.results.with_suffix(".md").read_text().strip()
    (ROOT / "README.md").write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


if __name__ == "__main__":
    main()
