"""The models to compare on: synthetic mixtures of experts, small real dense models, or any GGUF file."""

import os
from dataclasses import dataclass
from pathlib import Path

from failure import Failure

ROOT = Path(__file__).resolve().parents[2]

# Layers to write where the preset's own would not fit a small machine.
LAYERS = {"qwen3-30b-a3b": 8}
# Presets whose vocabulary is cut, which saves disk.
CUT_VOCAB = {"qwen3-30b-a3b"}
DENSE = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma3": "gemma-3-270m-q4_k_m.gguf",
}
DEFAULT = "qwen3-30b-a3b,moe-deep,smollm2,gemma3"
QUANTS = "q8_0,q4_0,q4_k"


@dataclass
class Subject:
    """A model to compare on; one to be written has the arguments of `laminar synth`."""

    name: str
    path: Path
    synth: tuple = None

    def ensure(self, laminar, say):
        """Writes the file unless it is there."""
        if self.synth is None or self.path.is_file():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        say(f"writing {self.path}")
        laminar.synth(*self.synth, self.path)

    def drop(self):
        if self.synth is not None:
            self.path.unlink(missing_ok=True)


def select(names, quants, arguments, say):
    """The models of a comma-separated list: NAME, PRESET:LAYERS or a path."""
    subjects = []
    asked = names or DEFAULT
    for name in filter(None, (name.strip() for name in asked.split(","))):
        if name.endswith(".gguf"):
            path = Path(name).expanduser().absolute()
            if not path.is_file():
                raise Failure(f"--models: {name}: no such file")
            subjects.append(Subject(path.stem, path))
        elif name in DENSE:
            path = dense_folder(arguments) / DENSE[name]
            if path.is_file():
                subjects.append(Subject(name, path))
            elif names:
                raise Failure(f"--models: {name}: no {path}; fetch it with tools/models/fetch.py --all")
            else:
                say(f"{name}: no {path}, left out; tools/models/fetch.py --all fetches it")
        else:
            subjects += synthetic(name, quants, arguments)
    if not subjects:
        raise Failure("--models: name at least one")
    return subjects


def synthetic(name, quants, arguments):
    preset, _, layers = name.partition(":")
    if layers and not layers.isdigit():
        raise Failure(f"--models: {name}: what follows the colon is a number of layers")
    layers = int(layers) if layers else LAYERS.get(preset)
    vocab = arguments.vocab if preset in CUT_VOCAB else None
    label = preset + (f"-{layers}l" if layers else "")
    folder = arguments.work / "models"
    for quant in filter(None, (quant.strip().lower() for quant in quants.split(","))):
        file = label + (f"-v{vocab}" if vocab else "") + f"-{quant}.gguf"
        yield Subject(f"{label} {quant}", folder / file, (preset, layers, quant, vocab))


def dense_folder(arguments):
    return Path(arguments.dense or os.environ.get("LAMINAR_TEST_MODELS") or ROOT / "target" / "models").expanduser()


def describe(inspected):
    """What the bars and the report need of `laminar inspect`."""
    types = inspected["by_type"]
    return {
        "architecture": inspected["architecture"],
        "kind": "moe" if any(layer.get("experts") for layer in inspected["layers"]) else "dense",
        "weight_type": max(types, key=lambda name: types[name]["bytes"]),
        "layers": len(inspected["layers"]),
        "vocab": inspected["vocab_size"],
        "context_length": inspected["context_length"],
        "parameters": inspected["parameters"],
        "bytes": inspected["total_bytes"],
    }
