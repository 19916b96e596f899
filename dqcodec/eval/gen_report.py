"""The tables of `dqcodec eval-gen` for people."""

from __future__ import annotations

from dqcodec.eval.markdown_table import table


def markdown(result: dict) -> str:
    """Text of generation.md, of what generation.json holds."""
    about, samples, reference = result["about"], result["samples"], result["reference"]
    width, height = about["size"]
    blocks = [
        f"# {samples['used']} samples of {samples['folder']} against {reference['used']} pictures of "
        f"{reference['folder']}",
        f"{width}x{height} pixels; the reference fitted to it: {about['fit']}. Features: {about['features']}.",
        "\n".join(f"- {note}" for note in result["notes"]),
        _distances(result["distances"]),
        _diversity(result["diversity"], about["lpips"]),
        _nearest(result["nearest"], about["lpips"]),
        _classes(result["classes"], result["distances"]["kernel_name"], about["lpips"]),
        *_tokens(result["tokens"]),
        "Sheets: samples.png, reference.png, nearest.png.",
        f"Seed {about['seed']}, {about['machine']['cpu']}, {about['date']}, commit {about['commit'] or 'unknown'}.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _distances(found: dict) -> str:
    titles = {"all": "samples to reference, all", "equal": "samples to half of the reference, equally many",
              "floor": "other half of the reference to that half: the floor"}
    rows = []
    for key, title in titles.items():
        one = found[key]
        rows.append([title, "{} / {}".format(*one["counts"]), f"{one['frechet']:.3f}",
                     f"{one['kernel']['mean']:.5f} ± {one['kernel']['std']:.5f}"])
    kernel = found["equal"]["kernel"]
    return ("**Distances** between the sets, lower is better; ± between "
            f"{kernel['subsets']} random subsets, of {kernel['subset_size']} pictures at equal counts\n\n"
            + table(["", "pictures", found["frechet_name"], found["kernel_name"]], rows))


def _diversity(found: dict, lpips: str) -> str:
    rows = [[name, f"{one['mean']:.3f} ± {one['std']:.3f}", str(one["pairs"])] for name, one in found.items()]
    return f"**Diversity**: {lpips} of random pairs; samples that look alike have less than the reference\n\n" + table(
        ["", "mean ± between pairs", "pairs"], rows)


def _nearest(found: dict, lpips: str) -> str:
    head = ["", *(f"{100 * q:g} %" for q in found["quantiles"])]
    rows = [[title, *(f"{v:.3f}" for v in found[key])] for key, title in (
        ("samples", f"{found['samples_count']} samples to the reference"),
        ("reference", f"{found['reference_count']} reference pictures to the others"))]
    share = 100 * found["share_below_5_percent"]
    first = sorted(found["of_each_sample"].items(), key=lambda item: item[1][0]["lpips"])[:5]
    named = ", ".join(f"{name} ({nearest[0]['lpips']:.3f} to {nearest[0]['name']})" for name, nearest in first)
    return (f"**Copies?** {lpips} to the nearest reference picture or its mirror image, quantiles. {share:.1f} % of "
            "the samples are nearer than the nearest 5 % of reference pictures are to each other: about 5 % for "
            f"pictures that are new, more for copies\n\n{table(head, rows)}\n\nNearest of all, to be looked at in "
            f"nearest.png: {named}.")


def _classes(found: dict, kernel: str, lpips: str) -> str:
    if not found:
        return ""
    rows = [[label or "–", str(one["samples"]), str(one["reference"]),
             "–" if one["kernel"] is None else f"{one['kernel']['mean']:.5f} ± {one['kernel']['std']:.5f}",
             "–" if one["diversity"] is None else f"{one['diversity']['mean']:.3f}", f"{one['nearest_median']:.3f}"]
            for label, one in found.items()]
    return "**Classes**\n\n" + table(["class", "samples", "reference", f"{kernel} to its class",
                                      f"{lpips} of pairs", "to the nearest, median"], rows)


def _tokens(found: dict) -> list[str]:
    both = ("samples", "reference")
    levels = [[name, *(f"{100 * share:.1f} %" for share in found["levels"][name]),
               f"{found['codes_per_region'][name]:.2f}"] for name in both]
    head = ["", *(f"level {i}" for i in range(len(found["levels"]["samples"]))), "codes a region"]
    rows = []
    for step in found["steps"]:
        rows.append([f"{step['step']} (f{step['factor']})", *(str(step["codes"][name]) for name in both),
                     *(_number(step["perplexity"][name], 1) for name in both),
                     _number(step["divergence"], 4), _number(step["divergence_of_reference"], 4),
                     *(_number(step["bits_per_code"][name], 3) for name in both),
                     *(_number(step["map_bits_per_region"][name], 3) for name in both)])
    columns = ["step", "codes", "of reference", "perplexity", "of reference", "divergence", "by chance",
               f"bits a code ({found['entropy_model']})", "of reference", "map bits a region", "of reference"]
    return [
        f"**Tokens** of {found['pictures']} pictures each, of model {found['model']} ({found['fingerprint']}): "
        f"{found['samples_from']}; {found['reference_from']}\n\n{table(head, levels)}",
        "Perplexity: codes in even use. Divergence: Jensen-Shannon, of the histograms of codes, in bits; by chance: "
        f"of as many further reference pictures.\n\n{table(columns, rows)}",
    ]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
