"""Check that a GGUF file means the same to Laminar and to llama.cpp.

usage: check_synth.py FILE.gguf path/to/laminar [--tokens N] [--gap G] [--prompt-tokens N] [--seed S]

`laminar run` continues a prompt of random token ids greedily. llama.cpp (llama-cpp-python) then reads the same prompt and
Laminar's tokens (teacher forcing), so that one near tie does not decide the rest. At every step Laminar's token must be
llama.cpp's first choice, or lie at most G below it in llama.cpp's own logits: two engines round differently, and a
random model has many near ties. Steps that differ are printed with that gap. In a model with experts a near tie between
two experts can also send a row elsewhere, which changes its logits at once; one step in fifty (at least one) may
therefore lie further off. Exit code 1 if more do.
"""

import argparse
import json
import random
import subprocess
import sys

import numpy as np
from llama_cpp import Llama


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("laminar")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=24)
    parser.add_argument("--gap", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    # A multiple of 256, as llama.cpp makes it: LongRoPE depends on it.
    context = -(-(args.prompt_tokens + args.tokens + 8) // 256) * 256
    llama = Llama(args.file, n_ctx=context, n_batch=context, logits_all=True, verbose=False)
    draw = random.Random(args.seed)
    prompt = [draw.randrange(llama.n_vocab()) for _ in range(args.prompt_tokens)]

    command = [args.laminar, "run", "--model", args.file, "--json", "--temperature", "0", "--ignore-eos"]
    command += ["--ctx", str(context), "--max-tokens", str(args.tokens), "--prompt-ids", ",".join(map(str, prompt))]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    ids = answer["token_ids"]
    if answer["prompt_token_ids"] != prompt or len(ids) != args.tokens:
        print(f"laminar read {len(answer['prompt_token_ids'])} prompt tokens and wrote {len(ids)} of {args.tokens}")
        return 1

    llama.eval(prompt + ids[:-1])
    logits = np.asarray(llama.scores[args.prompt_tokens - 1 : args.prompt_tokens - 1 + len(ids)])
    equal, far, worst = 0, 0, 0.0
    for step, token in enumerate(ids):
        second, first = np.argsort(logits[step])[-2:]
        gap = float(logits[step][first] - logits[step][token])
        worst = max(worst, gap)
        far += int(gap > args.gap)
        equal += int(token == first)
        if token != first:
            top2 = float(logits[step][first] - logits[step][second])
            print(f"step {step}: laminar {token}, llama.cpp {first}; gap {gap:.4f}, llama.cpp's top-2 gap {top2:.4f}")
    print(
        f"{args.file}: {equal} of {len(ids)} greedy tokens equal, {far} more than {args.gap} off, "
        f"largest gap {worst:.4f}, logits spread {logits.std():.3f}"
    )
    experts = int(llama.metadata.get(f"{llama.metadata['general.architecture']}.expert_count", 0))
    allowed = max(1, len(ids) // 50) if experts else 0
    return int(far > allowed)


if __name__ == "__main__":
    sys.exit(main())
