#!/usr/bin/env python3
"""Pictures a second: PyTorch's DataLoader with PIL, and skymm's loader, on the same JPEG files and one worker each.

    bench/peers/data_pytorch.py [--build build/cpu] [--pictures 400] [--rounds 3]

Both read 640 x 480 JPEGs, resize their shorter side to 336 (bicubic, antialiased), cut the middle, and normalise to
[3, 336, 336] floats. They take turns, so that what else the machine does meets both. Needs PyTorch, numpy and Pillow, and
bench_data (a build with SKYMM_BENCH=ON).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import PIL
import torch
from PIL import Image

SIDE = 336
MEAN = numpy.array([0.48145466, 0.4578275, 0.40821073], dtype=numpy.float32)
DEVIATION = numpy.array([0.26862954, 0.26130258, 0.27577711], dtype=numpy.float32)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        width, height = image.size
        scale = SIDE / min(width, height)
        image = image.resize((round(width * scale), round(height * scale)), Image.BICUBIC)
        left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
        pixels = numpy.asarray(image.crop((left, top, left + SIDE, top + SIDE)), dtype=numpy.float32) / 255
        return torch.from_numpy(numpy.ascontiguousarray(((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)))


def make_files(folder, count):
    """Smooth fields, edges and a little noise, as photographs have; about 60 KB each."""
    y, x = numpy.mgrid[0:480, 0:640]
    files = []
    for number in range(count):
        noise = numpy.random.default_rng(number).integers(0, 12, (480, 640, 3))
        field = (x // 80 * 37 + y // 60 * 59 + number * 11) % 120
        rgb = numpy.stack([field + x * 90 // 640, 120 - field + y * 100 // 480, field // 2 + (x + y) * 60 // 1120], axis=-1)
        files.append(folder / f"{number:05}.jpg")
        Image.fromarray((rgb + noise).clip(0, 255).astype(numpy.uint8)).save(files[-1], quality=85)
    lines = [json.dumps({"image": file.name, "caption": "Two pandas on a meadow."}) for file in files]
    (folder / "pictures.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def time_pytorch(files):
    loader = torch.utils.data.DataLoader(Pictures(files), batch_size=16, shuffle=True, num_workers=1)
    batches = iter(loader)
    next(batches)  # the worker is up
    start = time.perf_counter()
    count = sum(len(batch) for batch in batches)
    return count / (time.perf_counter() - start)


def time_skymm(build, data, fast):
    command = [build / "bench/bench_data", f"--benchmark_filter=LoadSet/fast:{fast}", "--benchmark_format=json",
               "--benchmark_min_time=2"]
    environment = dict(os.environ, SKYMM_BENCH_SET=str(data), OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(result.stdout)["benchmarks"][0]["items_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/cpu"))
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        files = make_files(folder, options.pictures)
        subprocess.run([options.build / "skymm", "data", "import", "jsonl", folder / "pictures.jsonl", "--out", folder / "set"],
                       check=True, stdout=subprocess.DEVNULL)
        rounds = {"PyTorch + PIL": [], "skymm": [], "skymm, fast_jpeg": []}
        for _ in range(options.rounds):
            rounds["PyTorch + PIL"].append(time_pytorch(files))
            rounds["skymm"].append(time_skymm(options.build, folder / "set", 0))
            rounds["skymm, fast_jpeg"].append(time_skymm(options.build, folder / "set", 1))
    print(f"PyTorch {torch.__version__}, Pillow {PIL.__version__}; {options.pictures} pictures, one worker, median of {options.rounds}")
    base = statistics.median(rounds["PyTorch + PIL"])
    for name, speeds in rounds.items():
        print(f"{name:<20}{statistics.median(speeds):8.0f} pictures/s{statistics.median(speeds) / base:8.2f} x")


if __name__ == "__main__":
    main()
