"""The tiny mixture-of-experts language model that Laminar embeds, in plain PyTorch.

The architecture is Qwen3-MoE (so that the export is a GGUF of arch `qwen3moe`): pre-norm RMSNorm, grouped-query
attention with RMSNorm on each query and key head, rotary embedding in the half-split (NeoX) style, a softmax router
over all experts whose top-k weights are renormalised, SiLU-gated experts, and an output matrix tied to the embedding.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class TinyConfig:
    vocab: int = 4096
    layers: int = 6
    hidden: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 16
    top_k: int = 2
    expert_width: int = 128
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6
    context: int = 2048

    def to_dict(self):
        return asdict(self)


def rms_norm(x, weight, eps):
    """RMSNorm in f32, whatever the type autocast gave its input."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rope_tables(config, length):
    """Cosines and sines [length, head_dim / 2]."""
    steps = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    angles = torch.outer(torch.arange(length).float(), config.rope_theta**-steps)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Rotates [batch, heads, length, head_dim]; element i is paired with element i + head_dim / 2."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q = nn.Linear(c.hidden, c.heads * c.head_dim, bias=False)
        self.k = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.v = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.o = nn.Linear(c.heads * c.head_dim, c.hidden, bias=False)
        self.q_norm = nn.Parameter(torch.ones(c.head_dim))
        self.k_norm = nn.Parameter(torch.ones(c.head_dim))

    def forward(self, x, cos, sin, mask):
        c, (batch, length, _) = self.c, x.shape
        q = self.q(x).view(batch, length, c.heads, c.head_dim)
        k = self.k(x).view(batch, length, c.kv_heads, c.head_dim)
        v = self.v(x).view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        q = rotate(rms_norm(q, self.q_norm, c.norm_eps).transpose(1, 2), cos, sin).to(v.dtype)
        k = rotate(rms_norm(k, self.k_norm, c.norm_eps).transpose(1, 2), cos, sin).to(v.dtype)
        group = c.heads // c.kv_heads
        if mask is None:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            # At these lengths plain products are twice as fast on the CPU as the fused kernel with a mask.
            q = (q * c.head_dim**-0.5).reshape(batch, c.kv_heads, group * length, c.head_dim)
            scores = (q @ k.transpose(-1, -2)).view(batch, c.kv_heads, group, length, length)
            shares = scores.masked_fill(~mask[:, :, None], float("-inf")).softmax(-1, dtype=v.dtype)
            y = (shares.view(batch, c.kv_heads, group * length, length) @ v).view(batch, c.heads, length, c.head_dim)
        return self.o(y.transpose(1, 2).reshape(batch, length, -1))


class Experts(nn.Module):
    """Router and experts. Rows are sorted by expert so that each expert is one dense product over its rows."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.router = nn.Parameter(torch.empty(c.experts, c.hidden))
        self.gate = nn.Parameter(torch.empty(c.experts, c.expert_width, c.hidden))
        self.up = nn.Parameter(torch.empty(c.experts, c.expert_width, c.hidden))
        self.down = nn.Parameter(torch.empty(c.experts, c.hidden, c.expert_width))

    def forward(self, x):
        c = self.c
        rows = x.reshape(-1, c.hidden)
        with torch.autocast("cpu", enabled=False):
            probabilities = (rows.float() @ self.router.t()).softmax(-1)
            weights, chosen = probabilities.topk(c.top_k, -1)
            weights = weights / weights.sum(-1, keepdim=True)
        flat = chosen.reshape(-1)
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=c.experts)
        source = order // c.top_k
        # `unbind` and `split` give one gradient for all experts; indexing would give one full-size gradient each.
        parts = rows.index_select(0, source).split(counts.tolist())
        gates, ups, downs = self.gate.unbind(0), self.up.unbind(0), self.down.unbind(0)
        y = torch.cat(
            [F.linear(F.silu(F.linear(p, gates[e])) * F.linear(p, ups[e]), downs[e]) for e, p in enumerate(parts)]
        )
        y = y * weights.reshape(-1).index_select(0, order).unsqueeze(-1).to(y.dtype)
        out = torch.zeros(rows.shape[0], c.hidden, dtype=y.dtype).index_add(0, source, y)
        # Load balancing as in Switch Transformers: experts * sum(share of choices * mean probability), 1 at best.
        share = counts.float() / flat.numel()
        balance = c.experts * (share * probabilities.mean(0)).sum()
        return out.view_as(x), balance, counts


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.attention_norm = nn.Parameter(torch.ones(c.hidden))
        self.attention = Attention(c)
        self.expert_norm = nn.Parameter(torch.ones(c.hidden))
        self.experts = Experts(c)

    def forward(self, x, cos, sin, mask):
        x = x + self.attention(rms_norm(x, self.attention_norm, self.c.norm_eps), cos, sin, mask)
        y, balance, counts = self.experts(rms_norm(x, self.expert_norm, self.c.norm_eps))
        return x + y, balance, counts


class TinyMoe(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embedding = nn.Parameter(torch.empty(c.vocab, c.hidden))
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.output_norm = nn.Parameter(torch.ones(c.hidden))
        cos, sin = rope_tables(c, c.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset()

    @torch.no_grad()
    def reset(self):
        """Random weights; matrices that write to the residual stream start smaller with depth."""
        for name, p in self.named_parameters():
            if name.endswith("norm"):
                p.fill_(1.0)
            elif name == "embedding" or name.endswith("router"):
                p.normal_(0, 0.02)
            else:
                p.normal_(0, 1 / math.sqrt(p.shape[-1]))
                if name.endswith(("o.weight", "down")):
                    p.mul_(1 / math.sqrt(2 * self.c.layers))

    def hidden(self, tokens, mask=None):
        """Normalised final states [batch, length, hidden], mean balance loss, choices per layer and expert."""
        x = F.embedding(tokens, self.embedding)
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        balances, counts = [], []
        for layer in self.layers:
            x, balance, count = layer(x, cos, sin, mask)
            balances.append(balance)
            counts.append(count)
        return rms_norm(x, self.output_norm, self.c.norm_eps), torch.stack(balances).mean(), torch.stack(counts)

    def forward(self, tokens, mask=None):
        """Logits [batch, length, vocab]."""
        return F.linear(self.hidden(tokens, mask)[0], self.embedding)
