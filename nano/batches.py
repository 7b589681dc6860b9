"""Rows of packed documents for training: [rows, length + 2] ids and kinds.

Every document starts at BOS.  One that does not fit the rest of a row waits for the next row, and the gap is filled with short copying
lessons, so that the ends of long documents (where the answers are) are not cut off."""
import random

import torch

import agent
import dialogues
import recall
from tools import Source
from words import Words


class Stream:
    def __init__(self, tokenizer, seed):
        self.tok, self.r = tokenizer, random.Random(seed)
        self.s, self.waiting = Source(Words(self.r)), []
        self.alphabets = [[tokenizer.vocab[c] for c in a] for a in ("0123456789", "abcdefghijklmnopqrstuvwxyz")]

    def document(self, kind, length, questions):
        """-> ids, kinds of one document of about `length` tokens at most"""
        r, s, tok = self.r, self.s, self.tok
        if kind == "near":
            return recall.strings_near(r, tok.top)
        if kind == "far":
            return recall.strings_far(r, tok.top, length if r.random() < 0.6 else r.randint(150, length), self.alphabets)
        if kind == "near_far":
            return recall.strings_far(r, tok.top, r.randint(30, 120), self.alphabets)
        if kind == "copy":
            d = recall.copy(s)
        elif kind == "lines":
            d = recall.lines(s, tok.count, length if r.random() < 0.5 else r.randint(120, length))
        elif kind == "facts":
            d = recall.reading(s, tok.count, length, questions)
        elif kind == "short_facts":
            d = recall.reading(s, tok.count, r.randint(80, 300), max(2, questions // 4))
        elif kind == "needles":
            n = r.randint(2, 8)
            d = recall.needles(s, tok.count, max(60, length - 60 - 50 * n), n, r.choice([0, 0, 0, 1, 2]), r.choice([0, 0, 0.02, 0.1, 0.3]))
        elif kind == "calls":
            d = dialogues.tool_document(s, r.randint(min(700, length), length), tok.count)
        elif kind == "brief_calls":
            d = dialogues.tool_document(s, r.randint(min(300, length), length), tok.count, brief=True)
        elif kind in ("easy_drill", "drill", "full_drill"):
            d = dialogues.drill_document(s, length, tok.count, kind != "full_drill", 0.9 if kind == "easy_drill" else 0.25)
        elif kind in ("agent", "brief_agent"):
            d = agent.agent_document(s, r.randint(min(1200 if kind == "agent" else 600, length), length), tok.count, brief=kind == "brief_agent")
        elif kind == "talk":
            d = dialogues.talk_document(s)
        else:
            raise KeyError(kind)
        return tok.document(d)

    def row(self, length, mix, questions):
        names, weights, ids, kinds = list(mix), list(mix.values()), [], []
        room = length + 2
        while len(ids) < room:
            if self.waiting and not ids:
                i, k = self.waiting.pop()
            else:
                i, k = self.document(self.r.choices(names, weights)[0], length, questions)
                if ids and len(ids) + len(i) > room:
                    if len(i) <= room * 1.1 and len(self.waiting) < 4:
                        self.waiting.append((i, k))
                    i, k = self.document(self.r.choice(["near", "near_far", "copy"]), length, questions)
            ids += i
            kinds += k
        return ids[:room], kinds[:room]

    def batch(self, rows, length, mix, questions):
        out = [self.row(length, mix, questions) for _ in range(rows)]
        return torch.tensor([i for i, _ in out]), torch.tensor([k for _, k in out])
