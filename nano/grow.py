"""Add a CSA layer on top of a trained checkpoint without changing its function.

    grow.py CHECKPOINT_DIR OUT.pt

The new layer copies the last one, so it already attends usefully, but its output projections start at zero and its residual mixing
close to the identity."""
import json
import os
import sys

import torch

import release
from model import Model


def grow(cfg, weights, seed=11):
    """-> config with one more layer of ratio 4 before the MTP block, state dict"""
    torch.manual_seed(seed)
    last, n = cfg["num_hidden_layers"] - 1, cfg["hc_mult"]
    new = dict(cfg, num_hidden_layers=last + 2, compress_ratios=cfg["compress_ratios"][:-1] + [4] + cfg["compress_ratios"][-1:])
    assert cfg["compress_ratios"][last] == 4, "the last layer must be a CSA layer"
    out = {}
    for key in Model(new).state_dict():
        v = weights[key.replace(f"layers.{last + 1}.", f"layers.{last}.")].clone()
        if key.startswith(f"layers.{last + 1}."):
            if key.endswith(("wo_b", "ffn.down", "ffn.load")):
                v.zero_()
            if ".hc_" in key and key.endswith(".base"):
                v[2 * n:] = (torch.eye(n) * 6).reshape(-1)
            if ".hc_" in key and key.endswith(".fn"):
                v[2 * n:] *= 0.05
        out[key] = v
    return new, out


if __name__ == "__main__":
    config, weights = grow(*release.load(sys.argv[1]))
    with open(os.path.join(sys.argv[1], "tokenizer.json"), encoding="utf-8") as f:
        torch.save({"config": config, "model": weights, "tokenizer": json.load(f)}, sys.argv[2])
