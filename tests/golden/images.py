#!/usr/bin/env python3
"""Writes resize.safetensors: what PIL's Image.resize(BICUBIC) makes of a picture. Needs only Pillow, NumPy, safetensors."""

from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

# width, height -> width, height: shrinking and enlarging, by whole and by odd ratios, along one side or both.
CASES = [
    ((37, 23), (16, 16)),
    ((64, 48), (32, 24)),
    ((23, 37), (40, 24)),
    ((160, 120), (28, 21)),
    ((9, 7), (31, 29)),
    ((50, 3), (7, 3)),
    ((3, 200), (5, 11)),
    ((1, 1), (4, 3)),
]


def source(width, height):
    """Noise of hard edges: byte i is (i * 7 + i // 99 * 31 + i * i // 1000 * 57) mod 256."""
    i = np.arange(width * height * 3, dtype=np.int64)
    return ((i * 7 + i // 99 * 31 + i * i // 1000 * 57) % 256).astype(np.uint8).reshape(height, width, 3)


tensors = {}
for (width, height), (to_width, to_height) in CASES:
    resized = Image.fromarray(source(width, height)).resize((to_width, to_height), Image.BICUBIC)
    name = f"{width}x{height}.{to_width}x{to_height}"
    tensors[name] = np.asarray(resized).astype(np.int32)  # [height, width, 3]
save_file(tensors, Path(__file__).parent / "resize.safetensors")
