#!/usr/bin/env python3
"""Writes tests/golden/pretrained/gradients.safetensors: the loss of the tiny pretrained decoders, and its gradients.

Run by hand after make_pretrained.py; see README.md.
"""

from pathlib import Path

import torch
from models import randomize
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

FOLDER = Path(__file__).parent / "pretrained"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def gradients(name, seed, tokens):
    base = AutoModelForCausalLM.from_pretrained(FOLDER / name, attn_implementation="eager")
    config = LoraConfig(r=2, lora_alpha=6, lora_dropout=0.0, target_modules=TARGETS, bias="none", task_type="CAUSAL_LM")
    model = get_peft_model(base, config).eval()
    loras = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    randomize(loras, seed)
    logits = model(tokens[None].long()).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], tokens[1:].long(), reduction="sum")
    loss.backward()
    out = {f"{name}.loss_sum": loss.detach().view(1)}
    for long_name, parameter in loras:
        short = long_name.removeprefix("base_model.model.").replace(".default.", ".")
        out[f"{name}.{short}"] = parameter.detach()
        out[f"{name}.gradient.{short}"] = parameter.grad
    return out


def main():
    torch.set_num_threads(1)
    tokens = load_file(FOLDER / "expected.safetensors")["tokens"]
    values = {}
    for seed, name in enumerate(["llama", "mistral", "qwen2"], 20):
        values |= gradients(name, seed, tokens)
    save_file({name: tensor.contiguous() for name, tensor in values.items()}, FOLDER / "gradients.safetensors")


if __name__ == "__main__":
    main()
