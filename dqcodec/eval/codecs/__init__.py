"""All codecs of the benchmark, found by name or family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dqcodec.errors import DataError
from dqcodec.eval.codecs.base import Codec, CodecMissing, Knob
from dqcodec.eval.codecs.heic import Heic
from dqcodec.eval.codecs.jxl import JpegXL
from dqcodec.eval.codecs.pillow_codecs import Avif, Jpeg, Jpeg2000, WebP
from dqcodec.eval.codecs.vvc import Vvc

__all__ = ["CLASSICAL", "Codec", "CodecMissing", "FAMILIES", "Knob", "Skipped", "select"]

CLASSICAL = {kind.name: kind for kind in (Avif, Heic, JpegXL, WebP, Jpeg, Jpeg2000, Vvc)}
FAMILIES = ("dqcodec", *CLASSICAL, "compressai")


@dataclass(frozen=True)
class Skipped:
    """A codec that was asked for and cannot run, with the reason and what to do."""

    name: str
    reason: str


def select(names: tuple[str, ...] = FAMILIES, compressai_weights: Path | None = None,
           metric_weights: Path | None = None) -> tuple[list[Codec], list[Skipped]]:
    """The codecs of these names that can run here, and those that cannot.

    names: families ("dqcodec" is every model, "compressai" every model whose weights are at hand) or
    single codecs ("dqcodec-small", "dqcodec@0" for a setting of its realism, "dqcodec+search" for an effort,
    "compressai-bmshj2018-hyperprior"). metric_weights: folder of metric_weights.find, for the effort "search".
    Raises DataError for a name that nothing has.
    """
    chosen: list[Codec] = []
    skipped: list[Skipped] = []
    for name in names:
        found = _find(name, compressai_weights, metric_weights)
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        for codec in found:
            if codec.name in {c.name for c in chosen}:
                continue
            try:
                codec.check()
            except CodecMissing as error:
                skipped.append(Skipped(codec.name, str(error).removeprefix(f"{codec.name}: ")))
            else:
                chosen.append(codec)
    return chosen, skipped


def _find(name: str, compressai_weights: Path | None, metric_weights: Path | None) -> list[Codec] | Skipped:
    if name in CLASSICAL:
        return [CLASSICAL[name]()]
    family = name.split("-")[0].split("@")[0].split("+")[0]
    if family == "dqcodec":
        from dqcodec.eval.codecs import dq

        if name != family:
            return [dq.DqCodec.named(name, metric_weights)]
        return dq.all_models() or Skipped(
            name, "no model at hand; install a release, which ships one, or set DQCODEC_MODELS to a folder of "
                  "models")
    if family == "compressai":
        from dqcodec.eval.codecs import compressai_zoo

        models = compressai_zoo.all_models(compressai_weights)
        if name != family:
            models = [model for model in models if model.name == name]
        return models or Skipped(name, "no weights at hand; name a folder of the zoo's .pth.tar files with "
                                       "--compressai-weights (its models download them with pretrained=True)")
    raise DataError(f"no codec {name!r}; there are: {', '.join(FAMILIES)}")
