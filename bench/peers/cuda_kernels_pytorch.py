#!/usr/bin/env python3
"""PyTorch's products and attention on a GPU beside what bench_cuda_kernels measured there.

    bench_cuda_kernels > FILE; bench/peers/cuda_kernels_pytorch.py FILE [--tokens 4096] [--width 4096]

Prints a line a case: PyTorch's milliseconds, skymm's, and how many times as fast skymm is.
"""
import argparse
import json
import time

import torch
import torch.nn.functional as F


def milliseconds(call, seconds=0.3):
    for _ in range(2):
        call()
    calls = 1
    while True:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
        taken = time.perf_counter() - start
        if taken >= seconds:
            return 1e3 * taken / calls
        calls *= 2


def normal(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, dtype=dtype, device="cuda")


def products(tokens, width):
    for name, dtype in (("bf16", torch.bfloat16), ("f32", torch.float32)):
        x, w = normal(tokens, width, dtype=dtype), normal(width, width, dtype=dtype)
        yield f"product/forward/{name}/large", lambda: x @ w.T
        yield f"product/input_gradient/{name}/large", lambda: x @ w
        yield f"product/weight_gradient/{name}/large", lambda: x.T @ x


def attention(tokens, width):
    for head in (64, 128):
        q, k, v = (normal(1, width // head, tokens, head).requires_grad_() for _ in range(3))
        dout = torch.randn_like(q)
        yield f"attention/forward/causal, width {head}", lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        yield (f"attention/backward/causal, width {head}",
               lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=argparse.FileType())
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--width", type=int, default=4096)
    options = parser.parse_args()
    skymm = {line["case"]: line["ms"] for line in map(json.loads, options.measured)}
    torch.backends.cuda.matmul.allow_tf32 = False  # skymm's f32 is f32
    for cases in (products, attention):
        for name, call in cases(options.tokens, options.width):
            theirs = milliseconds(call)
            print(f"         {name}: PyTorch {theirs:.3f} ms, skymm {skymm[name]:.3f}, {theirs / skymm[name]:.2f} times as fast")


main()
