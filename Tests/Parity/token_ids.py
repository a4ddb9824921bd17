"""Compares token ids with Hugging Face tokenizers: token_ids.py [--seed N] [--strings N]

10,000 random strings of code points assigned in Unicode 15.0, encoded by `cox tokenizer encode`
and by the package `tokenizers`, must give the same ids: with tokenizers that Hugging Face's
trainer made for every pattern, with such as `cox tokenizer train` made for every splitter, and
with the vocabularies of GPT-2, GPT-4 and GPT-4o where the data folder holds them.

The programs are taken from $BIN or .build/release, the data from $COX_DATA or ../shared/data.
Prints a line per tokenizer; exits 1 if any id differs.
"""
import argparse, json, random, tempfile, unicodedata
from pathlib import Path

from support.cox import DATA, check, cox, end, need, skip

need("tokenizers")
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

# As tiktoken has them, but for \p{N}{1,3}+ in cl100k: to Oniguruma that is a run of any length.
PATTERNS = {
    "gpt2": r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    "cl100k": r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}|"""
    r""" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
    "llama3": r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"""
    r""" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    "o200k": r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"""
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"""
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"""
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"""
    r"""\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
}

# Code points that Unicode 15.1, 16.0 and 17.0 assigned.
LATER = """
88F 897 C5C CDC 1ACF-1ADD 1AE0-1AEB 1B4E-1B4F 1B7F 1C89-1C8A 20C1 2427-2429 2B96 2FFC-2FFF
31E4-31E5 31EF A7CB-A7CF A7D2 A7D4 A7DA-A7DC A7F1 FBC3-FBD2 FD90-FD91 FDC8-FDCE 105C0-105F3
10940-10959 10D40-10D65 10D69-10D85 10D8E-10D8F 10EC2-10EC7 10ED0-10ED8 10EFA-10EFC 11380-11389
1138B 1138E 11390-113B5 113B7-113C0 113C2 113C5 113C7-113CA 113CC-113D5 113D7-113D8 113E1-113E2
116D0-116E3 11B60-11B67 11BC0-11BE1 11BF0-11BF9 11DB0-11DDB 11DE0-11DE9 11F5A 13460-143FA
16100-16139 16D40-16D79 16EA0-16EB8 16EBB-16ED3 16FF2-16FF6 187F8-187FF 18CFF 18D09-18D1E
18D80-18DF2 1CC00-1CCFC 1CD00-1CEB3 1CEBA-1CED0 1CEE0-1CEF0 1E5D0-1E5FA 1E5FF 1E6C0-1E6DE
1E6E0-1E6F5 1E6FE-1E6FF 1F6D8 1F777-1F77A 1F8B2-1F8BB 1F8C0-1F8C1 1F8D0-1F8D8 1FA54-1FA57
1FA89-1FA8A 1FA8E-1FA8F 1FABE 1FAC6 1FAC8 1FACD 1FADC 1FADF 1FAE9-1FAEA 1FAEF 1FBCB-1FBEF 1FBFA
2B73A-2B73F 2CEA2-2CEAD 2EBF0-2EE5D 323B0-33479
"""

COMMON = [
    " ", "  ", "   ", "\n", "\r\n", "\r", "\n\n", " \n", "\n ", "\t", "\v", "\f", "\x85", "\xa0",
    "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u3000", "\u200b", "\ufeff", "\x1c", "\0",
    "'", "'s", "'S", "'t", "'RE", "'ve", "'m", "'LL", "'d", "'D", "'\u017f", "\u2019s", "\u017f",
    "a", "the", "The", "THE", "eXaMple", "iPhone", "HTTPServer", "na\u00efve", "\u01c5", "\u0295",
    "0", "12", "345", "67890", "\u0663", "\u00bd", "\u2167", "\U0001d7d8", "1,000.5", "v2", "2nd",
    ".", "!!", "--", "/", "//", "?\n/", "...\r\n", "(", "#", "_", "\\", '"', "<|", "|>", "$", "^",
    "\u0301", "\u0302\u0303", "e\u0301", "E\u0301", "\u094d", "\u20dd", "\ufe0f", "\u200d",
    "\u02b0",
    "\u4f60\u597d", "\u3053\u308c", "\uc548\ub155", "\u043f\u0440\u0438", "\u041f\u0420", "\u0639",
    "\u0e01\u0e33", "\u0928\u092e\u0938\u094d", "\u13a0", "\uab70", "\u10d0", "\u1c90",
    "\U00010400",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
    "\U0001f44d\U0001f3fd", "\u00df", "\u1e9e", "\u212a", "\ufb03", "\ue000", "\U000f0000",
]


def groups_of_assigned():
    """Code points assigned in Unicode 15.0, by general category."""
    later = set()
    for part in LATER.split():
        first, _, last = part.partition("-")
        later.update(range(int(first, 16), int(last or first, 16) + 1))
    only_assigned = pre_tokenizers.Split(Regex(r"\p{Cn}"), "removed")
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000 and p not in later]
    groups = {}
    for start in range(0, len(points), 4096):
        text = "".join(map(chr, points[start : start + 4096]))
        for piece, _ in only_assigned.pre_tokenize_str(text):
            for character in piece:
                groups.setdefault(unicodedata.category(character), []).append(character)
    return [groups[name] for name in sorted(groups)]


def random_strings(count, seed):
    draw = random.Random(seed)
    groups = groups_of_assigned()
    print(f"seed {seed}, {count} strings from {sum(map(len, groups))} code points")
    strings = []
    for _ in range(count):
        parts = []
        for _ in range(draw.randint(0, 24)):
            if draw.random() < 0.4:
                parts.append(draw.choice(draw.choice(groups)))
            else:
                parts.append(draw.choice(COMMON) * draw.choice((1, 1, 1, 2, 5)))
        strings.append("".join(parts))
    return strings


def split_and_spell(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def made_by_hugging_face(pre_tokenizer, strings):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2500, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(strings, trainer)
    return tokenizer


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, default=15)
    options.add_argument("--strings", type=int, default=10_000)
    options = options.parse_args()
    strings = random_strings(options.strings, options.seed)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        lines = folder / "strings.jsonl"
        # Both ways to write JSON: escaped, and as UTF-8.
        lines.write_text("".join(
            json.dumps({"text": s}, ensure_ascii=i % 2 == 0) + "\n" for i, s in enumerate(strings)),
            encoding="utf-8", newline="")

        def compare(name, file, reference):
            output = cox("tokenizer", "encode", file, "--jsonl", "--file", lines)
            ours = [json.loads(line) for line in output.splitlines()]
            theirs = [e.ids for e in reference.encode_batch(strings, add_special_tokens=False)]
            differing = [i for i, ids in enumerate(theirs) if i >= len(ours) or ids != ours[i]]
            if len(ours) != len(theirs):
                differing.append(len(ours))
            check(f"{name}: {len(theirs)} strings, {sum(map(len, theirs))} ids", not differing,
                  f"{len(differing)} differ", "none")
            for i in [i for i in differing if i < min(len(ours), len(theirs))][:3]:
                print(f"  {strings[i]!a}\n  theirs {theirs[i]}\n  ours   {ours[i]}")

        for name, pattern in PATTERNS.items():
            theirs = made_by_hugging_face(split_and_spell(pattern), strings)
            theirs.save(str(folder / "theirs.json"))
            cox("tokenizer", "import", folder / "theirs.json", "--out", folder / "ours.json")
            compare(f"{name}, Hugging Face's trainer", folder / "ours.json", theirs)

            file = folder / "own.json"
            cox("tokenizer", "train", lines, "--splitter", name, "--vocabulary", 2500,
                "--out", file)
            compare(f"{name}, cox tokenizer train", file, Tokenizer.from_file(str(file)))

        theirs = made_by_hugging_face(pre_tokenizers.ByteLevel(add_prefix_space=False), strings)
        theirs.save(str(folder / "theirs.json"))
        cox("tokenizer", "import", folder / "theirs.json", "--out", folder / "ours.json")
        compare("gpt2, Hugging Face's ByteLevel", folder / "ours.json", theirs)

        for name, file in [
            ("gpt2", "gpt2/vocab.bpe"),
            ("cl100k", "cl100k_base.tiktoken"),
            ("o200k", "o200k_base.tiktoken.gz"),
        ]:
            source = DATA / "tokenizer" / file
            if not source.exists():
                skip(f"{name}, real vocabulary: there is no {source}")
                continue
            cox("tokenizer", "import", source, "--out", folder / "ours.json")
            theirs = Tokenizer.from_file(str(folder / "ours.json"))
            theirs.pre_tokenizer = split_and_spell(PATTERNS[name])
            compare(f"{name}, real vocabulary", folder / "ours.json", theirs)
    end()


main()
