#!/usr/bin/env python3
"""Byte fixtures for the block formats, from the `gguf` package and llama.cpp (pip install gguf numpy; LLAMA_CPP_LIB_PATH
is the folder with llama.cpp's libraries).

For each format two files: `NAME.bin`, blocks as a GGUF file stores them, and `NAME.f32`, their values as
little-endian floats by `gguf.quants.dequantize`. For the formats that gguf can also quantise there is
`NAME.in.f32`, the values that were quantised to `NAME.bin`; the K formats get random bytes with scales of
sane size. MXFP4 has a third pair, `MXFP4.every`, with every scale byte. `weights.f32` has weights of several kinds, and
`weights.NAME.bin` what llama.cpp makes of them in the K formats, as a bar for our own search.

Usage: LLAMA_CPP_LIB_PATH=... quant_fixtures.py [crates/laminar-kernels/tests/fixtures]
"""

import ctypes
import os
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

SIMPLE = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.BF16, Type.F16]
# Later than the K formats, so that the random numbers of those stay as they were.
LATER = [Type.MXFP4]
# Block bytes and where the f16 scales of a block are.
K = {
    Type.Q4_K: (144, [0, 2]),
    Type.Q5_K: (176, [0, 2]),
    Type.Q6_K: (210, [208]),
}


def values(rng: np.random.Generator) -> np.ndarray:
    """Blocks of very different size, and the special ones: all zero, one value only, equal values."""
    x = rng.standard_normal((16, 32)) * 10.0 ** rng.uniform(-3, 2, (16, 1))
    x[0] = 0.0
    x[1] = 0.0
    x[1, 5] = -3.0
    x[2] = 0.25
    return x.astype(np.float32)


def main() -> None:
    default = pathlib.Path(__file__).parents[2] / "crates/laminar-kernels/tests/fixtures"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for ty in SIMPLE:
        write_quantised(out, ty, values(rng))
    for ty, (size, scales) in K.items():
        data = rng.integers(0, 256, (4, size), dtype=np.uint8)
        for at in scales:
            scale = rng.uniform(0.001, 0.05, 4).astype("<f2").view(np.uint8).reshape(4, 2)
            data[:, at : at + 2] = scale
        write(out, ty.name, ty, data)
    for ty in LATER:
        write_quantised(out, ty, values(rng))
    # Every scale, each with every nibble in a low or a high place.
    data = np.empty((256, 17), dtype=np.uint8)
    data[:, 0] = np.arange(256)
    data[:, 1:] = np.arange(16) + 16 * ((np.arange(16) + np.arange(256)[:, None]) % 16)
    write(out, "MXFP4.every", Type.MXFP4, data)
    write_weights(out, rng)


def write_weights(out: pathlib.Path, rng: np.random.Generator) -> None:
    """Twelve rows of 256 of each kind, in the order of the test's names."""
    shape = (12, 256)
    grid = (rng.integers(0, 16, shape) - rng.integers(4, 12, (12, 8)).repeat(32, 1)) * rng.uniform(0.5, 2, (12, 8)).repeat(32, 1)
    kinds = [
        rng.standard_normal(shape),
        rng.standard_t(4, shape),
        rng.standard_normal(shape) + 0.8,
        rng.standard_normal(shape) * 10.0 ** rng.uniform(-1, 1, (12, 16)).repeat(16, 1),
        grid,
    ]
    weights = (0.02 * np.concatenate(kinds)).astype("<f4")
    (out / "weights.f32").write_bytes(weights.tobytes())
    ggml = ctypes.CDLL(str(pathlib.Path(os.environ["LLAMA_CPP_LIB_PATH"]) / "libggml-base.so"))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    floats, whole = ctypes.POINTER(ctypes.c_float), ctypes.c_int64
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, floats, ctypes.c_void_p, whole, whole, whole, floats]
    for ty, (size, _) in K.items():
        blocks = np.empty(len(weights) * size, dtype=np.uint8)
        written = ggml.ggml_quantize_chunk(
            ty.value, weights.ctypes.data_as(floats), blocks.ctypes.data, 0, len(weights), 256, None
        )
        assert written == blocks.size, ty
        (out / f"weights.{ty.name}.bin").write_bytes(blocks.tobytes())


def write_quantised(out: pathlib.Path, ty: Type, x: np.ndarray) -> None:
    (out / f"{ty.name}.in.f32").write_bytes(x.astype("<f4").tobytes())
    write(out, ty.name, ty, quants.quantize(x, ty))


def write(out: pathlib.Path, name: str, ty: Type, data: np.ndarray) -> None:
    (out / f"{name}.bin").write_bytes(data.tobytes())
    back = quants.dequantize(data, ty)
    (out / f"{name}.f32").write_bytes(back.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
