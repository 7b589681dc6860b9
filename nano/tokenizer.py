"""Byte-level BPE with the structure of V4's tokenizer.json: three regex splits, GPT-2 byte alphabet, added tokens with V4's spellings.

    tokenizer.py [entries] > tokenizer.json       trains a new one on the generator's text, the same bytes every time

Digits never merge, and letters merge with letters only: a small model copies only what is spelled alike in both places."""
import json
import random
import sys
from collections import Counter

import regex as re

import chat

PAD = "<｜▁pad▁｜>"
ADDED = [chat.USER, chat.ASSISTANT, chat.THINK, chat.END_THINK, chat.DSML, "<｜latest_reminder｜>", "<｜action｜>", "<｜query｜>", "<｜authority｜>", "<｜domain｜>",
         "<｜title｜>", "<｜read_url｜>", "<｜extracted_url｜>", "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜begin▁sys｜>", "<｜end▁sys｜>",
         "<｜answer｜>", "<｜search｜>"]
FIRST = [chat.BOS, chat.EOS, PAD]
SPLITS = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
          "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
_PATTERNS = [re.compile(p) for p in SPLITS]
PLACE_HOLDER = "<｜place▁holder▁no▁{}｜>"                     # V4 fills its vocabulary up with these; so does this one


def _finder(tokens):
    return re.compile("(" + "|".join(re.escape(t) for t in sorted(tokens, key=len, reverse=True)) + ")")


def alphabet():
    """byte -> printable character, in V4's id order"""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in keep]
    return {b: chr(b) for b in keep} | {b: chr(256 + i) for i, b in enumerate(rest)}


def pieces(text):
    """the three splits in sequence; unmatched stretches are pieces too"""
    current = [text]
    for pattern in _PATTERNS:
        out = []
        for t in current:
            p = 0
            for m in pattern.finditer(t):
                if m.start() > p:
                    out.append(t[p:m.start()])
                out.append(m.group())
                p = m.end()
            if p < len(t):
                out.append(t[p:])
        current = out
    return current


class Tokenizer:
    """ids 0..2 = BOS, EOS, pad; 3..258 the bytes; merges; added tokens last"""

    def __init__(self, merges, place_holders=4):
        self.byte_char = alphabet()
        self.vocab = {t: i for i, t in enumerate(FIRST)}
        for u in self.byte_char.values():
            self.vocab[u] = len(self.vocab)
        self.order, self.merges = {}, list(merges)
        for a, b in self.merges:
            self.order[(a, b)] = len(self.order)
            self.vocab[a + b] = len(self.vocab)
        self.top = len(self.vocab) - 1                    # last id that is text
        self.added = ADDED + [PLACE_HOLDER.format(i) for i in range(place_holders)]
        for t in self.added:
            self.vocab[t] = len(self.vocab)
        self.size, self.cache = len(self.vocab), {}
        self.special = {t: self.vocab[t] for t in FIRST + self.added}
        self.finder = _finder(self.special)
        self.spelling = {i: t for t, i in self.vocab.items()}
        self.char_byte = {u: b for b, u in self.byte_char.items()}

    def piece(self, p):
        if p in self.cache:
            return self.cache[p]
        k = [self.byte_char[b] for b in p.encode()]
        while len(k) > 1:
            rank, i = min((self.order.get(q, 1 << 30), i) for i, q in enumerate(zip(k, k[1:])))
            if rank == 1 << 30:
                break
            k[i:i + 2] = [k[i] + k[i + 1]]
        ids = [self.vocab[x] for x in k]
        if len(self.cache) < 300000:
            self.cache[p] = ids
        return ids

    def text(self, t):
        out = []
        for part in self.finder.split(t):
            if part in self.special:
                out.append(self.special[part])
            elif part:
                for p in pieces(part):
                    out += self.piece(p)
        return out

    def count(self, t):
        return len(self.text(t))

    def document(self, segments):
        """[(text, kind)] -> ids, kinds.  Neighbours of one kind are joined first, so that no piece breaks inside a user's text"""
        runs, ids, kinds = [], [], []
        for t, k in segments:
            if runs and runs[-1][1] == k:
                runs[-1] = (runs[-1][0] + t, k)
            else:
                runs.append((t, k))
        for t, k in runs:
            e = self.text(t)
            ids += e
            kinds += [k] * len(e)
        return ids, kinds

    def decode(self, ids):
        out = b""
        for i in ids:
            s = self.spelling[int(i)]
            out += s.encode() if s in self.special else bytes(self.char_byte[c] for c in s)
        return out.decode("utf8", "replace")

    def release(self):
        """the contents of tokenizer.json"""
        split = lambda p: {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False}
        added = lambda t, special: {"id": self.vocab[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
        level = lambda prefix, trim, rx: {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": rx}
        return {"version": "1.0", "truncation": None, "padding": None,
                "added_tokens": [added(t, True) for t in FIRST] + [added(t, "place" in t) for t in self.added],
                "normalizer": {"type": "Sequence", "normalizers": []},
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(p) for p in SPLITS] + [level(False, True, False)]},
                "post_processor": level(True, False, True), "decoder": level(True, True, True),
                "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
                          "byte_fallback": False, "vocab": {t: i for t, i in self.vocab.items() if t not in self.added}, "merges": [f"{a} {b}" for a, b in self.merges]}}


