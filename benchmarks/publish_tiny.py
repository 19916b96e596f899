"""Write the card of the model tiny, dqcodec/weights/tiny.md, from what was measured, and keep its training on record.

    python benchmarks/publish_tiny.py [--run runs/tiny --processes 2 ...] [--decoder runs/tiny_texture]

--run, --decoder: stages of its training that are not yet on record in results/tiny.json, in order. Figures are those
of benchmarks/exchange.py (results/exchange.json).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from compute import kmac_per_pixel
from publish import ROOT, decoder_stage, put, stage, valid_table

from dqcodec.eval import sweep
from dqcodec.training import checkpoint
from dqcodec.weights import load
from dqcodec.weights.slim import make_whole

RECORD, EXCHANGE = ROOT / "results" / "tiny.json", ROOT / "results" / "exchange.json"
FILE = ROOT / "dqcodec" / "weights" / "tiny.safetensors.xz"

CARD = """# Model card: tiny

A small model for slow machines, phones and browsers. It shares fingerprint {fingerprint} with `default`, so each reads
the other's files: what a phone packs, a server shows by the large decoder, and the reverse.

- Codec-mode DQ-VAE, ladder {factors}, the codebooks, tables and prior of `default`, which it borrows from that file;
  networks of {parameters:.2f} M parameters in {bits} bits: {megabytes:.2f} MB, with all that it borrows {whole:.1f} MB
  (`dqcodec train whole tiny --output FILE`).
- {encoder:.1f} kMAC per pixel to encode, {decoder:.1f} to decode (`default`: {large_encoder:.1f} and
  {large_decoder:.1f}); the prior comes on top of both, and is the same.
- Trained from random initialisation by `dqcodec train vae --teacher` (dqcodec/training/distil.py) on two CPU cores that
  other jobs shared, about {flop:.1e} FLOP in all, the teacher's and those of LPIPS-VGG included:
{stages}
- Loss: L1 + LPIPS-VGG against the picture, on tokens of its own and of `default`, half and half; squared distance of
  latents and of the router's predictions to those of `default`; averaged weights (EMA).
{decoders}- Data: as of `default`. Chosen on validation photographs; Kodak was used for reporting only.

## Validation while training (averaged weights, raw code bits)
{valid}

## {images}, {pictures} pictures, bytes of real files (benchmarks/exchange.py)
{exchange}

LPIPS-AlexNet and DISTS were not trained on; LPIPS-VGG was.
"""


def with_teacher(run: Path, processes: int, found: dict) -> dict:
    """The stage `found` of `run` with the crops of all its processes and the teacher's encoder in its FLOP."""
    state = checkpoint.load(run)
    teacher = kmac_per_pixel(load().vae)["encoder"] if state["config"].get("distil") else 0.0
    pixels = found["crop"] ** 2 * found["batch"] * found["steps"]
    return found | {"flop": processes * (found["flop"] + 2e3 * teacher * pixels), "batch": processes * found["batch"]}


def card(record: dict) -> str:
    tiny, large, facts = load("tiny"), load(), json.loads(EXCHANGE.read_text())
    small, big = kmac_per_pixel(tiny.vae), kmac_per_pixel(large.vae)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / FILE.name
        make_whole(FILE, whole)
        size = whole.stat().st_size
    networks = (tiny.vae.encoder, tiny.vae.router, tiny.vae.decoder)
    stages, decoders = record["stages"], record["decoders"]
    return CARD.format(
        fingerprint=tiny.fingerprint.hex(), factors=list(tiny.config.factors), bits=record["bits"],
        parameters=sum(p.numel() for network in networks for p in network.parameters()) / 1e6,
        megabytes=FILE.stat().st_size / 1e6, whole=size / 1e6, encoder=small["encoder"], decoder=small["decoder"],
        large_encoder=big["encoder"], large_decoder=big["decoder"], flop=sum(s["flop"] for s in (*stages, *decoders)),
        stages="\n".join(f"  - {s['name']}: {s['steps']} steps of {s['batch']} crops of {s['crop']} px, "
                         f"{s['hours']:.2f} hours" for s in stages),
        decoders="".join(f"- Then ({s['name']}) the decoder alone, {s['steps']} steps of {s['batch']} crops, "
                         f"{s['hours']:.2f} hours, the same loss and {s['weight']:g} x the hinge loss of a "
                         f"discriminator on the features of LPIPS-VGG; shipped at {record['realism']:g} of the way "
                         "there.\n" for s in decoders),
        valid=valid_table(stages), images=facts["images"], pictures=facts["pictures"],
        exchange=sweep.table(facts["rows"], ("target", "pictures")))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, nargs="*", default=[])
    parser.add_argument("--decoder", type=Path, nargs="*", default=[])
    parser.add_argument("--processes", type=int, default=1, help="of the runs given")
    parser.add_argument("--realism", type=float, help="where the dial stood at `train share`")
    parser.add_argument("--bits", type=int, help="of its kernels")
    args = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"stages": [], "decoders": []}
    for run in args.run:
        record["stages"] = put(record["stages"], with_teacher(run, args.processes, stage(run)))
    for run in args.decoder:
        record["decoders"] = put(record["decoders"], with_teacher(run, args.processes, decoder_stage(run)))
    record |= {k: v for k, v in (("realism", args.realism), ("bits", args.bits)) if v is not None}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    (FILE.parent / "tiny.md").write_text(card(record))


if __name__ == "__main__":
    main()
