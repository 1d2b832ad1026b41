"""Just enough of GGUF v3 to copy a file with other tensors and a few changed keys. Standard library only.

Metadata values are carried as raw bytes, so nothing is lost that this reader does not interpret. Format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from dataclasses import dataclass

UINT32, STRING, ARRAY = 4, 8, 9
FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# ggml type -> (name, values in a block, bytes of a block)
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
}
ALIGNMENT = 32


class GgufError(Exception):
    pass


@dataclass
class Tensor:
    """`shape` is in GGUF's order: columns first. `parts` are byte strings that together are the data."""

    name: str
    kind: int
    shape: tuple
    parts: list

    def row_bytes(self):
        _, values, size = TYPES[self.kind]
        return self.shape[0] // values * size


class Reader:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
        self.at = 0
        magic, version, tensors, keys = self.take("4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise GgufError(f"{path}: not a GGUF file of version 2 or 3")
        self.metadata = {}
        for _ in range(keys):
            key = self.string()
            start = self.at
            self.skip_value(self.take("I")[0])
            self.metadata[key] = bytes(self.data[start : self.at])
        infos = []
        for _ in range(tensors):
            name, dims = self.string(), self.take("I")[0]
            infos.append((name, self.take(f"{dims}Q"), *self.take("IQ")))
        base = -(-self.at // ALIGNMENT) * ALIGNMENT
        self.tensors = []
        for name, shape, kind, offset in infos:
            if kind not in TYPES:
                raise GgufError(f"{path}: tensor {name} has type {kind}, which this tool does not copy")
            _, values, size = TYPES[kind]
            count = 1
            for d in shape:
                count *= d
            length = count // values * size
            if base + offset + length > len(self.data):
                raise GgufError(f"{path}: tensor {name} lies past the end of the file")
            self.tensors.append(Tensor(name, kind, shape, [self.data[base + offset : base + offset + length]]))

    def take(self, layout):
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def string(self):
        length = self.take("Q")[0]
        text = bytes(self.data[self.at : self.at + length])
        self.at += length
        return text.decode()

    def skip_value(self, kind):
        if kind in FIXED:
            self.at += FIXED[kind]
        elif kind == STRING:
            length = self.take("Q")[0]
            self.at += length
        elif kind == ARRAY:
            inner, count = self.take("IQ")
            if inner in FIXED:
                self.at += FIXED[inner] * count
            else:
                for _ in range(count):
                    self.skip_value(inner)
        else:
            raise GgufError(f"unknown metadata type {kind}")

    def text(self, key):
        raw = self.metadata[key]
        return raw[12:].decode()

    def number(self, key):
        kind = struct.unpack_from("<I", self.metadata[key])[0]
        return struct.unpack_from({UINT32: "<I", 10: "<Q", 5: "<i"}[kind], self.metadata[key], 4)[0]


def uint32(value):
    return struct.pack("<II", UINT32, value)


def string(value):
    raw = value.encode()
    return struct.pack("<IQ", STRING, len(raw)) + raw


def write(path, metadata, tensors):
    """Version 3; tensor data in the given order, each aligned to 32 bytes."""
    with open(path, "wb") as out:
        out.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
        for key, raw in metadata.items():
            out.write(struct.pack("<Q", len(key)) + key.encode() + raw)
        offset = 0
        for t in tensors:
            out.write(struct.pack("<Q", len(t.name)) + t.name.encode())
            out.write(struct.pack(f"<I{len(t.shape)}QIQ", len(t.shape), *t.shape, t.kind, offset))
            offset += -(-sum(map(len, t.parts)) // ALIGNMENT) * ALIGNMENT
        out.write(bytes(-out.tell() % ALIGNMENT))
        for t in tensors:
            for part in t.parts:
                out.write(part)
            out.write(bytes(-out.tell() % ALIGNMENT))