def glues(token):
    """does it join letters to anything else (a space, a quote, a slash)?  Such a word would be spelled by other tokens after a tag than after
    a space, and copying it would mean translating it; without such tokens a copy repeats the very same ids"""
    letters = sum(c.isalpha() and c != "\u0120" for c in token)
    return 0 < letters < len(token)


def load(path):
    with open(path, encoding="utf-8") as f:
        return from_release(json.load(f))


def from_release(j):
    return Tokenizer([tuple(m.split(" ")) for m in j["model"]["merges"]], sum("place" in t["content"] for t in j["added_tokens"]))


def train(texts, entries):
    """ties go to the lexicographically smallest pair, so the result depends on the texts only"""
    counts, finder = Counter(), _finder(FIRST + ADDED)
    for t in texts:
        for part in finder.split(t):
            if part and not finder.fullmatch(part):
                counts.update(pieces(part))
    chars = alphabet()
    words = [([chars[b] for b in w.encode()], c) for w, c in sorted(counts.items()) if c > 1 and not w.isdigit()]
    pairs, where, merges = Counter(), {}, []
    for i, (k, c) in enumerate(words):
        for p in zip(k, k[1:]):
            pairs[p] += c
            where.setdefault(p, set()).add(i)
    seen = set(chars.values())
    while len(merges) < entries - 263 - len(ADDED):
        p = min(pairs.items(), key=lambda x: (-x[1], x[0]))[0]
        new = p[0] + p[1]
        if new in seen or glues(new):
            pairs.pop(p)
            continue
        seen.add(new)
        merges.append(p)
        for i in sorted(where.get(p, ())):
            k, c = words[i]
            for q in zip(k, k[1:]):
                pairs[q] -= c
            j, out = 0, []
            while j < len(k):
                if j + 1 < len(k) and (k[j], k[j + 1]) == p:
                    out.append(new)
                    j += 2
                else:
                    out.append(k[j])
                    j += 1
            words[i] = (out, c)
            for q in zip(out, out[1:]):
                pairs[q] += c
                where.setdefault(q, set()).add(i)
        pairs.pop(p, None)
    return Tokenizer(merges)


def sample_texts(documents=3000, seed=7):
    """what the merges are learned from: the generator's own documents"""
    import dialogues
    import recall
    from tools import Source
    from words import Words
    s, guess = Source(Words(random.Random(seed))), lambda t: len(t) // 2
    for i in range(documents):
        x = i % 4
        d = dialogues.tool_document(s, 600, guess, brief=i % 16 != 0) if x == 0 else recall.reading(s, guess, 300, 4) if x == 1 else recall.lines(s, guess, 200) if x == 2 else dialogues.talk_document(s)
        yield "".join(t for t, _ in d)


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 768
    json.dump(train(sample_texts(), size).release(), sys.stdout, ensure_ascii=False, indent=1)
