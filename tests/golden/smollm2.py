#!/usr/bin/env python3
"""Compares skymm with transformers (and PEFT) on SmolLM2-135M-Instruct from its GGUF file. Run by hand:

    ninja -C build/cpu launch_reference_logits
    pip install gguf==0.10.0          # beside requirements.txt; transformers reads GGUF by it
    tests/golden/smollm2.py MODEL.gguf --tool build/cpu/tests/launch_reference_logits [--adapter DIR]

Both compute in f32; transformers dequantises the file itself. Prints, for ten prompts in the model's chat form, how far
the logits after the prompt are apart, ||a - b|| / ||b||, and how many of 64 greedy tokens are the same. With --adapter, a
folder that `skymm weights export` wrote, PEFT loads it, and logits are compared with it and without. What it printed is
in smollm2.txt.
"""

import argparse
import pathlib
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = [
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Explain gravity to a child.",
    "List three colours of the rainbow.",
    "How do I boil an egg?",
    "Who wrote Romeo and Juliet?",
    "What is 12 times 12?",
    "Give me a synonym for 'happy'.",
    "Why is the sky blue?",
    "Write a Python function that adds two numbers.",
]


def prompts_of(tokenizer):
    turns = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in QUESTIONS]
    return [torch.tensor(tokenizer(t, add_special_tokens=False).input_ids, dtype=torch.int32) for t in turns]


def ours(options, prompts, tokens, adapter=()):
    with tempfile.TemporaryDirectory() as folder:
        given, made = pathlib.Path(folder) / "prompts.safetensors", pathlib.Path(folder) / "out.safetensors"
        save_file({f"prompt.{i}": p for i, p in enumerate(prompts)}, given)
        subprocess.run([options.tool, options.model, given, made, str(tokens), *adapter], check=True)
        return load_file(made)


@torch.no_grad()
def logits_after(model, prompt):
    return model(prompt[None].long()).logits[0, -1]


@torch.no_grad()
def greedy(model, prompt, tokens):
    """So many tokens whatever they are: an end mark ends nothing here."""
    out = model.generate(prompt[None].long(), do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens,
                         repetition_penalty=1.0, eos_token_id=None, pad_token_id=0)  # fmt: skip
    return out[0, prompt.numel() :]


def distance(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--tool", type=pathlib.Path, required=True)
    parser.add_argument("--adapter", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=64, help="greedy ones; 0: logits alone")
    options = parser.parse_args()
    where = dict(pretrained_model_name_or_path=options.model.parent, gguf_file=options.model.name)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, torch_dtype=torch.float32).eval()
    model.lm_head.weight = model.get_input_embeddings().weight  # the head is the table, which this reader does not see
    prompts = prompts_of(tokenizer)
    skymm = ours(options, prompts, options.tokens)
    print(f"{'prompt':48}{'logits apart':>14}{'same tokens':>13}   what transformers says", flush=True)
    for i, (question, prompt) in enumerate(zip(QUESTIONS, prompts)):
        text = greedy(model, prompt, options.tokens) if options.tokens else prompt[:0]
        same = (text == skymm[f"greedy.{i}"]).sum().item() if options.tokens else 0
        start = tokenizer.decode(text[:12]).replace("\n", " ")
        apart = distance(skymm[f"logits.{i}"], logits_after(model, prompt))
        print(f"{question:48}{apart:14.1e}{same:10}/{options.tokens}   {start}", flush=True)
    if options.adapter is None:
        return
    from peft import PeftModel

    plain = [logits_after(model, prompt) for prompt in prompts]
    adapted = PeftModel.from_pretrained(model, options.adapter).eval()
    skymm = ours(options, prompts, 0, [options.adapter])
    print(f"\n{'with the adapter':48}{'from PEFT':>14}{'from the base':>15}")
    for i, (question, prompt) in enumerate(zip(QUESTIONS, prompts)):
        theirs = logits_after(adapted, prompt)
        print(f"{question:48}{distance(skymm[f'logits.{i}'], theirs):14.1e}{distance(plain[i], theirs):15.1e}")


if __name__ == "__main__":
    main()
