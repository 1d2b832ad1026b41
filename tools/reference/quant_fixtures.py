#!/usr/bin/env python3
"""Byte fixtures for the block formats, from the `gguf` package (pip install gguf numpy).

For each format two files: `NAME.bin`, blocks as a GGUF file stores them, and `NAME.f32`, their values as
little-endian floats by `gguf.quants.dequantize`. For the formats that gguf can also quantise there is
`NAME.in.f32`, the values that were quantised to `NAME.bin`; the K formats get random bytes with scales of
sane size. MXFP4 has a third pair, `MXFP4.every`, with every scale byte.

Usage: quant_fixtures.py [crates/laminar-kernels/tests/fixtures]
"""

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


def write_quantised(out: pathlib.Path, ty: Type, x: np.ndarray) -> None:
    (out / f"{ty.name}.in.f32").write_bytes(x.astype("<f4").tobytes())
    write(out, ty.name, ty, quants.quantize(x, ty))


def write(out: pathlib.Path, name: str, ty: Type, data: np.ndarray) -> None:
    (out / f"{name}.bin").write_bytes(data.tobytes())
    back = quants.dequantize(data, ty)
    (out / f"{name}.f32").write_bytes(back.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
