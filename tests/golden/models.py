"""The reference models: CLIP, LLaMA and LoRA by transformers and PEFT, the resamplers in plain PyTorch."""

import math

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from torch import nn
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
)

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def randomize(named_parameters, seed):
    """No term may hide behind another (no zero bias, no norm weight of one), but branches stay below the residual
    stream and attention stays soft: a badly conditioned model would compare rounding noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(named_parameters, key=lambda item: item[0]):
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if parameter.ndim >= 2:
                parameter.copy_(noise * matrix_scale(name, parameter))
            elif "norm" in name or "ln_" in name:
                parameter.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
            else:
                parameter.copy_(0.1 * noise)


def matrix_scale(name, parameter):
    if "embed_tokens" in name or name in ("query", "latents"):
        return 1.0
    if "lora_B" in name:
        return 0.1
    return (1.0 if "lm_head" in name else 0.6) / math.sqrt(parameter[0].numel())


def vision_model():
    config = CLIPVisionConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=28, patch_size=7,
        hidden_act="quick_gelu", layer_norm_eps=1e-5, attention_dropout=0.0, attn_implementation="eager",
    )  # fmt: skip
    model = CLIPVisionModel(config).eval().requires_grad_(False)
    randomize(model.named_parameters(), seed=1)
    return model


def patch_features(model, pixels):
    """LLaVA's choice: the last block's input, without the class token. pixels [B, 3, H, W] -> [B, patches, hidden]."""
    with torch.no_grad():
        return model(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]


def sincos_1d(width, positions):
    frequencies = 1e4 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = positions.reshape(-1, 1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sincos_2d(width, side):
    """MAE's table [side * side, width], grid rows first: the COLUMN's half comes first, each half [sin | cos]."""
    row, column = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    return torch.cat([sincos_1d(width // 2, column), sincos_1d(width // 2, row)], dim=1).float()


def resize_positions(table, source, target):
    """[h * w, C] of a grid source = (h, w) -> [H * W, C]: bicubic (a = -0.75), half-pixel centres, no antialiasing."""
    image = table.reshape(1, *source, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=target, mode="bicubic", align_corners=False)
    return image.permute(0, 2, 3, 1).flatten(0, 2)


class QwenResampler(nn.Module):
    def __init__(self, width, heads, kv_width, side, seed):
        super().__init__()
        self.side = side
        self.query = nn.Parameter(torch.empty(side * side, width))
        self.kv_proj = nn.Linear(kv_width, width, bias=False)
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_q, self.ln_kv, self.ln_post = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.proj = nn.Parameter(torch.empty(width, width))
        self.register_buffer("pos_embed", sincos_2d(width, side))
        randomize(self.named_parameters(), seed)

    def forward(self, features):
        """features [B, patches, kv_width] of a square grid -> [B, side * side, width]."""
        grid = math.isqrt(features.shape[1])
        positions = resize_positions(self.pos_embed, (self.side, self.side), (grid, grid))
        x = self.ln_kv(self.kv_proj(features)).transpose(0, 1)
        query = (self.ln_q(self.query) + self.pos_embed).unsqueeze(1).expand(-1, x.shape[1], -1)
        out, _ = self.attn(query, x + positions.unsqueeze(1), x, need_weights=False)
        return self.ln_post(out.transpose(0, 1)) @ self.proj


class PerceiverAttention(nn.Module):
    def __init__(self, width, heads, head_width):
        super().__init__()
        self.heads = heads
        self.norm_media, self.norm_latents = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, heads * head_width, bias=False)
        self.to_kv = nn.Linear(width, 2 * heads * head_width, bias=False)
        self.to_out = nn.Linear(heads * head_width, width, bias=False)

    def forward(self, media, latents):
        media, latents = self.norm_media(media), self.norm_latents(latents)
        key, value = self.to_kv(torch.cat([media, latents], dim=1)).chunk(2, dim=-1)
        query, key, value = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(latents), key, value)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        return self.to_out((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width, multiplier):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, multiplier * width, bias=False)
        self.down = nn.Linear(multiplier * width, width, bias=False)

    def forward(self, x):
        return self.down(F.gelu(self.up(self.norm(x))))


class PerceiverLayer(nn.Module):
    def __init__(self, width, heads, head_width):
        super().__init__()
        self.attention = PerceiverAttention(width, heads, head_width)
        self.feed_forward = FeedForward(width, multiplier=4)

    def forward(self, media, latents):
        latents = latents + self.attention(media, latents)
        return latents + self.feed_forward(latents)


class PerceiverResampler(nn.Module):
    def __init__(self, width, heads, head_width, latents, depth, seed):
        super().__init__()
        self.latents = nn.Parameter(torch.empty(latents, width))
        self.layers = nn.ModuleList([PerceiverLayer(width, heads, head_width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        randomize(self.named_parameters(), seed)

    def forward(self, media):
        """media [B, patches, width] -> [B, latents, width]."""
        latents = self.latents.unsqueeze(0).expand(media.shape[0], -1, -1)
        for layer in self.layers:
            latents = layer(media, latents)
        return self.norm(latents)


class QFormer(nn.Module):
    """BLIP-2's, by transformers, with its query tokens, norm of features and projection (here to `width`)."""

    def __init__(self, width, heads, vision_width, queries, depth, seed):
        super().__init__()
        config = Blip2QFormerConfig(
            hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * width,
            encoder_hidden_size=vision_width, cross_attention_frequency=2, attn_implementation="eager",
        )  # fmt: skip
        self.query_tokens = nn.Parameter(torch.empty(queries, width))
        self.ln_vision = nn.LayerNorm(vision_width)
        model = Blip2QFormerModel(config).eval()
        self.layernorm, self.encoder, self.model = model.layernorm, model.encoder, (model,)  # a tuple: not a module twice
        self.language_projection = nn.Linear(width, width)
        randomize(self.named_parameters(), seed)

    def forward(self, features):
        """features [B, patches, vision width] -> [B, queries, width]."""
        queries = self.query_tokens.unsqueeze(0).expand(features.shape[0], -1, -1)
        states = self.model[0](query_embeds=queries, encoder_hidden_states=self.ln_vision(features))
        return self.language_projection(states.last_hidden_state)


