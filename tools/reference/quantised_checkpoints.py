"""Writes tiny Llama checkpoints in the quantised formats that folders on the hub have, and what they mean.

    python3 quantised_checkpoints.py [OUT] [NAME ...]

Each folder in OUT (default crates/laminar-model/tests/fixtures) has random codes, scales and zero points in the layout of its
format. Values are then read back from the stored tensors by the format's definition, in f32, with functions of their own
(`read_*`) that share nothing with those that wrote them; a `transformers` model with these values gives the logits.
expected.safetensors holds `input_ids`, `logits`, and the values of two weights (`weight.NAME`). Needs the packages torch,
transformers and safetensors; Laminar's tests need none of them.
"""

import shutil

import torch
import transformers
from fixture_files import TOKENS, arguments, finish, write_config
from safetensors.torch import save_file
from tiny.shapes import DENSE, TOKEN_IDS, rope
from transformers import LlamaConfig, LlamaForCausalLM

GROUP = 32
# Small enough that attention does not enlarge what our 8-bit inputs of quantised products change.
SIZE = 0.6
CONFIG = DENSE | TOKEN_IDS | dict(rope_parameters=rope(10000.0))
# Which output each code of an AWQ word stands for, from the lowest bits on.
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
KEPT = ["model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"]


def words(codes, bits, dim):
    """Packs neighbours along `dim` into 32-bit words, the first in the lowest bits."""
    each = 32 // bits
    codes = codes.to(torch.int64).movedim(dim, -1)
    codes = codes.reshape(*codes.shape[:-1], -1, each)
    packed = sum(codes[..., i] << (bits * i) for i in range(each))
    packed = torch.where(packed >= 2**31, packed - 2**32, packed)
    return packed.movedim(-1, dim).to(torch.int32).contiguous()


def unwords(packed, bits, dim):
    each = 32 // bits
    shifts = torch.arange(each, dtype=torch.int64) * bits
    codes = (packed.to(torch.int64).movedim(dim, -1)[..., None] >> shifts) & (2**bits - 1)
    return codes.reshape(*codes.shape[:-2], -1).movedim(-1, dim)


def draw(generator, rows, cols, bits, groups):
    """Codes, scales that f16 holds, and zero points, as [out, in] and [out, groups]."""
    scale = (SIZE / cols**0.5 / 2 ** (bits - 2)) * (0.5 + torch.rand(rows, groups, generator=generator))
    codes = torch.randint(0, 2**bits, (rows, cols), generator=generator)
    zeros = torch.randint(2 ** (bits - 1) - 3, 2 ** (bits - 1) + 4, (rows, groups), generator=generator)
    return codes, scale.half(), zeros


