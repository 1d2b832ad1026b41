"""A trace at rising rates: how many requests a second keep their targets."""

ENOUGH = 0.9


def rates(report, scale):
    """What one replay of a trace came to."""
    (summary,) = (group["summary"] for group in report["groups"] if group["role"] == "request")
    arrivals = [request["planned_s"] for request in report["requests"]]
    span = max(arrivals) - min(arrivals) if len(arrivals) > 1 else 0.0
    goodput = summary["goodput"]
    return {
        "scale": scale,
        "rate": (len(arrivals) - 1) / span if span else 0.0,
        "requests": summary["requests"],
        "lost": summary["failed"],
        "duration_s": summary["duration_s"],
        "attainment": goodput["attainment"],
        "goodput_per_s": goodput["requests_per_s"],
        "ttft_p50_s": summary["ttft_s"]["p50"],
        "ttft_p99_s": summary["ttft_s"]["p99"],
        "gap_p99_s": summary["gap_s"]["p99"],
        "gap_max_s": summary["gap_s"]["max"],
        "output_tokens_per_s": summary["output_tokens_per_s"],
    }


def sustained(points):
    """By side: the most requests a second that kept their targets at a rate at which enough of all did."""
    best = {}
    for point in points:
        if point["attainment"] >= ENOUGH and not point["lost"]:
            best[point["side"]] = max(best.get(point["side"], 0.0), point["goodput_per_s"])
    return best
