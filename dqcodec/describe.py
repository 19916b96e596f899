"""Facts about a .dq file, for `dqcodec info`."""

from __future__ import annotations

import numpy as np

from dqcodec import bitstream
from dqcodec.bitstream.frame import GRAIN_UNIT
from dqcodec.errors import DqError


def describe(data: bytes, model: str | None = None) -> dict:
    """Header, sections and, where the model is at hand and the file intact, the use of each level."""
    from dqcodec import codec
    from dqcodec.weights import registry

    layout = bitstream.inspect(data)
    header = layout.header
    pixels = header.width * header.height
    facts = {
        "width": header.width,
        "height": header.height,
        "grey": header.grey,
        "grain": header.grain / GRAIN_UNIT,
        "coded_width": header.frame.coded[0],
        "coded_height": header.frame.coded[1],
        "version": "{}.{}".format(*header.version),
        "fingerprint": header.fingerprint.hex(),
        "bytes": len(data),
        "bpp": 8 * len(data) / pixels,
        "header_bytes": layout.header_bytes,
        "steps": header.steps,
        "sections": [
            {"name": s.name, "offset": s.offset, "bytes": s.end - s.offset, "intact": s.intact}
            for s in layout.sections
        ],
        "problem": layout.problem,
    }
    try:
        loaded = registry.load(model) if model else registry.find(header.fingerprint)
        facts["model"] = loaded.name
        ladder = loaded.config.ladder
        facts["grains"] = [f"f{factor}" for factor in ladder.factors]
        if layout.problem is None:
            tokens = codec.tokens_of(data, model)
            shares = np.bincount(tokens.levels.reshape(-1), minlength=len(ladder)) / tokens.levels.size
            facts["level_shares"] = [round(float(s), 4) for s in shares]
            facts["codes"] = [int((c >= 0).sum()) for c in tokens.codes]
    except DqError as error:
        facts["model"] = None
        facts["problem"] = facts["problem"] or str(error)
    return facts


def to_text(name: str, facts: dict) -> str:
    """The same for people."""
    size, coded = (f"{facts[f'{what}width']}x{facts[f'{what}height']}" for what in ("", "coded_"))
    grain = f" with grain of {facts['grain']:.1f} levels" if facts["grain"] else ""
    lines = [
        f"{name}: {size}{' grey' if facts['grey'] else ''}"
        f"{f' coded at {coded}' if coded != size else ''}{grain}, {facts['bytes']} bytes, "
        f"{facts['bpp']:.4f} bpp, format {facts['version']}",
        f"model: {facts['model'] or 'not at hand'} ({facts['fingerprint']})",
        f"header: {facts['header_bytes']} bytes, {facts['steps']} steps",
    ]
    grains, codes = facts.get("grains"), facts.get("codes")
    for section in facts["sections"]:
        line = f"  {section['name']:<8} {section['bytes']:>8} bytes"
        if section["name"].startswith("step") and grains:
            step = int(section["name"].split()[1])
            line += f"  {grains[step]}"
            if codes:
                share = sum(facts["level_shares"][step:])
                bits = 8 * section["bytes"] / max(1, codes[step])
                line += f"  {codes[step]} codes in {100 * share:.1f} % of regions, {bits:.2f} bits a code with map"
        lines.append(line + ("" if section["intact"] else "  DAMAGED"))
    if facts["problem"]:
        lines.append(f"problem: {facts['problem']}")
    return "\n".join(lines)
