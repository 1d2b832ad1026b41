"""Laminar's side: the commands of its own that measure, read as JSON."""

import json
import subprocess
from pathlib import Path

from bars import LAMINAR
from failure import Failure

# A prompt length for runs that are about decoding only; the command needs one.
ANY_PROMPT = 32


class Laminar:
    def __init__(self, binary, threads, seed):
        self.binary = Path(binary).expanduser().absolute()
        if not self.binary.is_file():
            raise Failure(
                f"{self.binary}: no such file; build it with `cargo build --release`, or name it with --laminar"
            )
        self.threads, self.seed = threads, seed
        self.version = self.output(["--version"]).split()[-1]

    def output(self, args):
        done = subprocess.run([str(self.binary), *args], capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise Failure(f"laminar {args[0]}: {lines[-1]}")
        return done.stdout

    def json(self, args):
        output = self.output(args)
        try:
            return json.loads(output)
        except ValueError:
            raise Failure(f"laminar {' '.join(args)}: printed no JSON") from None

    def describe(self):
        return {"name": LAMINAR, "version": self.version, "package": None, "library": str(self.binary)}

    def synth(self, preset, layers, quant, vocab, path):
        args = ["synth", "--quiet", "--preset", preset, "--quant", quant, "--out", str(path)]
        args += ["--layers", str(layers)] if layers else []
        self.output(args + (["--vocab", str(vocab)] if vocab else []))

    def inspect(self, path):
        return self.json(["inspect", "--quiet", "--json", str(path)])

    def roof(self):
        return self.json(["bench", "roof", "--quiet", "--json", "--threads", str(self.threads)])

    def measure(self, model, tests):
        """Each test once: its tokens a second, and the share of the read bandwidth that its weights took."""
        results = {}
        for group in groups(tests):
            report = self.json(self.command(model, group))
            points = {(point["kind"], point["rows"]): point for point in report["points"]}
            for test in group:
                point = points[(test.kind, test.rows)]
                results[test.name] = {
                    "tokens_per_s": point["tokens_per_s"]["median"],
                    "fraction_of_read": point["fraction_of_read"],
                    "gb_s": point["gb_s"],
                    "gop_s": point["gop_s"],
                }
        return results

    def command(self, model, tests):
        prompts = [test.rows for test in tests if test.kind == "prefill"] or [ANY_PROMPT]
        decoding = [test for test in tests if test.kind == "decode"]
        batches = sorted({test.rows for test in decoding}) or [1]
        context, steps = (decoding[0].context, decoding[0].steps) if decoding else (1, 1)
        return [
            *["bench", "engine", "--quiet", "--json", "--repeat", "1", "--model", str(model)],
            *["--prompt", joined(prompts), "--batch", joined(batches), "--context", str(context)],
            *["--decode", str(steps), "--threads", str(self.threads), "--seed", str(self.seed)],
        ]


def groups(tests):
    """Tests that one run of the command can measure: it has one context and one number of steps for all batches."""
    by_shape = {}
    for test in tests:
        if test.kind == "decode":
            by_shape.setdefault((test.context, test.steps), []).append(test)
    runs = list(by_shape.values()) or [[]]
    runs[0] = [test for test in tests if test.kind == "prefill"] + runs[0]
    return runs


def joined(numbers):
    return ",".join(map(str, numbers))
