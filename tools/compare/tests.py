"""What is measured: `prefill-N`, a prompt of N tokens, and `decode-N`, steps of N sequences together.

`decode-N-shared` lets the sequences of a peer look at one and the same context. That is the peers' best case, and no
more than that: sequences with beginnings of their own, as of different users, can not do so. Laminar's sequences have
a context of their own in both.
"""

import re
from dataclasses import asdict, dataclass, replace

from failure import Failure

DEFAULT = "prefill-512,prefill-2048,decode-1,decode-8,decode-16,decode-8-shared,decode-16-shared"
QUICK = "prefill-512,decode-1,decode-8,decode-8-shared"


@dataclass(frozen=True)
class Test:
    kind: str
    # Tokens of the prompt, or sequences that decode together.
    rows: int
    # Tokens before the steps, and their number; nothing where a prompt is measured.
    context: int = 0
    steps: int = 0
    # Whether a peer's sequences look at one copy of the context.
    shared: bool = False

    @property
    def name(self):
        return f"{self.kind}-{self.rows}" + ("-shared" if self.shared else "")

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
        match = re.fullmatch(r"(prefill|decode)-([1-9]\d{0,5})(-shared)?", name.strip())
        kind, rows, shared = (match.group(1), int(match.group(2)), bool(match.group(3))) if match else ("", 0, False)
        if not kind or (shared and (kind == "prefill" or rows == 1)):
            raise Failure(f"--tests: {name.strip()!r} is not a test; write prefill-N, decode-N or decode-N-shared")
        if kind == "prefill":
            tests.append(Test(kind, rows))
        elif rows == 1:
            tests.append(Test(kind, rows, arguments.short_context, arguments.steps))
        else:
            tests.append(Test(kind, rows, arguments.context, arguments.batch_steps, shared))
    if not tests:
        raise Failure("--tests: name at least one")
    return sorted(set(tests), key=lambda test: (test.kind != "prefill", test.shared, test.rows))
