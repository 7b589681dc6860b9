"""Write held-out cases as JSON lines for the engine's evaluator: {"id", "kind", "prompt", "expected"}.

    eval_set.py OUT_DIR                      the fixed set of this folder: calls.jsonl, talk.jsonl, needles.jsonl
    eval_set.py --kinds needle_16k:40 [--seed 1] > cases.jsonl

Special tokens are spelled out; `expected` ends with the end-of-sentence token.  The same arguments always give the same bytes."""
import argparse
import json
import os
import sys

import cases
import tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
FIXED = {"calls": "call_known:100,call_unseen:100,think_unseen:30,max_unseen:10", "talk": "loop:40,answer_known:20,refusal:30,chat:30", "needles": "needle_1k:20,needle_4k:30,needle_16k:12"}


def lines(kinds, seed, count):
    for item in kinds.split(","):
        kind, n = item.split(":")
        for i in range(int(n)):
            yield json.dumps(cases.make(kind, i, count, seed), ensure_ascii=False) + "\n"


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out", nargs="?")
    ap.add_argument("--kinds")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    tok = tokenizer.load(os.path.join(HERE, "weights", "tokenizer.json"))
    if a.kinds:
        sys.stdout.writelines(lines(a.kinds, a.seed, tok.count))
    elif a.out:
        os.makedirs(a.out, exist_ok=True)
        for name, kinds in FIXED.items():
            with open(os.path.join(a.out, name + ".jsonl"), "w", encoding="utf-8") as f:
                f.writelines(lines(kinds, a.seed, tok.count))
    else:
        ap.error("an output folder or --kinds is needed")
