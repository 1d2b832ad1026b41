"""Figures and bars as text."""

# Gaps in milliseconds: of the streams alone, and from the sending of the prompt to its first token.
COLUMNS = ["", "prompt", "TTFT s", "target", "alone p50", "p99", "beside p50", "p99", "longest", "t/s", "passes", "rounds"]


def figures(lines, out):
    """A table for each model; gaps in milliseconds."""
    for model in dict.fromkeys(line["model"] for line in lines):
        rows = [cells(line) for line in lines if line["model"] == model]
        print(f"\n{model}", file=out)
        for row in aligned([COLUMNS, *rows]):
            print(row, file=out)


def cells(line):
    milliseconds = [line[name] for name in ("target_s", "plain_p50_s", "plain_p99_s", "during_p50_s", "p99_s", "stall_s")]
    return [
        *[line["side"], str(line["prompt_tokens"]), number(line["ttft_s"], 2)],
        *[number(seconds and 1e3 * seconds, 0) for seconds in milliseconds],
        *[number(line["tokens_per_s"], 1), number(line["passes"], 2), str(line["rounds"])],
    ] + ([", ".join(line["failures"])] if line["failures"] else [])


def bars(verdicts, out):
    """Every bar with its figure, and how many are met."""
    if not verdicts:
        return
    print(file=out)
    rows = [
        [verdict["model"], str(verdict["prompt_tokens"]), verdict["about"], number(verdict["value"], 2), verdict["bar"]]
        + ["met" if verdict["met"] else "missed"]
        for verdict in verdicts
    ]
    for row in aligned(rows):
        print(row, file=out)
    met = sum(verdict["met"] for verdict in verdicts)
    print(f"\nbars: {met} met, {len(verdicts) - met} missed", file=out)


def replays(points, out):
    """Goodput by rate, for each side that replayed a trace."""
    if not points:
        return
    head = ["", "", "req/s", "requests", "lost", "goodput", "of all", "TTFT p50", "p99", "gap p99", "longest"]
    rows = [
        [
            *[point["model"], point["side"], number(point["rate"], 3), str(point["requests"]), str(point["lost"])],
            *[number(point["goodput_per_s"], 3), f"{100 * point['attainment']:.0f}%", number(point["ttft_p50_s"], 2)],
            *[number(point["ttft_p99_s"], 2), number(1e3 * point["gap_p99_s"], 0), number(1e3 * point["gap_max_s"], 0)],
        ]
        for point in points
    ]
    print(file=out)
    for row in aligned([head, *rows]):
        print(row, file=out)


def aligned(rows):
    """Columns of equal width; the first one, and what is no number, to the left."""
    widths = {}
    for row in rows:
        for column, cell in enumerate(row):
            widths[column] = max(widths.get(column, 0), len(cell))
    def cell(column, text, of):
        numeric = all(is_number(row[column]) for row in of if len(row) > column and row is not of[0]) and len(of) > 1
        return text.rjust(widths[column]) if column and numeric else text.ljust(widths[column])
    return ["  ".join(cell(column, text, rows) for column, text in enumerate(row)).rstrip() for row in rows]


def is_number(text):
    return text.rstrip("%").replace(".", "", 1).replace("-", "", 1).isdigit() or text in ("-", "")


def number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"
