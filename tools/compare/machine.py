"""What a reader needs to know of the machine."""

import os
import platform

# The processor features that decide which kernels run.
FLAGS = (
    "avx2 fma f16c avx_vnni avx512f avx512bw avx512dq avx512vl avx512vbmi avx512_vnni avx512_bf16 amx_int8"
    " asimddp i8mm sve"
).split()


def describe(threads):
    info = cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "family": info.get("cpu family"),
        "model": info.get("model"),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_bytes": memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def cpuinfo():
    """The lines about the first processor."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = file.read().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def memory():
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
