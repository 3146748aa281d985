#!/usr/bin/env python3
"""Times the recipe's training step in eager PyTorch on the CPU, as the peer that skymm's step is compared with.

A frozen ViT-B/16 at 224 pixels, a trainable Perceiver of depth 2 with 64 queries, and a frozen LLaMA-style decoder
with LoRA of rank 16 on all its linear layers, trained by AdamW: each sample is 64 visual tokens followed by 64 text
tokens, all of which are predicted. Weights are random, for speed does not depend on them. Prints one line of JSON.
Runs with PyTorch 1.13 and 2.x.
"""

import argparse
import json
import math
import os
import resource
import statistics
import time
from collections import namedtuple

# Before PyTorch loads OpenMP: threads that spin while they wait cost a shared machine a factor of two.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

Decoder = namedtuple("Decoder", "layers hidden heads kv_heads mlp vocabulary theta tied")
PRESETS = {
    "smollm2-135m": Decoder(30, 576, 9, 3, 1536, 49152, 1e5, True),
    "tinyllama-1.1b": Decoder(22, 2048, 32, 4, 5632, 32000, 1e4, False),
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}

VISION_WIDTH, VISION_HEADS, VISION_MLP, PATCH, IMAGE = 768, 12, 3072, 16, 224
PATCHES = (IMAGE // PATCH) ** 2
VISUAL_TOKENS, TEXT_TOKENS, PERCEIVER_DEPTH = 64, 64, 2
LORA_RANK, LORA_SCALE = 16, 2.0


class Weights:
    """Makes random weights by repeating one small block: a generator would take a minute for a billion values."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.block = (0.02 * torch.randn(1 << 16)).to(dtype)

    def frozen(self, *shape):
        count = math.prod(shape)
        return self.block.repeat(-(-count // self.block.numel()))[:count].clone().view(shape)

    def trainable(self, *shape):
        return nn.Parameter(self.frozen(*shape))

    def norm(self, width, trainable=False):
        pair = torch.ones(width, dtype=self.dtype), torch.zeros(width, dtype=self.dtype)
        return nn.ParameterList([nn.Parameter(t, requires_grad=trainable) for t in pair])


def layer_norm(x, norm):
    return F.layer_norm(x, (x.shape[-1],), norm[0], norm[1])


def rms_norm(x, weight):
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def split_heads(x, heads):
    """[B, T, heads * width] -> [B, heads, T, width]."""
    return x.unflatten(-1, (heads, x.shape[-1] // heads)).transpose(1, 2)


def merge_heads(x):
    return x.transpose(1, 2).flatten(2)


def attention(query, key, value, causal=False):
    """[B, heads, T, width] each. PyTorch 2's own fused attention where there is one, otherwise scores in full."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    batch, heads, length, width = query.shape
    query, key, value = (t.reshape(batch * heads, -1, width) for t in (query, key, value))
    mask = query.new_zeros(1, 1, 1)
    if causal:
        mask = torch.full((length, length), -math.inf, dtype=query.dtype).triu(1)
    scores = torch.baddbmm(mask, query, key.transpose(1, 2), beta=int(causal), alpha=width**-0.5)
    return torch.bmm(scores.softmax(-1), value).view(batch, heads, length, width)


class Vision:
    """Frozen CLIP-style ViT: images [B, 3, 224, 224] -> [B, 197, 768]."""

    def __init__(self, weights, blocks):
        w, width = weights.frozen, VISION_WIDTH
        self.patch, self.cls, self.position = w(width, 3, PATCH, PATCH), w(1, 1, width), w(PATCHES + 1, width)
        self.blocks = [
            dict(
                norm1=weights.norm(width), qkv=(w(3 * width, width), w(3 * width)), out=(w(width, width), w(width)),
                norm2=weights.norm(width), up=(w(VISION_MLP, width), w(VISION_MLP)),
                down=(w(width, VISION_MLP), w(width)),
            )
            for _ in range(blocks)
        ]  # fmt: skip

    @torch.no_grad()
    def __call__(self, images):
        # A strided convolution does the same as this GEMM over unfolded patches, slower in bf16.
        batch, side = images.shape[0], IMAGE // PATCH
        patches = images.view(batch, 3, side, PATCH, side, PATCH).permute(0, 2, 4, 1, 3, 5).reshape(batch, PATCHES, -1)
        x = F.linear(patches, self.patch.flatten(1))
        x = torch.cat([self.cls.expand(batch, -1, -1), x], dim=1) + self.position
        for block in self.blocks:
            qkv = F.linear(layer_norm(x, block["norm1"]), *block["qkv"]).chunk(3, dim=-1)
            x = x + F.linear(merge_heads(attention(*(split_heads(t, VISION_HEADS) for t in qkv))), *block["out"])
            hidden = F.linear(layer_norm(x, block["norm2"]), *block["up"])
            x = x + F.linear(hidden * torch.sigmoid(1.702 * hidden), *block["down"])
        return x


class Perceiver(nn.Module):
    """Flamingo's resampler and a projection: features [B, 197, 768] -> [B, 64, decoder's width]. All of it trains."""

    def __init__(self, weights, width_out):
        super().__init__()
        w, width = weights.trainable, VISION_WIDTH
        self.latents = w(VISUAL_TOKENS, width)
        self.layers = nn.ModuleList(
            nn.ParameterDict({
                "to_q": w(width, width), "to_kv": w(2 * width, width), "to_out": w(width, width),
                "up": w(4 * width, width), "down": w(width, 4 * width),
            })
            for _ in range(PERCEIVER_DEPTH)
        )  # fmt: skip
        # Of each layer: media, latents, feed-forward; and the last.
        self.norms = nn.ModuleList(weights.norm(width, trainable=True) for _ in range(3 * PERCEIVER_DEPTH + 1))
        self.projection = w(width_out, width)

    def forward(self, media):
        x = self.latents.unsqueeze(0).expand(media.shape[0], -1, -1)
        for i, layer in enumerate(self.layers):
            norm_media, norm_latents, norm_feed_forward = self.norms[3 * i : 3 * i + 3]
            latents = layer_norm(x, norm_latents)
            query = F.linear(latents, layer["to_q"])
            key, value = F.linear(torch.cat([layer_norm(media, norm_media), latents], dim=1), layer["to_kv"]).chunk(
                2, -1
            )
            mixed = merge_heads(attention(*(split_heads(t, VISION_HEADS) for t in (query, key, value))))
            x = x + F.linear(mixed, layer["to_out"])
            x = x + F.linear(F.gelu(F.linear(layer_norm(x, norm_feed_forward), layer["up"])), layer["down"])
        return F.linear(layer_norm(x, self.norms[-1]), self.projection)


class LoraLinear(nn.Module):
    """Frozen weight [out, in] with a trainable low-rank addition."""

    def __init__(self, weights, width_in, width_out):
        super().__init__()
        self.weight = weights.frozen(width_out, width_in)
        self.a = weights.trainable(LORA_RANK, width_in)
        self.b = nn.Parameter(torch.zeros(width_out, LORA_RANK, dtype=weights.dtype))

    def forward(self, x):
        return F.linear(x, self.weight) + LORA_SCALE * F.linear(F.linear(x, self.a), self.b)


class DecoderBlock(nn.Module):
    def __init__(self, weights, shape):
        super().__init__()
        self.shape = shape
        hidden, kv = shape.hidden, shape.hidden // shape.heads * shape.kv_heads
        self.norm1, self.norm2 = (torch.ones(hidden, dtype=weights.dtype) for _ in range(2))
        self.q, self.o = LoraLinear(weights, hidden, hidden), LoraLinear(weights, hidden, hidden)
        self.k, self.v = LoraLinear(weights, hidden, kv), LoraLinear(weights, hidden, kv)
        self.gate, self.up = LoraLinear(weights, hidden, shape.mlp), LoraLinear(weights, hidden, shape.mlp)
        self.down = LoraLinear(weights, shape.mlp, hidden)

    def forward(self, x, rotate):
        heads, kv_heads = self.shape.heads, self.shape.kv_heads
        y = rms_norm(x, self.norm1)
        query, key = rotate(split_heads(self.q(y), heads)), rotate(split_heads(self.k(y), kv_heads))
        value = split_heads(self.v(y), kv_heads)
        key, value = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (key, value))
        x = x + self.o(merge_heads(attention(query, key, value, causal=True)))
        y = rms_norm(x, self.norm2)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class LoraDecoder(nn.Module):
    """Visual tokens [B, 64, hidden] and token ids [B, 64] -> mean cross-entropy of the ids."""

    def __init__(self, weights, shape):
        super().__init__()
        self.embedding = weights.frozen(shape.vocabulary, shape.hidden)
        self.head = self.embedding if shape.tied else weights.frozen(shape.vocabulary, shape.hidden)
        self.norm = torch.ones(shape.hidden, dtype=weights.dtype)
        self.blocks = nn.ModuleList(DecoderBlock(weights, shape) for _ in range(shape.layers))
        width = shape.hidden // shape.heads
        frequencies = shape.theta ** (-torch.arange(0, width, 2) / width)
        angles = torch.outer(torch.arange(VISUAL_TOKENS + TEXT_TOKENS).float(), frequencies).repeat(1, 2)
        self.cos, self.sin = angles.cos().to(weights.dtype), angles.sin().to(weights.dtype)

    def rotate(self, x):
        first, second = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat([-second, first], dim=-1) * self.sin

    def forward(self, visual, ids):
        x = torch.cat([visual, F.embedding(ids, self.embedding)], dim=1)
        for block in self.blocks:
            x = block(x, self.rotate)
        # Logits of the positions with a label only: the last visual token predicts the first text token.
        x = rms_norm(x[:, VISUAL_TOKENS - 1 : -1], self.norm)
        return F.cross_entropy(F.linear(x, self.head).float().flatten(0, 1), ids.flatten())