def write_awq(generator, rows, cols):
    codes, scales, zeros = draw(generator, rows, cols, 4, cols // GROUP)
    order = torch.tensor(AWQ_ORDER)
    shuffled = lambda x: x.reshape(x.shape[0], -1, 8)[:, :, order].reshape(x.shape)
    return {
        "qweight": words(shuffled(codes.T), 4, 1),
        "qzeros": words(shuffled(zeros.T), 4, 1),
        "scales": scales.T.contiguous(),
    }


def read_awq(t):
    def outputs(packed):
        out = torch.empty(packed.shape[0], packed.shape[1] * 8, dtype=torch.int64)
        for place, output in enumerate(AWQ_ORDER):
            out[:, output::8] = (packed.to(torch.int64) >> (4 * place)) & 15
        return out

    codes, zeros = outputs(t["qweight"]), outputs(t["qzeros"])
    group = torch.arange(codes.shape[0]) // GROUP
    return ((codes - zeros[group]).float() * t["scales"].float()[group]).T


def writer_gptq(bits, symmetric, shuffled):
    def write(generator, rows, cols):
        codes, scales, zeros = draw(generator, rows, cols, bits, cols // GROUP)
        if symmetric:
            zeros = torch.full_like(zeros, 2 ** (bits - 1))
        groups = torch.arange(cols) // GROUP
        if shuffled:
            groups = groups[torch.randperm(cols, generator=generator)]
        return {
            "qweight": words(codes.T, bits, 0),
            # The first version of the format stores one less.
            "qzeros": words(zeros.T - 1, bits, 1),
            "scales": scales.T.contiguous(),
            "g_idx": groups.to(torch.int32),
        }

    return write


def reader_gptq(bits):
    def read(t):
        codes, zeros = unwords(t["qweight"], bits, 0), unwords(t["qzeros"], bits, 1) + 1
        group = t["g_idx"].long()
        return ((codes - zeros[group]).float() * t["scales"].float()[group]).T

    return read


def write_packed(generator, rows, cols):
    codes, scales, _ = draw(generator, rows, cols, 4, cols // GROUP)
    return {
        "weight_packed": words(codes, 4, 1),
        # Of bfloat16's precision, as checkpoints have them.
        "weight_scale": scales.float().bfloat16(),
        "weight_shape": torch.tensor([rows, cols], dtype=torch.int64),
    }


def read_packed(t):
    rows, cols = t["weight_shape"].tolist()
    codes = unwords(t["weight_packed"], 4, 1)[:, :cols] - 8
    return (codes.reshape(rows, -1, GROUP).float() * t["weight_scale"].float()[..., None]).reshape(rows, cols)


def write_int8(generator, rows, cols):
    codes = torch.randint(-127, 128, (rows, cols), generator=generator).to(torch.int8)
    scale = (SIZE / cols**0.5 / 60) * (0.5 + torch.rand(rows, 1, generator=generator))
    return {"weight": codes, "weight_scale": scale.bfloat16()}


def read_int8(t):
    return t["weight"].float() * t["weight_scale"].float()


def writer_fp8(block, ending):
    def write(generator, rows, cols):
        height, width = block or (1, cols)
        weight = (torch.randn(rows, cols, generator=generator) * 40).clamp(-448, 448).to(torch.float8_e4m3fn)
        shape = (-(-rows // height), -(-cols // width))
        scale = (SIZE / cols**0.5 / 40) * (0.5 + torch.rand(shape, generator=generator))
        return {"weight": weight, ending: scale if block else scale.bfloat16()}

    return write


def reader_fp8(block, ending):
    def read(t):
        weight = t["weight"].float()
        height, width = block or (1, weight.shape[1])
        scale = t[ending].float().repeat_interleave(height, 0).repeat_interleave(width, 1)
        return weight * scale[: weight.shape[0], : weight.shape[1]]

    return read


def compressed(kind, bits, form, **weights):
    weights = dict(num_bits=bits, type=kind, symmetric=True, dynamic=False) | weights
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    return dict(quant_method="compressed-tensors", format=form, config_groups={"group_0": group}, ignore=["lm_head"])


# Blocks that the last row and column of are cut short.
BLOCK = (40, 48)
GPTQ = dict(quant_method="gptq", group_size=GROUP, checkpoint_format="gptq")
# name -> (write, read, quantization_config)
FIXTURES = {
    "llama_awq": (
        write_awq,
        read_awq,
        dict(quant_method="awq", bits=4, group_size=GROUP, version="gemm", zero_point=True),
    ),
    "llama_gptq": (writer_gptq(4, True, False), reader_gptq(4), GPTQ | dict(bits=4, sym=True, desc_act=False)),
    "llama_gptq_act_order": (
        writer_gptq(4, False, True),
        reader_gptq(4),
        GPTQ | dict(bits=4, sym=False, desc_act=True),
    ),
    "llama_gptq_8bit": (writer_gptq(8, True, False), reader_gptq(8), GPTQ | dict(bits=8, sym=True, desc_act=False)),
    "llama_fp8": (
        writer_fp8(BLOCK, "weight_scale_inv"),
        reader_fp8(BLOCK, "weight_scale_inv"),
        dict(quant_method="fp8", activation_scheme="dynamic", weight_block_size=list(BLOCK)),
    ),
    "llama_w4a16": (write_packed, read_packed, compressed("int", 4, "pack-quantized", group_size=GROUP, strategy="group")),
    "llama_w8a8": (write_int8, read_int8, compressed("int", 8, "int-quantized", strategy="channel")),
    "llama_fp8_channel": (
        writer_fp8(None, "weight_scale"),
        reader_fp8(None, "weight_scale"),
        compressed("float", 8, "float-quantized", strategy="channel"),
    ),
}


@torch.no_grad()
def build(name, out):
    write, read, quantization = FIXTURES[name]
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(len(name))
    config = LlamaConfig(**CONFIG)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).float().eval()
    tensors, values = {}, {}
    for full, parameter in model.named_parameters():
        base = full.removesuffix(".weight")
        if full.endswith("_proj.weight"):
            parts = write(generator, *parameter.shape)
            tensors |= {f"{base}.{part}": tensor for part, tensor in parts.items()}
            weight = read(parts)
            parameter.copy_(weight)
            if base in KEPT:
                values[f"weight.{base}"] = weight.contiguous()
        else:
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                noise = 1.0 + 0.3 * noise
            elif "embed" not in full:
                noise = noise * 1.4 / parameter.shape[-1] ** 0.5
            parameter.copy_(noise.half().float())
            tensors[full] = parameter.half()
    ids = torch.randint(0, config.vocab_size, (1, TOKENS), generator=generator)
    logits = model(ids).logits[0].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"input_ids": ids[0].int(), "logits": logits} | values, folder / "expected.safetensors")
    written = config.to_dict()
    parameters = written.pop("rope_parameters")
    written |= {"rope_theta": parameters["rope_theta"], "rope_scaling": None, "architectures": ["LlamaForCausalLM"]}
    written["quantization_config"] = quantization
    written["torch_dtype"] = "float16"
    written.pop("dtype", None)
    write_config(folder, written)
    size = finish(folder)
    print(f"{name}: {len(tensors)} tensors, {size} bytes, logits std {logits.std():.2f} max {logits.abs().max():.2f}")


def main():
    out, names = arguments()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    for name in names or FIXTURES:
        build(name, out)


if __name__ == "__main__":
    main()