class Decoder:
    """LlamaForCausalLM, frozen, with PEFT's LoRA on every linear layer but the head; lora_B is not zero.

    Weights are rounded to `storage`, then everything is computed in `compute`.
    """

    def __init__(self, compute=torch.float32, storage=torch.float32):
        config = LlamaConfig(
            vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=1e4, max_position_embeddings=64,
            tie_word_embeddings=False, attn_implementation="eager", use_cache=False,
        )  # fmt: skip
        base = LlamaForCausalLM(config).eval()
        randomize(base.named_parameters(), seed=2)
        self.weights = {name: tensor.clone() for name, tensor in base.state_dict().items()}
        lora = LoraConfig(
            r=4, lora_alpha=8, lora_dropout=0.0, target_modules=LORA_TARGETS, bias="none", task_type="CAUSAL_LM"
        )
        self.peft = get_peft_model(base, lora).eval()
        randomize([(name, p) for name, p in self.peft.named_parameters() if p.requires_grad], seed=3)
        self.lora_weights = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(self.peft).items()}
        frequencies = self.rotary().inv_freq.clone()
        self.peft.to(storage).to(compute)
        self.rotary().inv_freq = frequencies  # stays f32, as after from_pretrained(torch_dtype=...)

    def rotary(self):
        return self.peft.get_base_model().model.rotary_emb

    def lora_parameters(self):
        """By the names of PEFT's adapter_model.safetensors."""
        return {name.replace(".default", ""): p for name, p in self.peft.named_parameters() if p.requires_grad}

    def embed(self, ids):
        return self.peft.get_input_embeddings()(ids)

    def logits(self, embeddings):
        return self.peft(inputs_embeds=embeddings).logits


def loss_sum(logits, labels):
    """Position t predicts labels[t + 1]; -100 is no label. Returns (sum over the labels, in f32; their number)."""
    logits, labels = logits[..., :-1, :].flatten(0, -2), labels[..., 1:].flatten()
    accumulate = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(logits.to(accumulate), labels, ignore_index=-100, reduction="sum"), int(
        (labels != -100).sum()
    )
