"""Give a trained model another tokenizer.

    retokenize.py RUN.pt TOKENIZER.json OUT.pt

Rows of the embedding, the head and the hash routing follow their token to its new id.  A token the old vocabulary lacks starts as the mean of
the tokens it was spelled with."""
import json
import sys

import torch

import tokenizer
from model import Model


def spelled(old, token):
    """ids of the old vocabulary that spell a token of the new one"""
    if token in old.vocab:
        return [old.vocab[token]]
    if token in (t for t in tokenizer.FIRST + tokenizer.ADDED) or "place" in token:
        return [old.vocab[tokenizer.PLACE_HOLDER.format(0)]]
    return old.piece(bytes(old.char_byte[c] for c in token).decode("utf8", "surrogateescape"))


def move(state, target):
    old = tokenizer.from_release(state["tokenizer"])
    parts = [spelled(old, target.spelling[i]) for i in range(target.size)]
    rows = lambda v: torch.stack([v[p].mean(0) for p in parts])
    weights = {k: rows(v) if k in ("embed", "head") else v[[p[0] for p in parts]].clone() if k.endswith("tid2eid") else v for k, v in state["model"].items()}
    cfg = dict(state["config"], vocab_size=target.size)
    Model(cfg).load_state_dict(weights)
    return {"config": cfg, "model": weights, "tokenizer": target.release(), "momentum": state.get("momentum", {})}


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as f:
        wanted = tokenizer.from_release(json.load(f))
    torch.save(move(torch.load(sys.argv[1]), wanted), sys.argv[3])
