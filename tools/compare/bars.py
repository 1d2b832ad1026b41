"""The bars that Laminar means to clear, and whether it does."""

from fnmatch import fnmatch

LAMINAR = "laminar"
LLAMA = "llama.cpp"
IK = "ik_llama.cpp"
# Not a side: the share of the measured read bandwidth that the weights a step reads take.
READ = "read bandwidth"

# kind of model, type of its weights (* for any), test, beside what, at least how many times (or what share)
BARS = [
    ("moe", "Q8_0", "prefill-512", LLAMA, 2.2),
    ("moe", "Q4_0", "prefill-512", LLAMA, 2.5),
    ("moe", "Q4_K", "prefill-512", LLAMA, 2.2),
    ("moe", "*", "prefill-2048", LLAMA, 2.0),
    ("moe", "Q8_0", "prefill-512", IK, 1.2),
    ("moe", "Q4_0", "prefill-512", IK, 1.5),
    ("moe", "Q4_K", "prefill-512", IK, 1.05),
    ("moe", "*", "decode-1", IK, 1.1),
    ("moe", "*", "decode-1", READ, 0.75),
    ("moe", "*", "decode-8*", IK, 1.2),
    ("moe", "*", "decode-16*", IK, 1.2),
    ("dense", "*", "prefill-*", LLAMA, 1.3),
    ("dense", "*", "decode-*", LLAMA, 1.0),
]


def bar(kind, weight_type, test, beside):
    """The bar of a comparison, or None."""
    for of_kind, of_type, of_test, of_side, least in BARS:
        if of_kind == kind and fnmatch(weight_type, of_type) and fnmatch(test, of_test) and of_side == beside:
            return least
    return None