def useful_gflop(shape, batch, blocks):
    """Of a step's matrix products, without recomputation or weight gradients of frozen weights (multiply-add = 2)."""
    tokens, seen = batch * (VISUAL_TOKENS + TEXT_TOKENS), batch * (PATCHES + 1)
    hidden, kv, width = shape.hidden, shape.hidden // shape.heads * shape.kv_heads, VISION_WIDTH
    linears = [(hidden, hidden)] * 2 + [(hidden, kv)] * 2 + [(hidden, shape.mlp)] * 3
    frozen = (
        2 * tokens * shape.layers * sum(i * o for i, o in linears) + 2 * batch * TEXT_TOKENS * hidden * shape.vocabulary
    )
    lora = 2 * tokens * shape.layers * LORA_RANK * sum(i + o for i, o in linears)
    scores = 4 * tokens * (VISUAL_TOKENS + TEXT_TOKENS) * hidden * shape.layers
    vision = 2 * seen * width * (blocks * (4 * width + 2 * VISION_MLP + 2 * (PATCHES + 1)) + 3 * PATCH * PATCH)
    latents, keys = batch * VISUAL_TOKENS, seen + batch * VISUAL_TOKENS
    perceiver = 2 * PERCEIVER_DEPTH * width * (latents * 10 * width + 2 * keys * width + 2 * VISUAL_TOKENS * keys)
    perceiver += 2 * latents * width * hidden
    return (vision + 2 * frozen + 3 * (lora + scores + perceiver)) / 1e9


