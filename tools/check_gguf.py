"""Check Laminar's GGUF reader against the `gguf` package from PyPI.

usage: check_gguf.py path/to/laminar FILE.gguf ...

For each file the architecture and every tensor's name, type, shape and size must be the same. Exit code 1 otherwise.
"""

import json
import subprocess
import sys

from gguf import GGUFReader


def check(laminar: str, path: str) -> bool:
    ours = json.loads(subprocess.run([laminar, "inspect", "--json", path], check=True, stdout=subprocess.PIPE).stdout)
    reader = GGUFReader(path)
    theirs = [
        {"name": t.name, "type": t.tensor_type.name, "shape": [int(d) for d in reversed(t.shape)], "bytes": int(t.n_bytes)}
        for t in reader.tensors
    ]
    problems = [f"{a} != {b}" for a, b in zip(ours["tensors"], theirs) if a != b]
    if len(ours["tensors"]) != len(theirs):
        problems.append(f"{len(ours['tensors'])} tensors != {len(theirs)}")
    architecture = reader.fields["general.architecture"].contents()
    if ours["architecture"] != architecture:
        problems.append(f"architecture {ours['architecture']} != {architecture}")
    for problem in problems:
        print(f"{path}: {problem}")
    print(f"{path}: {len(theirs)} tensors, {len(problems)} differences")
    return not problems


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(0 if all([check(sys.argv[1], path) for path in sys.argv[2:]]) else 1)
