"""Struct layouts of llama.cpp's C API, read from its own header.

llama.cpp passes its parameters by value, and their fields change from week to week. The header that belongs to a
library says how they lie; a layout written down here would fit one version and corrupt the next.
"""

import ctypes
import re

SCALARS = {
    "bool": ctypes.c_bool,
    "float": ctypes.c_float,
    "int": ctypes.c_int,
    "int8_t": ctypes.c_int8,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "llama_pos": ctypes.c_int32,
    "llama_seq_id": ctypes.c_int32,
    "llama_token": ctypes.c_int32,
}


class HeaderError(Exception):
    pass


def read(header, names):
    """The structs with these names as ctypes classes, from the header's path. Pointers become `c_void_p`."""
    try:
        text = header.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise HeaderError(f"{header}: {error.strerror}") from None
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    return [parse(text, name, header) for name in names]


def parse(text, name, header):
    body = re.search(rf"\bstruct\s+{name}\s*\{{([^{{}}]*)\}}", text)
    if body is None:
        raise HeaderError(f"{header}: no struct {name}")
    fields = []
    for declaration in filter(None, (part.strip() for part in body.group(1).split(";"))):
        match = re.fullmatch(r"(.*?)(\w+)", declaration, flags=re.DOTALL)
        kind = match.group(1).split() if match else []
        fields.append((match.group(2) if match else "", field_type(kind, declaration, name, header)))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def field_type(kind, declaration, name, header):
    if any("*" in word for word in kind) or (kind and kind[-1].endswith("_callback")):
        return ctypes.c_void_p
    if "enum" in kind:
        return ctypes.c_int
    if kind and kind[-1] in SCALARS:
        return SCALARS[kind[-1]]
    raise HeaderError(f"{header}: struct {name} has a field of a kind unknown here: {' '.join(declaration.split())}")
