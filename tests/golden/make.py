#!/usr/bin/env python3
"""Writes the reference files of this folder with PyTorch, transformers and PEFT. Run by hand; see README.md."""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from models import (
    Decoder,
    PerceiverResampler,
    QFormer,
    QwenResampler,
    loss_sum,
    patch_features,
    resize_positions,
    sincos_2d,
    vision_model,
)
from safetensors.torch import save_file
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

VOCABULARY = 97


def write(folder, name, tensors):
    """Floating point as f32, integers as i32, a number as a tensor of one element."""

    def plain(value):
        tensor = torch.as_tensor(value).detach()
        tensor = tensor.to(torch.float32 if tensor.is_floating_point() else torch.int32)
        return tensor.reshape(tensor.shape or (1,)).contiguous().clone()

    tensors = {key: plain(value) for key, value in tensors.items()}
    for key, tensor in tensors.items():
        assert torch.isfinite(tensor).all(), f"{name}: {key} is not finite"
    path = folder / f"{name}.safetensors"
    save_file(tensors, path)
    print(f"{path.name:34} {len(tensors):4} tensors {path.stat().st_size:8} bytes")


def prefixed(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def gradients(named_parameters):
    return {f"gradient.{name}": p.grad for name, p in named_parameters}


def random(seed, *shape, scale=1.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def random_tokens(seed, *shape):
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def vit():
    model, pixels = vision_model(), random(10, 2, 3, 28, 28)
    with torch.no_grad():
        states = model(pixels, output_hidden_states=True).hidden_states
    outputs = {f"hidden_states.{i}": state for i, state in enumerate(states)}
    return dict(model.state_dict()) | outputs | {"pixels": pixels, "features": patch_features(model, pixels)}


def resampler(model, features):
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    features.requires_grad_(True)
    tokens = model(features)
    output_gradient = random(12, *tokens.shape)
    tokens.backward(output_gradient)
    values = {
        "features": features,
        "tokens": tokens,
        "output_gradient": output_gradient,
        "gradient.features": features.grad,
    }
    return weights | values | gradients(model.named_parameters())


def resampler_qwen():
    model = QwenResampler(width=24, heads=3, kv_width=32, side=3, seed=4)
    resized = {"pos_embed_resized": resize_positions(model.pos_embed, (3, 3), (4, 4))}
    return resampler(model, random(11, 2, 16, 32)) | resized


def resampler_perceiver():
    return resampler(
        PerceiverResampler(width=24, heads=3, head_width=8, latents=6, depth=2, seed=5), random(13, 2, 16, 24)
    )


def resampler_qformer():
    return resampler(QFormer(width=24, heads=3, vision_width=32, queries=5, depth=3, seed=6), random(15, 2, 16, 32))


def decoder_labels(ids):
    """A masked prompt, a masked hole in the middle, and a second sample whose labels start at its second token."""
    labels = ids.clone()
    labels[0, :4] = -100
    labels[0, 7] = -100
    labels[1, :1] = -100
    return labels


def decoder_values(compute, storage):
    model, ids = Decoder(compute, storage), random_tokens(14, 2, 11)
    labels = decoder_labels(ids)
    embeddings = model.embed(ids).detach().requires_grad_(True)
    logits = model.logits(embeddings)
    total, count = loss_sum(logits, labels)
    total.backward()
    values = {
        "logits": logits,
        "loss_sum": total,
        "loss_mean": total / count,
        "gradient.inputs_embeds": embeddings.grad,
    }
    return model, {"ids": ids, "labels": labels}, values | gradients(model.lora_parameters().items())


def decoder():
    model, inputs, values = decoder_values(torch.float32, torch.float32)
    return model.weights | model.lora_weights | inputs | values


def decoder_bf16():
    """`exact.`: the same rounded weights in double precision, which tells PyTorch's rounding from one's own."""
    values = decoder_values(torch.bfloat16, torch.bfloat16)[2]
    return values | prefixed("exact.", decoder_values(torch.float64, torch.bfloat16)[2])


class Multimodal:
    """ViT -> resampler (-> projection) -> visual tokens before the text's -> decoder with LoRA."""

    def __init__(self, resampler, projection=None):
        self.vit, self.resampler, self.projection, self.decoder = vision_model(), resampler, projection, Decoder()

    def trainable(self):
        named = prefixed("resampler.", dict(self.resampler.named_parameters()))
        if self.projection is not None:
            named["projection.weight"] = self.projection
        return named | prefixed("lora.", self.decoder.lora_parameters())

    def weights(self):
        tensors = prefixed("vit.", self.vit.state_dict()) | prefixed("decoder.", self.decoder.weights)
        tensors["resampler.pos_embed"] = getattr(self.resampler, "pos_embed", None)
        tensors |= {name: parameter.detach().clone() for name, parameter in self.trainable().items()}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def visual_tokens(self, pixels):
        tokens = self.resampler(patch_features(self.vit, pixels.unsqueeze(0)))
        return tokens if self.projection is None else F.linear(tokens, self.projection)

    def forward(self, sample):
        """A sample's (logits of all positions [1, visual + text, V], loss sum, labels that count)."""
        embeddings, labels = self.decoder.embed(sample["ids"].unsqueeze(0)), sample["labels"].unsqueeze(0)
        if "pixels" in sample:
            visual = self.visual_tokens(sample["pixels"])
            embeddings = torch.cat([visual, embeddings], dim=1)
            labels = F.pad(labels, (visual.shape[1], 0), value=-100)
        logits = self.decoder.logits(embeddings)
        return (logits, *loss_sum(logits, labels))


def multimodal_qwen_model():
    return Multimodal(QwenResampler(width=32, heads=4, kv_width=32, side=3, seed=6))


def multimodal_perceiver_model():
    model = PerceiverResampler(width=32, heads=4, head_width=8, latents=6, depth=2, seed=7)
    return Multimodal(model, torch.nn.Parameter(random(8, 32, 32, scale=32**-0.5)))


def sample(seed, length, masked, image):
    ids = random_tokens(seed, length)
    labels = ids.clone()
    labels[:masked] = -100
    return {"ids": ids, "labels": labels} | ({"pixels": random(seed + 100, 3, 28, 28)} if image else {})


def multimodal(model):
    # The first sample's first label is predicted by the last visual token.
    samples = {"image": sample(20, 7, 0, True), "text": sample(21, 10, 3, False)}
    out, sums, count = model.weights(), 0, 0
    for name, values in samples.items():
        logits, total, labels = model.forward(values)
        sums, count = sums + total, count + labels
        out |= prefixed(f"{name}.", values | {"logits": logits[0], "loss_sum": total})
    out["image.visual_tokens"] = model.visual_tokens(samples["image"]["pixels"])[0]
    sums.backward()
    return out | {"loss_sum": sums, "loss_mean": sums / count} | gradients(model.trainable().items())


def training(model, steps=20):
    samples = [sample(30, 9, 2, True), sample(31, 12, 4, False), sample(32, 6, 0, True), sample(33, 8, 5, False)]
    out = model.weights()
    for i, values in enumerate(samples):
        out |= prefixed(f"sample.{i}.", values)
    trainable = model.trainable()
    decayed = [p for p in trainable.values() if p.ndim >= 2]
    others = [p for p in trainable.values() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for _ in range(steps):
        results = [model.forward(values) for values in samples]
        loss = sum(total for _, total, _ in results) / sum(count for _, _, count in results)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(list(trainable.values()), 1.0).item())
        losses.append(loss.item())
        optimizer.step()
    final = {f"final.{name}": p for name, p in trainable.items()}
    return out | {"losses": torch.tensor(losses), "gradient_norms": torch.tensor(norms)} | final


def activations():
    functions = {
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
    }
    inputs = torch.cat([torch.linspace(-12, 12, 49), random(40, 15)])
    out = {"activation.x": inputs}
    for name, function in functions.items():
        x = inputs.clone().requires_grad_(True)
        y = function(x)
        y.sum().backward()
        out |= {f"activation.{name}": y, f"activation.{name}.gradient": x.grad}
    return out


def rotary():
    """[tokens, heads, head width], the half-split convention: pairs are (i, i + width / 2)."""
    config = LlamaConfig(hidden_size=24, num_attention_heads=3, rope_theta=1e4)
    x, positions = random(41, 6, 3, 8), torch.arange(5, 11)
    cos, sin = LlamaRotaryEmbedding(config=config)(x, positions.unsqueeze(0))
    heads_first = x.transpose(0, 1).unsqueeze(0)
    y, _ = apply_rotary_pos_emb(heads_first, heads_first, cos, sin)
    return {"rotary.x": x, "rotary.positions": positions, "rotary.y": y[0].transpose(0, 1)}


def bicubic():
    table, gradient = random(42, 9, 8).requires_grad_(True), random(43, 20, 8)
    grown = resize_positions(table, (3, 3), (5, 4))
    grown.backward(gradient)
    shrunk = resize_positions(random(44, 20, 8), (5, 4), (3, 2))
    return {
        "bicubic.table": table,
        "bicubic.resized": grown,
        "bicubic.output_gradient": gradient,
        "bicubic.gradient": table.grad,
        "bicubic.down.table": random(44, 20, 8),
        "bicubic.down.resized": shrunk,
        "sincos_2d.side_3": sincos_2d(24, 3),
    }


def cross_entropy():
    """Row i belongs to label i, no shift. An exponential of these logits without their maximum would overflow."""
    logits, labels = random(45, 7, VOCABULARY, scale=60.0).requires_grad_(True), random_tokens(46, 7)
    labels[2] = labels[5] = -100
    total = F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    total.backward()
    return {
        "cross_entropy.logits": logits,
        "cross_entropy.labels": labels,
        "cross_entropy.sum": total,
        "cross_entropy.gradient": logits.grad,
    }


def primitives():
    return activations() | rotary() | bicubic() | cross_entropy()


FILES = {
    "vit": vit,
    "resampler_qwen": resampler_qwen,
    "resampler_perceiver": resampler_perceiver,
    "resampler_qformer": resampler_qformer,
    "decoder": decoder,
    "decoder_bf16": decoder_bf16,
    "multimodal": lambda: multimodal(multimodal_qwen_model()),
    "multimodal_perceiver": lambda: multimodal(multimodal_perceiver_model()),
    "training": lambda: training(multimodal_qwen_model()),
    "primitives": primitives,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FILES)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="default: this folder")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(FILES):
        parser.error(f"no such file: {', '.join(sorted(unknown))}; choose from {', '.join(FILES)}")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or FILES:
        write(arguments.out, name, FILES[name]())


if __name__ == "__main__":
    main()