def timed_step(vision, resampler, decoder, optimizer, images, ids):
    """Runs one training step; returns (seconds of each phase, loss)."""
    marks = [time.perf_counter()]
    features = vision(images)
    marks.append(time.perf_counter())
    loss = decoder(resampler(features), ids)
    marks.append(time.perf_counter())
    loss.backward()
    marks.append(time.perf_counter())
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    marks.append(time.perf_counter())
    return [end - start for start, end in zip(marks, marks[1:])], loss.item()


def measure(arguments):
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    dtype, shape = DTYPES[arguments.dtype], PRESETS[arguments.preset]
    weights = Weights(dtype)
    vision = Vision(weights, arguments.vision_blocks)
    resampler, decoder = Perceiver(weights, shape.hidden), LoraDecoder(weights, shape)
    trainable = [p for module in (resampler, decoder) for p in module.parameters()]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4)
    images = torch.randn(arguments.batch, 3, IMAGE, IMAGE).to(dtype)
    ids = torch.randint(0, shape.vocabulary, (arguments.batch, TEXT_TOKENS))

    inputs = vision, resampler, decoder, optimizer, images, ids
    for _ in range(arguments.warm_up):
        timed_step(*inputs)
    phases, losses = zip(*(timed_step(*inputs) for _ in range(arguments.steps)))
    steps = [sum(phase) for phase in phases]
    median, best = statistics.median(steps), min(steps)
    tokens = arguments.batch * (VISUAL_TOKENS + TEXT_TOKENS)
    gflop = useful_gflop(shape, arguments.batch, arguments.vision_blocks)
    names = "vision", "forward", "backward", "optimizer"
    return {
        "peer": f"PyTorch {torch.__version__} eager",
        **{key: getattr(arguments, key) for key in ("preset", "dtype", "threads", "batch", "steps", "vision_blocks")},
        "tokens_per_step": tokens,
        "tokens_per_second": {"median": round(tokens / median, 1), "best": round(tokens / best, 1)},
        "step_ms": {"median": round(1e3 * median, 1), "best": round(1e3 * best, 1)},
        "phase_ms": {n: round(1e3 * statistics.median(p[i] for p in phases), 1) for i, n in enumerate(names)},
        "gflop_per_step": round(gflop, 1),
        "gflop_per_second": {"median": round(gflop / median, 1), "best": round(gflop / best, 1)},
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "trainable_parameters": sum(p.numel() for p in trainable),
        "loss": losses[-1],
    }


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="smollm2-135m", help="the decoder (default: %(default)s)")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="bf16", help="of weights and activations (default: %(default)s)"
    )
    parser.add_argument("--threads", type=positive, default=2, help="OpenMP threads (default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=4, help="samples a step (default: %(default)s)")
    parser.add_argument("--steps", type=positive, default=5, help="steps to time (default: %(default)s)")
    parser.add_argument(
        "--warm-up", type=positive, default=1, help="steps before these, not timed (default: %(default)s)"
    )
    parser.add_argument(
        "--vision-blocks",
        type=positive,
        default=12,
        help="ViT blocks to run; 11 where the features are the last block's input (default: %(default)s, all)",
    )
    print(json.dumps(measure(parser.parse_args())), flush=True)


if __name__ == "__main__":
    main()
