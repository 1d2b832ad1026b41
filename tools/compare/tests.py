"""What is measured: `prefill-N`, a prompt of N tokens, and `decode-N`, steps of N sequences together."""

import re
from dataclasses import asdict, dataclass, replace

from failure import Failure

DEFAULT = "prefill-512,prefill-2048,decode-1,decode-8,decode-16"
QUICK = "prefill-512,decode-1,decode-8"


@dataclass(frozen=True)
class Test:
    kind: str
    # Tokens of the prompt, or sequences that decode together.
    rows: int
    # Tokens before the steps, and their number; nothing where a prompt is measured.
    context: int = 0
    steps: int = 0

    @property
    def name(self):
        return f"{self.kind}-{self.rows}"

    @property
    def tokens(self):
        return self.rows if self.kind == "prefill" else self.rows * self.steps

    def fits(self, context_length):
        return (self.rows if self.kind == "prefill" else self.context + self.steps) <= context_length

    def job(self):
        return asdict(self)

    def shortened(self, steps):
        return replace(self, steps=min(steps, self.steps))


def parse(names, arguments):
    """The tests of a comma-separated list, in the order in which all sides run them."""
    tests = []
    for name in filter(None, names.split(",")):
        match = re.fullmatch(r"(prefill|decode)-([1-9]\d{0,5})", name.strip())
        if match is None:
            raise Failure(
                f"--tests: {name.strip()!r} is not a test; write prefill-N or decode-N, for example {DEFAULT}"
            )
        kind, rows = match.group(1), int(match.group(2))
        if kind == "prefill":
            tests.append(Test(kind, rows))
        elif rows == 1:
            tests.append(Test(kind, rows, arguments.short_context, arguments.steps))
        else:
            tests.append(Test(kind, rows, arguments.context, arguments.batch_steps))
    if not tests:
        raise Failure("--tests: name at least one")
    return sorted(set(tests), key=lambda test: (test.kind != "prefill", test.rows))
