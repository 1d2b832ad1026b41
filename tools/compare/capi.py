"""llama.cpp and ik_llama.cpp behind one face: the few calls of their C API that a measurement needs.

The two have drifted apart; what differs is told from the struct fields and symbols that a library has.
"""

import ctypes
import json
import re
import sys
from pathlib import Path

import structs

GGML_TYPE_F16 = 1


class PeerError(Exception):
    pass


class Library:
    """A loaded `libllama`."""

    def __init__(self, path, header):
        names = ["llama_model_params", "llama_context_params", "llama_batch"]
        self.model_params, self.context_params, self.batch = structs.read(Path(header), names)
        try:
            self.lib = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise PeerError(f"could not load {path}: {error}") from None
        self.log = []
        self.quiet()
        self.call("llama_backend_init")

    def has(self, name):
        return hasattr(self.lib, name)

    def call(self, name, *args, result=None):
        """Calls a function; an int is passed as a C int, so pointers and sizes come wrapped."""
        if not self.has(name):
            raise PeerError(f"{self.lib._name} has no function {name}")
        function = getattr(self.lib, name)
        function.restype = result
        return function(*args)

    def quiet(self):
        """Keeps the library's messages instead of printing them."""

        def keep(_level, text, _data):
            self.log = (self.log + [text.decode(errors="replace").strip()])[-50:]

        self.sink = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(keep)
        self.call("llama_log_set", self.sink, None)

    def trouble(self):
        """The library's last word about an error, if it said one."""
        lines = [line for line in self.log if re.search(r"error|fail|unable|unsupported|unknown", line, re.IGNORECASE)]
        return f" ({lines[-1]})" if lines else ""

    def text(self, name):
        """What a function without arguments says, or None where the library lacks it."""
        return (self.call(name, result=ctypes.c_char_p) or b"").decode().strip() if self.has(name) else None


class Model:
    """A model file opened by a library, repacked for the CPU as the library does it best."""

    def __init__(self, library, path):
        self.library = library
        params = library.call("llama_model_default_params", result=library.model_params)
        params.n_gpu_layers = 0
        if hasattr(params, "repack_tensors"):
            # ik_llama.cpp's -rtr; llama.cpp repacks by itself.
            params.repack_tensors, params.use_mmap = True, False
        self.handle = library.call("llama_model_load_from_file", str(path).encode(), params, result=ctypes.c_void_p)
        if not self.handle:
            raise PeerError(f"could not load {path}{library.trouble()}")
        vocab = library.call("llama_model_get_vocab", ctypes.c_void_p(self.handle), result=ctypes.c_void_p)
        self.vocab = library.call("llama_vocab_n_tokens", ctypes.c_void_p(vocab), result=ctypes.c_int32)


class Session:
    """A context of a model: its KV cache and buffers, closed at the end of a `with`."""

    def __init__(self, model, settings, threads, cells, sequences):
        self.library, self.vocab = model.library, model.vocab
        library = model.library
        params = library.call("llama_context_default_params", result=library.context_params)
        if (params.n_batch, params.n_ubatch, params.type_k) != (2048, 512, GGML_TYPE_F16):
            raise PeerError("the defaults of the library do not lie where its header says; is it the right header?")
        params.n_ctx, params.n_seq_max = cells, sequences
        params.n_ubatch = settings["ubatch"]
        params.n_threads = params.n_threads_batch = threads
        if hasattr(params, "flash_attn_type"):
            params.flash_attn_type = int(settings["flash"])
        else:
            params.flash_attn = settings["flash"]
        if hasattr(params, "kv_unified"):
            params.kv_unified = settings["unified"]
        if hasattr(params, "swa_full"):
            params.swa_full = False
        handle = library.call("llama_init_from_model", ctypes.c_void_p(model.handle), params, result=ctypes.c_void_p)
        if not handle:
            raise PeerError(f"could not make a context{library.trouble()}")
        self.handle = ctypes.c_void_p(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.call("llama_free", self.handle)

    def rows(self, rows):
        """A batch of (token, position, sequence, wants logits); it keeps its arrays alive."""
        count = len(rows)
        tokens, positions, sequences, logits = zip(*rows)
        numbers = ctypes.c_int32 * count
        ids = [(ctypes.c_int32 * 1)(sequence) for sequence in sequences]
        arrays = {
            "token": numbers(*tokens),
            "pos": numbers(*positions),
            "n_seq_id": numbers(*[1] * count),
            "seq_id": (ctypes.c_void_p * count)(*map(ctypes.addressof, ids)),
            "logits": (ctypes.c_int8 * count)(*logits),
        }
        batch = self.library.batch(n_tokens=count, **{name: ctypes.addressof(array) for name, array in arrays.items()})
        batch.alive = (arrays, ids)
        return batch

    def prompt(self, tokens, sequence=0):
        """A batch that is a whole prompt, with the logits of its last token."""
        last = len(tokens) - 1
        return self.rows([(token, at, sequence, at == last) for at, token in enumerate(tokens)])

    def decode(self, batch):
        code = self.library.call("llama_decode", self.handle, batch, result=ctypes.c_int32)
        self.library.call("llama_synchronize", self.handle)
        if code:
            raise PeerError(f"llama_decode answered {code}{self.library.trouble()}")

    def last_logits(self):
        """The logits of the last row of the last batch."""
        row = ctypes.c_int32(-1)
        logits = self.library.call("llama_get_logits_ith", self.handle, row, result=ctypes.POINTER(ctypes.c_float))
        if not logits:
            raise PeerError("no logits came out of llama_decode")
        return logits[: self.vocab]

    def clear(self):
        if self.library.has("llama_get_memory"):
            memory = self.library.call("llama_get_memory", self.handle, result=ctypes.c_void_p)
            self.library.call("llama_memory_clear", ctypes.c_void_p(memory), True)
        else:
            self.library.call("llama_kv_cache_clear", self.handle)

    def share(self, source, targets):
        """Lets the sequences in `targets` see the KV cells of `source`."""
        memory, call = self.handle, "llama_kv_cache_seq_cp"
        if self.library.has("llama_get_memory"):
            memory = ctypes.c_void_p(self.library.call("llama_get_memory", self.handle, result=ctypes.c_void_p))
            call = "llama_memory_seq_cp"
        for target in targets:
            self.library.call(call, memory, *map(ctypes.c_int32, (source, target, -1, -1)))

    def copy(self, source, targets):
        """Gives the sequences in `targets` the KV of `source`, in cells of their own."""
        size_t, number = ctypes.c_size_t, ctypes.c_int32
        # The last argument, flags, exists in some versions only; the others do not look at it.
        state = "llama_state_seq"
        size = self.library.call(f"{state}_get_size", self.handle, number(source), number(0), result=size_t)
        data = (ctypes.c_uint8 * size)()
        args = (self.handle, data, size_t(size))
        if not self.library.call(f"{state}_get_data", *args, number(source), number(0), result=size_t):
            raise PeerError(f"could not save the state of a sequence{self.library.trouble()}")
        for target in targets:
            if not self.library.call(f"{state}_set_data", *args, number(target), number(0), result=size_t):
                raise PeerError(f"could not copy a sequence{self.library.trouble()}")


def main():
    """Prints what the library at a path says of itself, as JSON."""
    library = Library(*sys.argv[1:3])
    about = {"version": library.text("llama_version"), "system_info": library.text("llama_print_system_info")}
    print(json.dumps(about))


if __name__ == "__main__":
    try:
        main()
    except (PeerError, structs.HeaderError) as error:
        sys.exit(str(error))
