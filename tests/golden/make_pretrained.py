#!/usr/bin/env python3
"""Writes tests/golden/pretrained: tiny models as transformers saves them, and what they compute. Run by hand; see README.md."""

import json
import shutil
from pathlib import Path

import torch
from models import randomize
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

FOLDER = Path(__file__).parent / "pretrained"
DECODER = dict(
    vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, rms_norm_eps=1e-5, max_position_embeddings=64, attn_implementation="eager", use_cache=False,
)  # fmt: skip
VISION = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, image_size=14, patch_size=7)


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tokens():
    return torch.randint(0, 48, (1, 9), generator=torch.Generator().manual_seed(1))


def save(model, name, **options):
    folder = FOLDER / name
    model.save_pretrained(folder, safe_serialization=True, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return folder


def decoder(name, model, seed, **options):
    """Saves the model; returns its logits [9, 48]."""
    model = model.eval()
    randomize(model.named_parameters(), seed)
    save(model, name, **options)
    with torch.no_grad():
        return {f"{name}.logits": model(tokens()).logits[0]}


def tower(name, model, seed):
    """Saves the vision tower; returns the input of its last block, of patches alone."""
    model = model.eval()
    randomize(model.named_parameters(), seed)
    save(model, name)
    with torch.no_grad():
        hidden = model(random(2, 1, 3, 14, 14), output_hidden_states=True).hidden_states[-2][0]
    return {f"{name}.features": hidden[-4:]}


def open_clip():
    """The same CLIP tower under OpenCLIP's names."""
    ours = load_file(FOLDER / "clip" / "model.safetensors")
    out = {"logit_scale": torch.tensor(1.0), "visual.proj": random(5, 16, 8)}
    v = "vision_model."
    out["visual.conv1.weight"] = ours[v + "embeddings.patch_embedding.weight"]
    out["visual.class_embedding"] = ours[v + "embeddings.class_embedding"]
    out["visual.positional_embedding"] = ours[v + "embeddings.position_embedding.weight"]
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}  # fmt: skip
    for end in ("weight", "bias"):
        out[f"visual.ln_pre.{end}"] = ours[f"{v}pre_layrnorm.{end}"]
        out[f"visual.ln_post.{end}"] = ours[f"{v}post_layernorm.{end}"]
        for i in range(3):
            block, theirs = f"{v}encoder.layers.{i}.", f"visual.transformer.resblocks.{i}."
            for a, b in names.items():
                out[f"{theirs}{b}.{end}"] = ours[f"{block}{a}.{end}"]
            out[f"{theirs}attn.in_proj_{end}"] = torch.cat([ours[f"{block}self_attn.{x}_proj.{end}"] for x in "qkv"])
    folder = FOLDER / "open_clip"
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, folder / "open_clip_model.safetensors")
    vision = {"image_size": 14, "layers": 3, "width": 16, "head_width": 8, "patch_size": 7, "mlp_ratio": 1.5}
    config = {
        "model_cfg": {"embed_dim": 8, "quick_gelu": True, "vision_cfg": vision, "text_cfg": {}},
        "preprocess_cfg": {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.25]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def adapter():
    """PEFT's LoRA on the tiny LLaMA: its weights, and the logits with it."""
    base = LlamaForCausalLM.from_pretrained(FOLDER / "llama", attn_implementation="eager")
    config = LoraConfig(r=2, lora_alpha=6, lora_dropout=0.0, target_modules=["q_proj", "v_proj", "down_proj"], bias="none", task_type="CAUSAL_LM")  # fmt: skip
    model = get_peft_model(base, config).eval()
    randomize([(name, p) for name, p in model.named_parameters() if p.requires_grad], seed=9)
    model.save_pretrained(FOLDER / "adapter")
    (FOLDER / "adapter" / "README.md").unlink(missing_ok=True)
    path = FOLDER / "adapter" / "adapter_config.json"
    written = json.loads(path.read_text()) | {"base_model_name_or_path": "llama"}
    written["target_modules"].sort()
    path.write_text(json.dumps(written, indent=2) + "\n")
    with torch.no_grad():
        return {"adapter.logits": model(tokens()).logits[0]}


def main():
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    values = {"tokens": tokens()[0].to(torch.int32), "pixels": random(2, 1, 3, 14, 14)}
    values |= decoder("llama", LlamaForCausalLM(LlamaConfig(**DECODER, rope_theta=1e4, tie_word_embeddings=False)), 1)
    values |= decoder("mistral", MistralForCausalLM(MistralConfig(**DECODER, head_dim=6, sliding_window=32)), 2, max_shard_size="8KB")  # fmt: skip
    values |= decoder("qwen2", Qwen2ForCausalLM(Qwen2Config(**DECODER, rope_theta=1e6, tie_word_embeddings=True)), 3)
    values |= tower("clip", CLIPVisionModel(CLIPVisionConfig(**VISION)), 4)
    values |= tower("siglip", SiglipVisionModel(SiglipVisionConfig(**VISION)), 5)
    open_clip()
    values |= adapter()
    save_file({name: tensor.contiguous().clone() for name, tensor in values.items()}, FOLDER / "expected.safetensors")
    for path in sorted(FOLDER.rglob("*.*")):
        print(f"{path.relative_to(FOLDER)!s:50} {path.stat().st_size:8}")


if __name__ == "__main__":
    main()
