#!/usr/bin/env python3
"""Writes tests/golden/tokenizers: small byte-level BPEs of four families, lines of text, and what Hugging Face's
tokenizers makes of them. Run by hand; see README.md."""

import json
import random
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

FOLDER = Path(__file__).parent / "tokenizers"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

WORDS = (
    "the a of picture cat dog red blue small circle left right above there is are two three and with on house tree "
    "water model answer question language image token training learning rate gradient don't it's we'll they've I'm "
    "CamelCase snake_case HTTP naïve café über Straße coöperate façade"
).split()
CHINESE = "图里有一只红色的猫和两个饺子在桌子上左边右边蓝色圆形方块什么没有吗请回答是否月饼灯笼熊猫中国语言模型训练，。？！：；、（）"
CODE = [
    "for (int i = 0; i < n; ++i) { sum += x[i] * 0.5f; }", "def f(x):\n    return x ** 2  # square", "a->b.c[10]::d<T>&&",
    "#include <vector>\n\n\tint main() {\r\n\t\treturn 0;\r\n}", "SELECT * FROM t WHERE id >= 1000 AND name != 'x';",
    "https://example.org/a?b=1&c=%20", "0x1F 1e-5 3.14159 1,000,000 2024-01-02", "{\"key\": [1, 2, null]}", "`` '' \"\" ¿? …",
]  # fmt: skip
EMOJI = "🥟 🐼 🧧 👩‍👩‍👧‍👦 👍🏽 🇨🇳 ❤️ ☕️ 🏮 🀄".split(" ")
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\u180e", "\u200b", "\x0b", " \n ", "\ufeff"]  # fmt: skip
OTHERS = ["é", "e\u0301", "ﬁ", "Å", "A\u030a", "ſ", "'ſ", "K", "ß", "İ", "ﷺ", "किताब", "ไทย", "한국어", "가", "日本語", "Ⅷ", "½", "٣٤", "五", "²", "'S", "'RE", "'Ll", "ʼs", "\x00", "\x04", "\x7f", "\U0010ffff", "\ue000", "𝒳", "١", "\u0300", "—", "₿", "™"]  # fmt: skip


def sentence(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 12))).capitalize() + rng.choice([".", "?", "!", ""])
    if kind == 1:
        return "".join(rng.choice(CHINESE) for _ in range(rng.randint(3, 18)))
    if kind == 2:
        return rng.choice(CODE) + rng.choice(SPACES) + str(rng.randrange(10 ** rng.randint(1, 9)))
    if kind == 3:
        return "".join(rng.choice(EMOJI) + rng.choice(["", " "]) for _ in range(rng.randint(1, 5))) + rng.choice(WORDS)
    if kind == 4:
        return "".join(rng.choice(SPACES) + rng.choice(["", rng.choice(WORDS)]) for _ in range(rng.randint(2, 8)))
    if kind == 5:
        return "".join(rng.choice(OTHERS) + rng.choice(["", " ", "a", "1"]) for _ in range(rng.randint(2, 9)))
    if kind == 6:
        parts = [WORDS, list(CHINESE), EMOJI, SPACES, OTHERS, ["12", "345", "6", "'s", "...", "::", "_"]]
        return "".join(rng.choice(rng.choice(parts)) for _ in range(rng.randint(3, 14)))
    characters = []
    for _ in range(rng.randint(2, 8)):
        top = rng.choice([0x80, 0x250, 0x600, 0x3000, 0xD800, 0x30000])
        code = rng.randrange(top)
        characters.append(chr(code) if not 0xD800 <= code < 0xE000 else "?")
    return "".join(characters)


def family(name):
    """An untrained tokenizer with the normaliser and pre-tokenizer of the family."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
    tokenizer.decoder = decoders.ByteLevel()
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if name == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif name == "smollm2":
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    else:
        pattern = Regex(SPLIT.replace("NUMBERS", "" if name == "qwen2" else "{1,3}"))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "isolated"), plain])
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def fnv(ids):
    """FNV-1a of the ids' text, its low 32 bits: what is compared where the ids themselves would be too much."""
    value = 0xCBF29CE484222325
    for byte in ",".join(map(str, ids)).encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return np.uint32(value % 2**32).astype(np.int32)


def main():
    rng = random.Random(7)
    lines = [sentence(rng) for _ in range(2000)]
    corpus = [sentence(rng) for _ in range(3000)]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "lines.json").write_text(json.dumps(lines, ensure_ascii=False, indent=0) + "\n")
    expected = {}
    for name in ("gpt2", "smollm2", "qwen2", "llama3"):
        tokenizer = family(name)
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        # SmolLM2's vocabulary lacks bytes that it never met.
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        if name == "smollm2":
            alphabet = [c for c in alphabet if c not in "Ąô"]
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False)  # fmt: skip
        tokenizer.train_from_iterator([l for l in corpus if "\x04" not in l and "\U0010ffff" not in l], trainer)
        if name == "qwen2":
            tokenizer.add_tokens([AddedToken("<tool>", normalized=False, special=False)])
        value = json.loads(tokenizer.to_str())
        folder = FOLDER / name
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
        names = {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|im_end|>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(names) + "\n")
        ids = [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]
        expected[f"{name}.hashes"] = np.array([fnv(i) for i in ids], dtype=np.int32)
        for i in range(0, len(lines), 100):
            expected[f"{name}.ids.{i}"] = np.array(ids[i], dtype=np.int32)
        print(name, sum(map(len, ids)), "tokens", folder / "tokenizer.json", (folder / "tokenizer.json").stat().st_size)
    save_file(expected, FOLDER / "expected.safetensors")


if __name__ == "__main__":
    main()
