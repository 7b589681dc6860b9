"""Scores on held-out cases: exact match of the whole answer, greedy, free running.

    evaluate.py MODEL [--kinds call_known:50,needle_4k:20] [--regime f32] [--show] [--seed 1]

MODEL is a run's .pt file or an exported folder.  Cache and index rows are rounded as the engine does by default (--regime f32 leaves that
out), index top-k is on.  A teacher-forced arg-max that is right at every token of the expected answer is the same as greedy decoding
giving that answer, so one forward pass per case is enough."""
import argparse
import json
import os
import time

import torch

import cases
import release
import tokenizer
from model import Model

STANDARD = "call_known:100,call_unseen:100,think_known:40,think_unseen:40,max_unseen:20,answer_known:40,answer_unseen:40,loop:40,refusal:40,chat:40,needle_1k:40,needle_4k:60,think_needle_4k:20,facts_4k:20,needle_16k:40"


def open_model(path):
    if os.path.isdir(path):
        cfg, weights = release.load(path)
        tok = tokenizer.load(os.path.join(path, "tokenizer.json"))
    else:
        state = torch.load(path)
        cfg, weights, tok = state["config"], state["model"], tokenizer.from_release(state["tokenizer"])
    model = Model(cfg)
    model.load_state_dict(weights)
    return model.eval(), tok


@torch.no_grad()
def predict(model, ids, regime="kvq"):
    """arg-max token after every position"""
    window = model.c["sliding_window"]
    padded = ids + [2] * (-len(ids) % window)
    return model(torch.tensor([padded]), dict(topk=True, round=regime == "kvq", kl=False, w=None, loss=[]))[:len(ids)].argmax(-1).tolist()


def check(model, tok, case, regime="kvq"):
    """-> right?, the text the model prefers token by token while the expected answer is fed"""
    prompt, answer = tok.text(case["prompt"]), tok.text(case["expected"])
    got = predict(model, prompt + answer, regime)[len(prompt) - 1:-1]
    return got == answer, tok.decode(got)


def score(model, tok, kind, n, seed=1, regime="kvq", show=False, new_phrases=True):
    right = 0
    for i in range(n):
        c = cases.make(kind, i, tok.count, seed, new_phrases)
        ok, got = check(model, tok, c, regime)
        right += ok
        if show and not ok:
            print(f"--- {c['id']}\n{c['prompt'][c['prompt'].rindex('### Available') if '### Available' in c['prompt'] else -300:]}\nwant {c['expected']!r}\ngot  {got!r}")
    return right


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("--kinds", default=STANDARD)
    ap.add_argument("--regime", default="kvq", choices=["f32", "kvq"])
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--show", action="store_true", help="print every wrong case")
    ap.add_argument("--trained-phrases", action="store_true", help="templates of training instead of held-out ones")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--json", default="")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    m, t = open_model(a.model)
    rows = {}
    for item in a.kinds.split(","):
        kind, n = item.split(":")
        began = time.time()
        right = score(m, t, kind, int(n), a.seed, a.regime, a.show, not a.trained_phrases)
        rows[kind] = [right, int(n)]
        print(f"{kind:16} {right:3} of {n:3}  {100 * right / int(n):5.1f} %   ({time.time() - began:.0f} s)", flush=True)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(rows, f)
