"""Figures and bars as Markdown, for a page."""

import re

from table import number

HEAD = ["", "first token, s", "target", "alone: median, p99", "beside: median", "p99", "longest", "streams, t/s", "passes"]


def page(lines, verdicts, out):
    """A table for each model and prompt length, and one of the bars; gaps in milliseconds."""
    for model, prompt in dict.fromkeys((line["model"], line["prompt_tokens"]) for line in lines):
        group = [line for line in lines if (line["model"], line["prompt_tokens"]) == (model, prompt)]
        rounds = sorted({line["rounds"] for line in group})
        print(f"\n**`{model}`, a prompt of {prompt:,} tokens** (rounds: {', '.join(map(str, rounds))})\n", file=out)
        grid([HEAD, *map(cells, group)], out)
    if verdicts:
        print(file=out)
        grid(bars(verdicts), out)


def replays(points, out):
    """Goodput by rate, for each side that replayed a trace."""
    if not points:
        return
    head = ["", "stretched by", "requests/s", "in time", "in time, requests/s"]
    head += ["first token: median, p99, s", "gap: p99, longest, ms", "lost"]
    rows = [
        [
            *[point["side"], number(point["scale"], 1).removesuffix(".0"), number(point["rate"], 3)],
            *[f"{100 * point['attainment']:.0f} %", number(point["goodput_per_s"], 3)],
            f"{number(point['ttft_p50_s'], 1)}, {number(point['ttft_p99_s'], 0)}",
            f"{number(1e3 * point['gap_p99_s'], 0)}, {number(1e3 * point['gap_max_s'], 0)}",
            str(point["lost"]),
        ]
        for point in points
    ]
    print(file=out)
    grid([head, *rows], out)


def cells(line):
    gap = lambda name: number(line[name] and 1e3 * line[name], 0)
    side = f"**{line['side']}**" if line["policy"] == "adaptive" else line["side"]
    return [
        *[side, number(line["ttft_s"], 2), gap("target_s"), f"{gap('plain_p50_s')}, {gap('plain_p99_s')}"],
        *[gap("during_p50_s"), gap("p99_s"), gap("stall_s"), number(line["tokens_per_s"], 1), number(line["passes"], 2)],
    ]


def bars(verdicts):
    """A row for each bar, a column for each model and prompt length; what misses its bar is bold."""
    columns = list(dict.fromkeys((verdict["model"], verdict["prompt_tokens"]) for verdict in verdicts))
    found = {}
    for verdict in verdicts:
        value = number(verdict["value"], 2)
        # Which of its settings is the best differs by column.
        about = re.sub(r"llama-server [^:]*\(best TTFT\)", "llama-server's best TTFT", verdict["about"])
        about = f"{about} {verdict['bar']}"
        place = (verdict["model"], verdict["prompt_tokens"])
        found.setdefault(about, {})[place] = value if verdict["met"] else f"**{value}**"
    head = ["bar", *[f"{model}, {prompt:,}" for model, prompt in columns]]
    return [head, *[[about, *[row.get(column, "") for column in columns]] for about, row in found.items()]]


def grid(rows, out):
    for number_of_row, row in enumerate(rows):
        print("| " + " | ".join(row) + " |", file=out)
        if number_of_row == 0:
            print("|" + "---|" * len(row), file=out)
