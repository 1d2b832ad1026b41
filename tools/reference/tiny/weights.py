"""Random weights, MXFP4, and how clear the routing of a random mixture is."""

import torch
from safetensors.torch import load_file, save_file


@torch.no_grad()
def randomise(model, generator):
    for name, b in model.named_buffers():
        if name.endswith(("e_score_correction_bias", "expert_bias")):
            b.copy_(0.2 * torch.randn(b.shape, generator=generator))
        elif name.endswith("layer_scalar"):
            b.copy_(0.8 + 0.1 * torch.randn(b.shape, generator=generator))
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:
            # Gemma up to its third stores a norm's weight minus one.
            offset = model.config.model_type.startswith(("gemma2", "gemma3"))
            centre = 0.0 if "norm" not in name and "scale" not in name or offset else 1.0
            p.copy_(centre + 0.3 * noise)
        elif name.endswith("_bias"):
            p.copy_(0.3 * noise)
        elif "embed" in name:
            p.copy_(noise * (0.3 if model.config.tie_word_embeddings else 1.0))
        else:
            p.copy_(noise * 1.4 / p.shape[-1] ** 0.5)


FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def to_mxfp4(weight):
    """The two tensors of an [experts, inputs, outputs] weight in MXFP4, and the weight with their values."""
    rows = weight.transpose(1, 2).contiguous()
    blocks = rows.reshape(*rows.shape[:2], -1, 32)
    exponents = (torch.floor(torch.log2(blocks.abs().amax(-1))) - 2).clamp(-127, 127)
    scales = 2.0 ** exponents
    codes = (blocks / scales[..., None] - FP4[:, None, None, None, None]).abs().argmin(0)
    values = (FP4[codes] * scales[..., None]).reshape(rows.shape).transpose(1, 2).contiguous()
    pairs = codes[..., 0::2] | codes[..., 1::2] << 4
    return pairs.to(torch.uint8), (exponents + 127).to(torch.uint8), values


def save_mxfp4(model, folder):
    """Rewrites a saved folder as gpt-oss is published: the experts' matrices in MXFP4."""
    state = load_file(folder / "model.safetensors")
    for name in [n for n in state if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        blocks, scales, values = to_mxfp4(state.pop(name).float())
        assert torch.equal(values, dict(model.named_parameters())[name]), name
        state[name + "_blocks"], state[name + "_scales"] = blocks, scales
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def routing_margin(model, ids, output, top_k):
    """The smallest gap between the last chosen expert and the first one left out: rounding must not decide."""
    gaps = []
    if getattr(output, "router_logits", None) is None:
        # The choice by groups is not looked at: the whole model, a little perturbed, must choose the same.
        routers = [m for n, m in model.named_modules() if n.endswith((".mlp.gate", ".feed_forward.gate", ".router"))]
        choices = []
        for noise in (0.0, 1e-4, -1e-4):
            hooks = [r.register_forward_hook(lambda m, i, o: choices[-1].append(o[2].sort(-1).values)) for r in routers]
            choices.append([])
            # The corrections where there are some, otherwise the routers' weights.
            names = ("e_score_correction_bias", "weight", "proj")
            moved = [next(getattr(r, name) for name in names if hasattr(r, name)) for r in routers]
            moved = [getattr(m, "weight", m) for m in moved]
            kept = [m.clone() for m in moved]
            for m in moved:
                m += noise * torch.arange(m.numel()).sin().view(m.shape)
            model(ids)
            for m, old in zip(moved, kept):
                m.copy_(old)
            for hook in hooks:
                hook.remove()
        same = all(torch.equal(a, b) for other in choices[1:] for a, b in zip(choices[0], other))
        return 1.0 if same else 0.0
    for logits in output.router_logits:
        values = logits.softmax(-1).topk(top_k + 1).values
        gaps.append((values[:, top_k - 1] - values[:, top_k]).min().item())
    return min(gaps)
