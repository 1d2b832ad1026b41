"""Load on a server by `laminar bench serve`, and what came of it."""

import json
import subprocess

from failure import Failure


class Driver:
    """The load generator."""

    def __init__(self, binary, seed):
        self.binary, self.seed = binary, seed

    def run(self, url, label, path, arguments):
        """One run; returns the report, which is also kept at `path`."""
        command = [
            *[str(self.binary), "bench", "serve", "--quiet", "--url", url, "--seed", str(self.seed)],
            *["--label", label, "--json", str(path), *arguments],
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise Failure(f"bench serve of {label}: {lines[-1]}")
        with open(path) as file:
            return json.load(file)

    def mixed(self, url, label, path, prompts, streams, settle, stream_tokens):
        """Streams decode, and prompts arrive one after the other."""
        arguments = ["--scenario", "mixed", "--streams", str(streams), "--settle", f"{settle}s"]
        arguments += ["--stream-tokens", str(stream_tokens), "--output-tokens", "4"]
        arguments += ["--prompts", ",".join(map(str, prompts))]
        return self.run(url, label, path, arguments)

    def html(self, path, reports):
        """One page over several runs."""
        command = [str(self.binary), "bench", "serve", "--quiet", "--compare", ",".join(map(str, reports))]
        done = subprocess.run([*command, "--html", str(path)], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"bench serve --compare: {done.stderr.strip().splitlines()[-1:]}")


def plain_step(report):
    """Median gap of the streams while nothing else ran."""
    for prompt in report["prompts"]:
        if prompt["plain_gap_s"]:
            return prompt["plain_gap_s"]["p50"]
    raise Failure("the streams made no two tokens before the first prompt; let them settle longer")


def samples(report):
    """What each prompt of a mixed run met and did, as one flat object."""
    failures = failed_streams(report)
    return [
        {
            "prompt_tokens": prompt["prompt_tokens"],
            "ttft_s": prompt["ttft_s"],
            "failure": prompt["failure"] or failures,
            "plain_gap_s": part(prompt["plain_gap_s"]),
            "during_gap_s": part(prompt["during_gap_s"]),
            "plain_tokens_per_s": prompt["plain_tokens_per_s"],
            "during_tokens_per_s": prompt["during_tokens_per_s"],
        }
        for prompt in report["prompts"]
    ]


def part(spread):
    """Of a spread, what tables need."""
    return spread and {name: spread[name] for name in ("count", "p50", "p90", "p99", "max")}


def failed_streams(report):
    streams = [group["summary"] for group in report["groups"] if group["role"] == "stream"]
    failed = sum(summary["failed"] for summary in streams)
    return f"{failed} streams failed" if failed else None
