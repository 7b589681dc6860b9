"""Give a trained model a tokenizer without the merges that glue a space or a quote to letters (tokenizer.glues), then fill its vocabulary up.

    retokenize.py RUN.pt OUT.pt [ENTRIES]

Rows of the embedding, the head and the hash routing follow their token to its new id.  With ENTRIES place holders are added up to that size."""
import sys

import torch

import tokenizer
from model import Model


def without_glue(tok):
    """-> tokenizer with the remaining merges"""
    known, keep = set(tok.byte_char.values()), []
    for a, b in tok.merges:
        if a in known and b in known and not tokenizer.glues(a + b):
            keep.append((a, b))
            known.add(a + b)
    return tokenizer.Tokenizer(keep)


def move(state, entries=0):
    old = tokenizer.from_release(state["tokenizer"])
    new = without_glue(old)
    new = tokenizer.Tokenizer(new.merges, max(4, 4 + entries - new.size))
    last = old.vocab[tokenizer.PLACE_HOLDER.format(3)]       # a row that training has taught never to be said
    rows = torch.tensor([old.vocab.get(new.spelling[i], last) for i in range(new.size)])
    cfg = dict(state["config"], vocab_size=new.size)
    weights = {k: v[rows].clone() if k in ("embed", "head") or k.endswith("tid2eid") else v for k, v in state["model"].items()}
    Model(cfg).load_state_dict(weights)
    return {"config": cfg, "model": weights, "tokenizer": new.release(), "momentum": state.get("momentum", {})}


if __name__ == "__main__":
    torch.save(move(torch.load(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else 0), sys.argv[2])
