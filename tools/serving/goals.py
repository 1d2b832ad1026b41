"""The bars that Laminar means to clear under mixed load, and whether it does."""

from sides import LAMINAR, LLAMA

# p99 gap and longest stall, as shares of the target.
P99, STALL = 1.0, 1.3
# Factor of the target -> beside which of llama-server's settings, its TTFT over ours, its longest stall over ours.
BESIDE_LLAMA = [
    (4, "best TTFT", 2.0, 5.0),
    (2, "-ub 64", 2.0, 8.0),
    (2, "default", 1.0, 50.0),
]
# TTFT of deadline-adaptive chunks over ours, by kind of model, at this factor.
AGAINST_CHUNKED = {"moe": 2.0, "dense": 0.97}
CHUNKED_FACTOR = 2
# Passes over the experts that a prompt may take: once each.
PASSES = 1.05


def verdicts(lines, kinds):
    """Every bar that there are figures for: what is compared, the figure, the bar, and whether it is met."""
    found = []
    cases = {}
    for line in lines:
        cases.setdefault((line["model"], line["prompt_tokens"]), []).append(line)
    for (model, prompt), group in cases.items():
        for verdict in case(group, kinds.get(model)):
            found.append({"model": model, "prompt_tokens": prompt, **verdict})
    return found


def case(group, kind):
    ours = {(line["policy"], line["factor"]): line for line in group if line["server"] == LAMINAR and line["rounds"]}
    theirs = {line["side"].removeprefix(f"{LLAMA} "): line for line in group if line["server"] == LLAMA and line["rounds"]}
    for (policy, factor), line in ours.items():
        if policy == "adaptive":
            yield at_most(f"adaptive {factor:g}x: p99 gap / target", line["p99_of_target"], P99)
            yield at_most(f"adaptive {factor:g}x: longest stall / target", line["stall_of_target"], STALL)
        if policy in ("adaptive", "layered") and line["passes"] is not None:
            yield at_most(f"{line['side']}: passes over the experts", line["passes"], PASSES)
    for factor, setting, ttft, stall in BESIDE_LLAMA:
        mine, other = ours.get(("adaptive", factor)), setting_of(theirs, setting)
        if mine and other:
            about = f"adaptive {factor}x beside {other['side']}" + (" (best TTFT)" if setting == "best TTFT" else "")
            yield at_least(f"{about}: TTFT, its over ours", ratio(other["ttft_s"], mine["ttft_s"]), ttft)
            yield at_least(f"{about}: longest stall, its over ours", ratio(other["stall_s"], mine["stall_s"]), stall)
    mine, other = ours.get(("adaptive", CHUNKED_FACTOR)), ours.get(("chunked-auto", CHUNKED_FACTOR))
    if mine and other and kind:
        about = f"adaptive {CHUNKED_FACTOR}x beside chunked-auto {CHUNKED_FACTOR}x: TTFT, its over ours"
        yield at_least(about, ratio(other["ttft_s"], mine["ttft_s"]), AGAINST_CHUNKED[kind])


def setting_of(theirs, setting):
    if setting != "best TTFT":
        return theirs.get(setting)
    return min(theirs.values(), key=lambda line: line["ttft_s"], default=None)


def ratio(other, mine):
    return other / mine if other is not None and mine else None


def at_most(about, value, bar):
    return {"about": about, "value": value, "bar": f"<= {bar:g}", "met": value is not None and value <= bar}


def at_least(about, value, bar):
    return {"about": about, "value": value, "bar": f">= {bar:g}", "met": value is not None and value >= bar}
