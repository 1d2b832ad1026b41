#!/usr/bin/env python3
"""Prompt and decode speed of `laminar serve` beside llama.cpp's `llama-bench` on the same GGUF file.

    python3 tools/bench/versus_llama_bench.py --llama-bench PATH --model FILE.gguf [--tokens 512] [--rounds 3]

Both sides run in turn, round after round, with the same number of threads; the table gives medians over the rounds and
Laminar's speed as a multiple of llama.cpp's. A speed without the other side from the same run means little: machines
change their pace from minute to minute. Prompts are random token ids; both sides are warmed up once a round.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-bench", required=True, help="the llama-bench binary")
    parser.add_argument("--laminar", default=str(ROOT / "target/release/laminar"), help="the laminar binary")
    parser.add_argument("--model", required=True, help="a GGUF file both open")
    parser.add_argument("--tokens", type=int, nargs="+", default=[512], help="prompt lengths")
    parser.add_argument("--decode", type=int, default=32, help="tokens to decode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--port", type=int, default=18080)
    return parser.parse_args()


def llama(args):
    """Tokens a second by test name."""
    speeds = {}
    for tokens in args.tokens:
        speeds[f"pp{tokens}"] = llama_test(args, ["-p", str(tokens), "-n", "0"])
    speeds[f"tg{args.decode}"] = llama_test(args, ["-p", "0", "-n", str(args.decode)])
    return speeds


def llama_test(args, test):
    command = [args.llama_bench, "-m", args.model, "-t", str(args.threads), "-r", "1", "-o", "json", *test]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out)[0]["avg_ts"]


def complete(args, prompt, max_tokens):
    """Seconds that a completion takes."""
    body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{args.port}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    start = time.perf_counter()
    with urllib.request.urlopen(request) as reply:
        answer = json.load(reply)
    seconds = time.perf_counter() - start
    if answer["usage"]["completion_tokens"] != max_tokens:
        sys.exit(f"asked for {max_tokens} tokens, got {answer['usage']}")
    return seconds


def laminar(args, seed):
    context = max(args.tokens) + args.decode + 64
    command = [args.laminar, "serve", "--model", args.model, "--port", str(args.port), "--policy", "whole"]
    command += ["--threads", str(args.threads), "--ctx", str(context), "--max-seqs", "2"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(args, server)
        draw = random.Random(seed)
        ids = lambda n: [draw.randrange(1000, 5000) for _ in range(n)]
        complete(args, ids(64), 2)
        speeds = {}
        for tokens in args.tokens:
            speeds[f"pp{tokens}"] = tokens / complete(args, ids(tokens), 1)
        prompt = ids(8)
        one = complete(args, prompt, 1)
        speeds[f"tg{args.decode}"] = args.decode / (complete(args, prompt, args.decode + 1) - one)
        return speeds
    finally:
        server.terminate()
        server.wait()


def wait_for(args, server):
    for _ in range(1200):
        if server.poll() is not None:
            sys.exit("laminar serve ended early; run it by hand to see why")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{args.port}/health", timeout=1) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.25)
    sys.exit("laminar serve did not become ready within five minutes")


def main():
    args = arguments()
    rounds = []
    for number in range(args.rounds):
        theirs, ours = llama(args), laminar(args, number)
        rounds.append((theirs, ours))
        print(f"round {number + 1}: llama.cpp {fmt(theirs)} | laminar {fmt(ours)}", file=sys.stderr, flush=True)
    print(f"{'test':>8} {'llama.cpp t/s':>14} {'laminar t/s':>12} {'ratio':>6}")
    for test in rounds[0][0]:
        theirs = statistics.median(r[0][test] for r in rounds)
        ours = statistics.median(r[1][test] for r in rounds)
        ratio = statistics.median(r[1][test] / r[0][test] for r in rounds)
        print(f"{test:>8} {theirs:>14.1f} {ours:>12.1f} {ratio:>6.2f}")


def fmt(speeds):
    return " ".join(f"{test} {speed:.1f}" for test, speed in speeds.items())


if __name__ == "__main__":
    main()
