"""Colours of the codecs, the same in plots and pages (after Okabe and Ito, safe for colour blindness)."""

from __future__ import annotations

MEASURED = {"dqcodec": "#d55e00", "avif": "#0072b2", "vvc": "#56b4e9", "heic": "#cc79a7", "jxl": "#009e73",
            "webp": "#b8860b", "jpeg": "#6b6b6b", "jpeg2000": "#8f8f3f"}
MORE_MODELS = ("#8b2500", "#e8935a", "#5d3a9b", "#117733", "#882255", "#44aa99", "#332288")
PUBLISHED = ("#7b6fb0", "#a0785a", "#5f9ea0", "#b5739d", "#6b8e23", "#c08552", "#708090", "#9370db",
             "#8fbc8f", "#bc8f8f", "#4682b4", "#999999")


def measured_colours(names: list[str]) -> dict[str, str]:
    """A colour for each codec name."""
    more = [name for name in names if name not in MEASURED]
    return {name: MEASURED.get(name) or MORE_MODELS[more.index(name) % len(MORE_MODELS)] for name in names}


def published_colours(names: list[str]) -> dict[str, str]:
    """A colour for each published codec."""
    return {name: PUBLISHED[i % len(PUBLISHED)] for i, name in enumerate(sorted(set(names)))}
