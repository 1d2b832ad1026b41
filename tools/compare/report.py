"""Medians, ratios and bars of the samples, as the object that `--json` prints and as a table."""

import re
import statistics

from bars import LAMINAR, READ, bar


def spread(samples):
    """Median, smallest, largest and all of some samples; None where there is none."""
    known = [sample for sample in samples if sample is not None]
    if not known:
        return None
    return {"median": statistics.median(known), "min": min(known), "max": max(known), "samples": samples}


def test_report(test, kind, weight_type, rounds, sides):
    """One test of one model: every side's speed, and what Laminar's is beside the others.

    `rounds` has a dictionary for each round: side -> test name -> result.
    """
    results = {side: [turn[side].get(test.name, {}) for turn in rounds] for side in sides}
    speeds = {side: spread([result.get("tokens_per_s") for result in results[side]]) for side in sides}
    comparisons = [
        comparison(speeds[LAMINAR], speeds[side], side, bar(kind, weight_type, test.name, side))
        for side in sides
        if side != LAMINAR and LAMINAR in sides and speeds[LAMINAR] and speeds[side]
    ]
    read = None
    if test.kind == "decode" and not test.shared and LAMINAR in sides:
        read = spread([result.get("fraction_of_read") for result in results[LAMINAR]])
        if read:
            least = bar(kind, weight_type, test.name, READ)
            read.update(bar=least, met=None if least is None else read["median"] >= least)
    return {
        "test": test.name,
        "context": test.context if test.kind == "decode" else None,
        "steps": test.steps if test.kind == "decode" else None,
        "tokens_per_s": speeds,
        "gb_s": spread([result.get("gb_s") for result in results.get(LAMINAR, [])]),
        "gop_s": spread([result.get("gop_s") for result in results.get(LAMINAR, [])]),
        "comparisons": comparisons,
        "fraction_of_read": read,
        "errors": sorted({result["error"] for side in sides for result in results[side] if result.get("error")}),
    }


def comparison(ours, theirs, side, least):
    ratios = [mine / other for mine, other in zip(ours["samples"], theirs["samples"]) if mine and other]
    ratio = ours["median"] / theirs["median"]
    return {
        "beside": side,
        "ratio_of_medians": ratio,
        "ratio_by_round": spread(ratios),
        "bar": least,
        "met": None if least is None else ratio >= least,
    }


def verdicts(models):
    """How many bars were met and missed."""
    met = [
        line["met"]
        for model in models
        for test in model["tests"]
        for line in [*test["comparisons"], test["fraction_of_read"] or {"met": None}]
        if line["met"] is not None
    ]
    return {"met": sum(met), "missed": len(met) - sum(met)}


def print_head(report, out):
    machine, roof = report["machine"], report["roof"]
    print(f"machine: {machine['cpu']}; {' '.join(machine['flags'])}", file=out)
    best = {}
    for line in roof["roofs"]:
        if line["threads"] == machine["threads"]:
            best.setdefault("read" if line["unit"] == "GB/s" else line["name"].split()[0], []).append(line)
    words = [
        f"{max(lines, key=lambda line: line['median'])['name']} {max(line['median'] for line in lines):.1f} "
        f"{lines[0]['unit']}"
        for lines in best.values()
    ]
    print(f"roofs at {machine['threads']} threads: {', '.join(words)}", file=out)
    for side in report["sides"]:
        about = [side["version"], side["package"] or side["library"], instructions(side.get("system_info"))]
        print(f"{side['name']}: {', '.join(filter(None, about))}", file=out)
    print(f"rounds: {report['rounds']}; t/s: median [min..max]; ratio: laminar's median over the other's", file=out)


def instructions(system_info):
    """Of what a peer says about its build: the vector instructions it uses."""
    return " ".join(re.findall(r"\b(AVX2|AVX512\w*|AVX_VNNI|NEON|SVE|MATMUL_INT8) = 1", system_info or ""))


def print_model(model, out):
    if model["error"]:
        print(f"\n{model['name']}: failed: {model['error']}", file=out)
        return
    size = model["bytes"] / 1e9
    print(
        f"\n{model['name']}: {model['architecture']}, {model['kind']}, {model['weight_type']}, {size:.2f} GB", file=out
    )
    print(f"{'':<17} {'laminar':>24}  {'beside':<14} {'t/s':>24} {'ratio':>6} {'by round':>18}  bar", file=out)
    for test in model["tests"]:
        name, ours = test["test"], written(test["tokens_per_s"].get(LAMINAR))
        for side, speed in test["tokens_per_s"].items():
            if side == LAMINAR and len(test["tokens_per_s"]) > 1:
                continue
            line = next((line for line in test["comparisons"] if line["beside"] == side), None)
            print(f"{name:<17} {ours:>24}  {against(side, speed, line)}", file=out)
            name = ours = ""
        read = test["fraction_of_read"]
        if read:
            share = f"{100 * read['median']:.0f}%"
            bounds = f"{100 * read['min']:.0f}%..{100 * read['max']:.0f}%"
            print(f"{'':<43}{READ:<39} {share:>6} {bounds:>18}  {verdict(read, percent=True)}", file=out)
        for error in test["errors"]:
            print(f"{'':<17} failed: {error}", file=out)
    out.flush()


def against(side, speed, line):
    if side == LAMINAR:
        return ""
    text = f"{side:<14} {written(speed):>24}"
    if line is None:
        return text
    by_round = line["ratio_by_round"]
    rounds = f"{by_round['median']:.2f} [{by_round['min']:.2f}..{by_round['max']:.2f}]" if by_round else "-"
    return f"{text} {line['ratio_of_medians']:>6.2f} {rounds:>18}  {verdict(line)}"


def verdict(line, percent=False):
    if line["bar"] is None:
        return "-"
    least = f"{100 * line['bar']:.0f}%" if percent else f"{line['bar']:g}"
    return f"{least} {'met' if line['met'] else 'missed'}"


def written(speed):
    if speed is None:
        return "-"
    return f"{number(speed['median'])} [{number(speed['min'])}..{number(speed['max'])}]"


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"
