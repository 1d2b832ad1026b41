"""Medians over rounds of what was sampled."""

import statistics


def lines(samples):
    """One line for each model, side and prompt length, in the order in which they were first sampled."""
    groups = {}
    for sample in samples:
        groups.setdefault((sample["model"], sample["side"], sample["prompt_tokens"]), []).append(sample)
    return [line(*key, group) for key, group in groups.items()]


def line(model, side, prompt_tokens, group):
    good = [sample for sample in group if sample["ttft_s"] is not None and not sample["failure"]]
    return {
        "model": model,
        "side": side,
        "prompt_tokens": prompt_tokens,
        "server": group[0]["server"],
        "policy": group[0]["policy"],
        "factor": group[0]["factor"],
        "rounds": len(good),
        "failures": sorted({sample["failure"] for sample in group if sample["failure"]}),
        "target_s": median(sample["target_s"] for sample in good),
        "ttft_s": median(sample["ttft_s"] for sample in good),
        "plain_p50_s": median(of(sample["plain_gap_s"], "p50") for sample in good),
        "plain_p99_s": median(of(sample["plain_gap_s"], "p99") for sample in good),
        "during_p50_s": median(of(sample["during_gap_s"], "p50") for sample in good),
        "p99_s": median(of(sample["during_gap_s"], "p99") for sample in good),
        "stall_s": median(of(sample["during_gap_s"], "max") for sample in good),
        # Each round has a target of its own, so it is compared round by round.
        "p99_of_target": median(share(sample, "p99") for sample in good),
        "stall_of_target": median(share(sample, "max") for sample in good),
        "tokens_per_s": median(sample["during_tokens_per_s"] for sample in good),
        "passes": median(sample["expert_passes"] for sample in good),
    }


def share(sample, name):
    value = of(sample["during_gap_s"], name)
    return value / sample["target_s"] if value is not None and sample["target_s"] else None


def of(spread, name):
    return spread and spread[name]


def median(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
