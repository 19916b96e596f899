"""Put measured tables where people read them: README's results, the card of the default model, and the
record of its training, results/training.json.

    python benchmarks/publish.py --results results/kodak --run runs/default --prior runs/prior --decoder runs/texture

--results: what `dqcodec eval kodak --out results` wrote, without suffix. --run, --prior, --decoder: training stages of
the shipped DQ-VAE, of its prior and of the other decoder of its dial that are not yet on record, in order, known by
their folders' names. The folders may be gone afterwards: what the card says of them is on record.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from compute import kmac_per_pixel

from dqcodec.eval import sweep
from dqcodec.eval.markdown_table import table
from dqcodec.models.config import CodecConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.training import checkpoint
from dqcodec.weights import load

ROOT = Path(__file__).resolve().parents[1]
RECORD, PRIOR_FACTS = ROOT / "results" / "training.json", ROOT / "results" / "prior.json"
REALISM_FACTS = ROOT / "results" / "realism.json"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
VGG_KMAC, FLOP_PER_SYMBOL = 307, 26e6  # docs/training.md; a training's step is three forward passes, a MAC two FLOP

CARD = """# Model card: default

- Fingerprint {fingerprint} (ladder, codebooks, predictors, tables, prior), format 1.0; {megabytes:.1f} MB.
- Codec-mode DQ-VAE, ladder {factors}, {k} codes of {dim} dimensions at each step; {parameters:.1f} M
  parameters, networks in 8 bits, codebooks in float32.
- Trained from random initialisation by `dqcodec train vae` with the packaged configs, about {flop:.1e} FLOP in all,
  on two CPU cores that other jobs shared where no other machine is named:
{stages}
  Hours and the LPIPS patches were changed during the first two stages (docs/experiments.md, section 2).
