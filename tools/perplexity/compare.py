"""Our quantised files beside llama.cpp's own: perplexity on one text, errors, and the types of all tensors.

    LLAMA_CPP_LIB_PATH=... python3 compare.py LAMINAR MODEL.gguf [MODEL.gguf ...] [--types q4_k_m,q8_0] [--chunks N] [--json FILE]

Each MODEL is brought to F32 first (`laminar quantize --type f32`), which is the common source of both sides. Then, for each
type, `laminar quantize` and llama.cpp's `llama_model_quantize` each make a file from it, and `laminar perplexity` scores
both on alice.txt. `error` is the root mean square of what quantisation changes, relative to that of the weights, over all
quantised tensors; both sides are read with the `gguf` package. The program ends with 1 where a type of a tensor differs, our
error is larger by more than 1 %, or the perplexities are more than 1 % apart.

Needs the packages llama-cpp-python (0.3.36 was used), gguf and numpy.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

TEXT = Path(__file__).resolve().parent / "alice.txt"
# llama.cpp's numbers for kinds of files.
FILE_TYPES = {
    "f16": 1,
    "q8_0": 7,
    "q6_k": 18,
    "q5_k_m": 17,
    "q5_k_s": 16,
    "q5_1": 9,
    "q5_0": 8,
    "q4_k_m": 15,
    "q4_k_s": 14,
    "q4_1": 3,
    "q4_0": 2,
    "bf16": 32,
    "mxfp4": 38,
}


def ours(laminar, source, out, kind):
    subprocess.run([laminar, "-q", "quantize", source, out, "--type", kind, "--force"], check=True)


def theirs(source, out, kind):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[kind]
    params.nthread = 2
    code = llama_cpp.llama_model_quantize(source.encode(), out.encode(), params)
    if code:
        raise SystemExit(f"llama.cpp could not make {out}: {code}")


def perplexity(laminar, path, chunks):
    command = [laminar, "-q", "perplexity", "--model", path, "--file", TEXT, "--json"]
    command += ["--chunks", str(chunks)] if chunks else []
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def values(tensor):
    kind = tensor.tensor_type.name
    if kind == "F32":
        return tensor.data.reshape(-1)
    if kind == "F16":
        return tensor.data.astype(np.float32).reshape(-1)
    return dequantize(tensor.data, tensor.tensor_type).reshape(-1)


def errors(source, files):
    """For each file: types of its tensors, and the relative error over those that are not stored as in the source."""
    original = {t.name: t for t in GGUFReader(source).tensors}
    found = []
    for file in files:
        types, wrong, power = {}, 0.0, 0.0
        for tensor in GGUFReader(file).tensors:
            types[tensor.name] = tensor.tensor_type.name
            if tensor.tensor_type != original[tensor.name].tensor_type:
                before, after = values(original[tensor.name]), values(tensor)
                for at in range(0, len(before), 1 << 22):
                    part = before[at : at + (1 << 22)]
                    wrong += float(np.sum((after[at : at + (1 << 22)] - part) ** 2, dtype=np.float64))
                    power += float(np.sum(part**2, dtype=np.float64))
        found.append((types, (wrong / power) ** 0.5 if power else 0.0))
    return found


def compare(laminar, model, kinds, chunks, folder):
    name = Path(model).stem
    source, mine, other = (str(folder / file) for file in ("source.gguf", "ours.gguf", "theirs.gguf"))
    ours(laminar, model, source, "f32")
    base = perplexity(laminar, source, chunks)
    print(f"\n{name}: F32 {base['perplexity']:.4f} ({base['scored_tokens']} tokens scored)\n")
    print("| type | ours | llama.cpp | apart | error, ours | llama.cpp |")
    print("|---|---|---|---|---|---|", flush=True)
    rows, good = [], True
    for kind in kinds:
        ours(laminar, source, mine, kind)
        theirs(source, other, kind)
        (types, error), (their_types, their_error) = errors(source, (mine, other))
        a, b = (perplexity(laminar, path, chunks)["perplexity"] for path in (mine, other))
        apart = a / b - 1
        print(f"| {kind} | {a:.4f} | {b:.4f} | {apart:+.2%} | {error:.5f} | {their_error:.5f} |", flush=True)
        different = [n for n in their_types if types.get(n) != their_types[n]]
        for tensor in different[:5]:
            print(f"  {tensor}: {types.get(tensor)}, llama.cpp has {their_types[tensor]}")
        good &= not different and abs(apart) <= 0.01 and error <= their_error * 1.01
        rows.append(dict(type=kind, ours=a, llama_cpp=b, error=error, llama_cpp_error=their_error, different=different))
    return dict(model=name, f32=base["perplexity"], scored_tokens=base["scored_tokens"], rows=rows), good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("laminar")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--types", default=",".join(k for k in FILE_TYPES if k != "mxfp4"))
    parser.add_argument("--chunks", type=int)
    parser.add_argument("--json")
    args = parser.parse_args()
    llama_cpp.llama_backend_init()
    # llama.cpp tells of every tensor otherwise.
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, None)
    with tempfile.TemporaryDirectory() as folder:
        results = [
            compare(args.laminar, model, args.types.split(","), args.chunks, Path(folder)) for model in args.models
        ]
    if args.json:
        Path(args.json).write_text(json.dumps([result for result, _ in results], indent=1) + "\n")
    sys.exit(0 if all(good for _, good in results) else 1)


if __name__ == "__main__":
    main()