- Loss: L1 + LPIPS-VGG (on patches of half a crop's side) + commitment; random budget for each image; averaged
  weights (EMA).{last}
{decoders}- Data: 2,277 photographs and some graphics, WebP quality 90, short side 256-416 pixels, of mixed licences,
  used for training only and not redistributed; retrain with one command for other terms. Few night, text
  and black-and-white pictures. Tables counted on 400 crops of the same pictures at random budgets.
- Chosen on 16 crops of 32 validation photographs; Kodak was used for reporting only.

## Prior
- DQ-Transformer in integers, {prior_parameters:.1f} M parameters as int8: {shape}.
- Trained from random initialisation by `dqcodec train prior` on the DQ-VAE's tokens of the same pictures and of 5,200
  labelled pictures (144-176 px) of 10 classes, at least {prior_flop:.1e} FLOP, the last {integer_share:.0f} % on the
  integers' grid:
{prior_stages}
- Classes: {classes}.
{prior_kodak}
| validation, bits per symbol | uniform | table | float prior | integer prior | adapting to the image |
| --- | --- | --- | --- | --- | --- |
{prior_bits}

## Validation while training (averaged weights, raw code bits)
{valid}

## Kodak, 24 pictures, bytes of real files ({result_commit})
{kodak}

LPIPS-AlexNet and DISTS were not trained on; LPIPS-VGG was.
{realism}"""

REALISM = """
## Realism, the dial between the two decoders
The same {pictures} {images} files decoded at several settings (benchmarks/realism.py); {default:g} is the default.

{table}
"""


def kodak_table(results: dict) -> str:
    metrics = results["metrics"]
    rows = [
        [f"{m['bpp']:.4f}", *(f"{m['metrics'][name]:.4f}" for name in metrics),
         f"{m['enc_s']:.2f}", f"{m['dec_s']:.2f}"]
        for m in results["means"] if m["codec"] == "dqcodec"
    ]
    return table(["bpp", *metrics, "encode s", "decode s"], rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def flop(state: dict) -> float:
    """Of a DQ-VAE's run: what is frozen runs forward only."""
    config = state["config"]
    data, trained = config["data"], config["train_only"] or ("encoder", "decoder")
    kmac = kmac_per_pixel(DQVAE(CodecConfig.from_dict(config["model"])))
    patch = (config["loss"]["lpips_crop"] / data["crop"]) ** 2
    networks = sum(kmac[part] * (3 if part in trained else 1) for part in ("encoder", "decoder"))
    networks += kmac["encoder"] * bool(config.get("distil"))  # the teacher's, of the same shape
    return 2e3 * (networks + 3 * VGG_KMAC * patch) * data["crop"] ** 2 * data["batch"] * state["step"]


def stage(run: Path) -> dict:
    """What stays on record of a DQ-VAE's run."""
    state = checkpoint.load(run)
    data, last = state["config"]["data"], read_rows(run / "log.csv")[-50:]
    return {"flop": flop(state), "name": run.name, "steps": state["step"], "batch": data["batch"], "crop": data["crop"],
            "muon": state["config"]["optim"].get("muon", False), "frozen": bool(state["config"]["train_only"]),
            "hours": round(state["elapsed"] / 3600, 3), "bypass": state["config"]["model"].get("bypass", 0),
            "l1": sum(float(r["l1"]) for r in last) / len(last),
            "lpips_vgg": sum(float(r["lpips_vgg"]) for r in last) / len(last), **company(state["config"]),
            "valid": valid_rows(run)}


def company(config: dict) -> dict:
    """What a stage of all networks learned beside: the weight of an adversary, the share of a teacher's tokens."""
    found = {"weight": config["adversarial"]["weight"]} if config.get("adversarial") else {}
    return found | ({"teacher_tokens": config["distil"]["tokens"]} if config.get("distil") else {})


def valid_rows(run: Path) -> list[dict[str, float]]:
    """Validation figures of a run."""
    return [{k: round(float(v), 4) for k, v in r.items()} for r in read_rows(run / "valid.csv")]


def prior_stage(run: Path) -> dict:
    """What stays on record of a prior's run."""
    state = checkpoint.load(run)
    config, valid = state["config"], valid_rows(run)
    return {"name": run.name, "vae": state["vae"], "steps": state["step"], "processes": state.get("processes", 1),
            "hours": round(state["elapsed"] / 3600, 3), "symbols": config["symbols"], "mirror": config["mirror"],
            "scales": list(config.get("scales", (1.0,))), "valid": valid,
            "integer_share": round(100 * (1 - config["quantise_from"])), "muon": config["optim"].get("muon", False)}


def where(s: dict) -> str:
    """The machine of a stage in words, if it is not the usual one."""
    return f", on {s['machine']}" if "machine" in s else ""


def stage_line(s: dict) -> str:
    """One stage of the DQ-VAE in words."""
    more = ["codebooks frozen"] if s.get("frozen") else []
    more += ["by Muon"] if s.get("muon") else []
    if "weight" in s:
        more.append(f"with {s['weight']:g} x an adversary, its decoder the other end of the dial")
    if "teacher_tokens" in s:
        more.append(f"{s['teacher_tokens']:.0%} of pictures by tokens of the stage before")
    return (f"  - {s['name']}: {s['steps']} steps of {s['batch']} crops of {s['crop']} px, {s['hours']:.2f} hours, "
            f"bypass {s['bypass']}{''.join(f', {m}' for m in more)}{where(s)}"
            + (f", on {s['pictures']:,} of the pictures" if "pictures" in s else ""))


def prior_line(s: dict) -> str:
    """One stage of a prior in words."""
    more = [f"at scales {', '.join(map(str, s['scales']))}"] if s["scales"] != [1.0] else []
    more += ["with mirror images"] if s["mirror"] else []
    more += ["by Muon"] if s.get("muon") else []
    return (f"  - {s['name']}: tokens of {s['vae']}{', ' if more else ''}{' '.join(more)}; {s['steps']} steps of at "
            f"least {s['symbols']} symbols in each of {s['processes']} processes, {s['hours']:.2f} hours{where(s)}")


def decoder_stage(run: Path) -> dict:
    """What stays on record of a training of the decoder alone."""
    state = checkpoint.load(run)
    config, adversary = state["config"], state["config"].get("adversarial")
    found = {"flop": flop(state), "name": run.name, "steps": state["step"], "batch": config["data"]["batch"],
             "crop": config["data"]["crop"], "hours": round(state["elapsed"] / 3600, 3),
             "noise": config["model"]["noise_factors"], "muon": config["optim"].get("muon", False)}
    if adversary:
        return found | {"adversary": adversary["kind"], "weight": adversary["weight"]}
    return found | {"valid": valid_rows(run)}


def decoder_lines(stages: list[dict]) -> str:
    sees = {"features": "the features of LPIPS-VGG", "patch": "patches"}
    return "".join(
        f"- {'Other' if 'adversary' in s else 'Plain'} end of the dial ({s['name']}): the decoder alone on frozen "
        f"tokens, {s['steps']} steps of {s['batch']} crops of {s['crop']} px{' by Muon' if s.get('muon') else ''}, "
        f"{s['hours']:.2f} hours{where(s)}, "
        + (f"the same loss and {s['weight']:g} x the hinge loss of a discriminator on {sees[s['adversary']]}"
           if "adversary" in s else "the same loss without an adversary")
        + f"; noise at f{', f'.join(map(str, s['noise']))}.\n"
        for s in stages)


def realism_section(facts: dict, default: float) -> str:
    """Table of benchmarks/realism.py."""
    return REALISM.format(pictures=facts["pictures"], images=facts["images"], default=default,
                          table=sweep.table(facts["rows"], ("target", "pictures")))


def put(stages: list[dict], found: dict) -> list[dict]:
    """The stages with `found` at the end, or in the place of the one of its name."""
    if any(s["name"] == found["name"] for s in stages):
        return [found if s["name"] == found["name"] else s for s in stages]
    return [*stages, found]


def valid_table(stages: list[dict]) -> str:
    rows = [{**r, "step": f"{s['name']} {r['step']:.0f}"} for s in stages for r in s["valid"]]
    keys = [k for k in rows[-1] if k.startswith(("psnr", "lpips"))]
    return table(["step", *keys], [[r["step"], *(f"{r[k]:.3f}" if k in r else "" for k in keys)] for r in rows])


def card(results: dict, record: dict) -> str:
    stages, priors, decoders = record["stages"], record["priors"], record.get("decoders", [])
    model = load()
    facts = json.loads(PRIOR_FACTS.read_text())
    shape = model.prior.config
    last = "" if "l1" not in stages[-1] else (
        f" Last training figures: L1 {stages[-1]['l1']:.4f}, LPIPS-VGG {stages[-1]['lpips_vgg']:.4f}.")
    saved = ", ".join(f"{100 * r['saved']:.1f} % at {r['bpp']} bpp" for r in facts["rates"])
    bits = [f"| {name} | " + " | ".join(f"{row[c]:.3f}" if c in row else "" for c in
                                        ("uniform", "table", "float", "integer", "adapting")) + " |"
            for name, row in facts["bits"].items()]
    return CARD.format(
        fingerprint=model.fingerprint.hex(), factors=list(model.config.factors), k=model.config.codebook_size,
        dim=model.config.code_dim, parameters=sum(p.numel() for p in model.vae.parameters()) / 1e6,
        megabytes=(ROOT / "dqcodec" / "weights" / "default.safetensors").stat().st_size / 1e6,
        stages="\n".join(map(stage_line, stages)), last=last,
        flop=sum(s["flop"] for s in (*stages, *decoders)),
        decoders=decoder_lines(decoders) if model.dial else "- No adversarial phase.\n",
        realism=realism_section(json.loads(REALISM_FACTS.read_text()), model.dial.default) if model.dial else "",
        prior_flop=FLOP_PER_SYMBOL * sum(s["steps"] * s["symbols"] * s["processes"] for s in priors),
        prior_parameters=model.prior.parameters / 1e6, classes=", ".join(shape.classes),
        prior_stages="\n".join(map(prior_line, priors)), integer_share=priors[-1]["integer_share"],
        shape=f"{shape.position_layers} + {shape.content_layers} layers of {shape.dim}, {shape.heads} heads, "
              f"tiles of {shape.tile}x{shape.tile} regions, {'/'.join(map(str, shape.groups))} groups",
        prior_kodak=f"- Bytes saved on Kodak at the same tokens against the tables (benchmarks/prior.py): {saved}.\n",
        prior_bits="\n".join(bits), kodak=kodak_table(results),
        valid=valid_table([*stages, *(s for s in decoders if "valid" in s)]),
        result_commit=f"`dqcodec eval kodak` at {results['about']['commit']}",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--run", type=Path, nargs="*", default=[])
    parser.add_argument("--prior", type=Path, nargs="*", default=[])
    parser.add_argument("--decoder", type=Path, nargs="*", default=[])
    parser.add_argument("--machine", help="of the stages given, where it is not two CPU cores: 'one H100 GPU'")
    args = parser.parse_args()
    record = json.loads(RECORD.read_text())
    machine = {"machine": args.machine} if args.machine else {}
    for run in args.run:
        record["stages"] = put(record["stages"], stage(run) | machine)
    for run in args.prior:
        record["priors"] = put(record["priors"], prior_stage(run) | machine)
    for run in args.decoder:
        record["decoders"] = put(record.get("decoders", []), decoder_stage(run) | machine)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    results = json.loads(args.results.with_suffix(".json").read_text())
    (ROOT / "dqcodec" / "weights" / "default.md").write_text(card(results, record))
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    tables = args.results.with_suffix(".md").read_text().strip()
    (ROOT / "README.md").write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


if __name__ == "__main__":
    main()
