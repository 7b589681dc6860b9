"""Training on a CPU: a staged plan, Muon + AdamW, resumable; several processes with a copy of the model each.

Small steps teach this model more per token than large ones, so by default every process steps on its own rows and the weights are
averaged every few steps; --average 0 sums gradients instead.

    train.py NAME --plan plans/X.json --seconds N [--workers 2] [--init OTHER] [--upcycle]

Writes runs/NAME.pt (weights, optimizer, step, time used) every few minutes, atomically; started again with the same name it goes on
from there.  A plan: {"rate", "decay": share of the time after which the rate falls to zero, "stages": [{"until": share of the time,
"length", "rows" per worker, "mix": {document kind: weight}, "questions" per reading, "kl": every k-th step, "topk", "round", "mtp": weight,
"mtp_every", "skip": share of steps with skipped positions}]}."""
import argparse
import json
import os
import random
import time

import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F

import kernels
import rounding
import tokenizer
from batches import Stream
from model import Model, config
from muon import Muon

HERE = os.path.dirname(os.path.abspath(__file__))
CONTEXT_WEIGHT = 0.02                        # loss weight of text the assistant did not write
HARD = 2.0                                   # extra weight of an answer's token the model would not have said: first tokens of values, mostly
CONTEXT = mp.get_context("fork")


@torch.no_grad()
def upcycle(model):
    """Start the compressors as pools of the window's own KV vectors.

    What the heads learned to match and read inside the window then works, diluted, on compressed entries; without this the compressors
    get no useful gradient and nothing beyond the window is ever recalled."""
    for layer in model.layers:
        a = layer.attn
        if a.r:
            c = a.compressor
            c.wkv.copy_(a.wkv.repeat(c.wkv.shape[0] // a.D, 1))
            c.norm.weight.copy_(a.kv_norm.weight)
            c.wgate.mul_(0.3)
            c.ape.zero_()


def skipped_positions(length, r):
    """positions with random jumps by multiples of 128: large distances in short rows"""
    jumps = np.zeros(length // 128, np.int64)
    jumps[1:] = np.cumsum([r.choice([0, 0, 0, 1, 4, 16, 64]) for _ in range(length // 128 - 1)]) * 128
    return np.arange(length) + np.repeat(jumps, 128)


def split_parameters(model):
    """-> (names of matrices for Muon, names of the rest for AdamW)"""
    small = lambda n: "embed" in n or n == "head" or "ape" in n or ".fn" in n or "ffn.gate" in n or "weights_proj" in n
    named = list(model.named_parameters())
    mats = [n for n, p in named if p.dim() >= 2 and not small(n)]
    return mats, [n for n, _ in named if n not in set(mats)]


def share(names, sizes, workers):
    """split the orthogonalisation work evenly: largest first to the least loaded"""
    out, load = [[] for _ in range(workers)], [0.0] * workers
    for n in sorted(names, key=lambda n: -sizes[n]):
        k = load.index(min(load))
        out[k].append(n)
        load[k] += sizes[n]
    return out


class Shared:
    """what the workers see in common: gradients (one row each), Muon's momentum and the matrices it updated, the clock"""

    def __init__(self, model, workers):
        n = sum(p.numel() for p in model.parameters())
        loads = sum(b.numel() for k, b in model.named_buffers() if k.endswith("load"))
        self.grads = torch.zeros(workers, n + loads).share_memory_()
        self.momentum = {k: torch.zeros_like(p).share_memory_() for k, p in model.named_parameters() if k in set(split_parameters(model)[0])}
        self.matrices = {k: torch.zeros_like(m).share_memory_() for k, m in self.momentum.items()}
        self.clock = torch.zeros(1).share_memory_()
        self.barrier = CONTEXT.Barrier(workers)


def loss_of(model, batch, kinds, stage, step, r):
    """-> loss, running figures (assistant loss, recall loss, indexer loss, indexer hits)"""
    T = stage["length"]
    x, y, k1 = batch[:, :T], batch[:, 1:T + 1].reshape(-1), kinds[:, 1:T + 1]
    w = torch.where(k1 == 0, CONTEXT_WEIGHT, 1.0)
    kl = bool(stage.get("kl")) and step % stage["kl"] == 0
    mtp = stage.get("mtp", 0) > 0 and step % stage.get("mtp_every", 2) == 0
    aux = dict(topk=stage.get("topk", False), round=stage.get("round", False), kl=kl, w=(k1 > 0).float() + 0.02, loss=[], stats=[] if kl else None)
    pos = skipped_positions(T, r) if r.random() < stage.get("skip", 0) else None
    out = model(x, aux, pos=pos, mtp=mtp)
    each = F.cross_entropy(out[0] if mtp else out, y, reduction="none")
    flat = (w * (1 + HARD * (1 - torch.exp(-each.detach().view_as(w))) * (k1 > 0))).reshape(-1)
    loss = (each * flat).sum() / flat.sum()
    if mtp:
        w2 = flat * (torch.arange(T) < T - 1).float().repeat(x.shape[0])
        loss = loss + stage["mtp"] * (F.cross_entropy(out[1], batch[:, 2:T + 2].reshape(-1), reduction="none") * w2).sum() / w2.sum()
    if kl:
        loss = loss + 0.5 * sum(aux["loss"])
    k = k1.reshape(-1)
    mean = lambda m: float(each.detach()[m].mean()) if m.any() else None
    hits = [sum(v) for v in zip(*aux["stats"])] if kl and aux["stats"] else [0, 0]
    return loss, {"assistant": mean(k == 1), "recall": mean(k == 2), "kl": float(sum(aux["loss"])) / len(aux["loss"]) if kl else None, "hits": hits[0] / hits[1] if hits[1] else None}


def worker(rank, a, plan, cfg, tok_json, start, shared):
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    kernels.low_precision = not a.float32
    tok = tokenizer.from_release(tok_json)
    model = Model(cfg)
    model.load_state_dict(start["model"])
    params = dict(model.named_parameters())
    mats, rest = split_parameters(model)
    alone = a.average > 0                                    # workers step on their own and average their weights now and then
    mine = mats if alone else share(mats, {n: params[n].numel() * min(params[n].shape[-2:]) for n in mats}, a.workers)[rank]
    muon = Muon([params[n] for n in mine], [shared.momentum[n].clone() if alone and rank else shared.momentum[n] for n in mine])
    adam = torch.optim.AdamW([params[n] for n in rest], lr=plan["rate"] * 0.35, betas=(0.9, 0.95), weight_decay=0.0)
    if start.get("adam"):
        adam.load_state_dict(start["adam"])
    moes = [m for m in model.modules() if hasattr(m, "balance")]
    loads = [m.load for m in moes if not m.hashed]
    step, tokens, before, cpu = (start.get(k, 0) for k in ("step", "tokens", "elapsed", "cpu"))
    first, began, log, saved, running, skipped = step, time.time(), time.time(), time.time(), {}, 0
    r, stream = random.Random(f"{a.seed} {rank} {step} skip"), Stream(tok, f"{a.seed} {rank} {step}")

    def save():
        state = {"config": cfg, "tokenizer": tok_json, "model": model.state_dict(), "momentum": shared.momentum, "adam": adam.state_dict(), "step": step, "tokens": tokens,
                 "elapsed": before + time.time() - began, "cpu": cpu + a.workers * time.process_time(), "done": float(shared.clock[0]) >= 1}
        torch.save(state, a.file + ".part")
        os.replace(a.file + ".part", a.file)

    while True:
        if not alone or (step - first) % a.average == 0:
            if alone:
                average(model, shared, rank, a.workers)
            if rank == 0:
                shared.clock[0] = (before + time.time() - began) / a.seconds
            shared.barrier.wait()
            if float(shared.clock[0]) >= 1:
                break
        at = float(shared.clock[0])
        stage = next((s for s in plan["stages"] if at < s["until"]), plan["stages"][-1])
        batch, kinds = stream.batch(stage["rows"], stage["length"], stage["mix"], stage.get("questions", 14))
        rate = plan["rate"] * min(1, (step - first + 1) / 30) * (1 if at < plan["decay"] else max(0.01, (1 - at) / (1 - plan["decay"])))
        master = None
        if stage.get("round"):                               # gradients at the rounded weights, update of the exact ones
            with torch.no_grad():
                master = {p: p.detach().clone() for p in params.values()}
                for p, v in rounding.stored(model).items():
                    p.copy_(v)
        loss, figures = loss_of(model, batch, kinds, stage, step, r)
        for p in params.values():
            p.grad = None
        loss.backward()
        if master:
            with torch.no_grad():
                for p, v in master.items():
                    p.copy_(v)
        if not alone:
            reduce_gradients(params, loads, shared, rank, a.workers)
        norm = torch.nn.utils.clip_grad_norm_([p for p in params.values() if p.grad is not None], 1.0)
        if torch.isfinite(norm):                             # the sum is the same everywhere, so all workers decide alike
            muon.step(rate)
            for g in adam.param_groups:
                g["lr"] = rate * 0.35
            adam.step()
            for m in moes:
                m.balance(0.002 * rate / plan["rate"])
        elif rank == 0:
            skipped += 1
            print(f"{a.name} step {step}: gradient not finite, left out ({skipped} so far)", [n for n, p in params.items() if p.grad is not None and not p.grad.isfinite().all()][-4:], float(loss), flush=True)
        if not alone:
            exchange(params, mine, shared)
        step += 1
        tokens += batch.shape[0] * stage["length"] * a.workers
        if rank == 0:
            for k, v in figures.items():
                if v is not None:
                    running[k] = v if k not in running else 0.95 * running[k] + 0.05 * v
            now = time.time()
            if now - log > 20:
                log = now
                print(f"{a.name} step {step} {at:.3f} T={stage['length']} {tokens / 1e6:.2f}M tokens {(tokens - start.get('tokens', 0)) / (now - began):.0f}/s "
                      + " ".join(f"{k} {v:.3f}" for k, v in running.items()), flush=True)
            if now - saved > a.save and (not alone or (step - first) % a.average == 1):
                saved = now
                save()
    if rank == 0:
        save()
        print(f"{a.name} done: {tokens / 1e6:.2f} M tokens in all, about {cpu + a.workers * time.process_time():.0f} CPU seconds", flush=True)


@torch.no_grad()
def reduce_gradients(params, loads, shared, rank, workers):
    """mean of all workers' gradients, sum of their expert loads"""
    shared.grads[rank].copy_(torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in params.values()] + loads))
    shared.barrier.wait()
    total, at = shared.grads.sum(0), 0
    for p in params.values():
        g = total[at:at + p.numel()].view_as(p) / workers
        p.grad = g if p.grad is not None or bool(g.any()) else None
        at += p.numel()
    for v in loads:
        v.copy_(total[at:at + v.numel()])
        at += v.numel()


@torch.no_grad()
def average(model, shared, rank, workers):
    """mean of all workers' weights and routing biases"""
    tensors = list(model.parameters()) + [b for k, b in model.named_buffers() if k.endswith("bias")]
    flat = torch.cat([t.reshape(-1) for t in tensors])
    shared.grads[rank, :flat.numel()].copy_(flat)
    shared.barrier.wait()
    mean, at = shared.grads[:, :flat.numel()].mean(0), 0
    for t in tensors:
        t.copy_(mean[at:at + t.numel()].view_as(t))
        at += t.numel()


@torch.no_grad()
def exchange(params, mine, shared):
    """every worker orthogonalised its share of the matrices; fetch the others' """
    for n in mine:
        shared.matrices[n].copy_(params[n])
    shared.barrier.wait()
    for n, m in shared.matrices.items():
        params[n].copy_(m)


def begin(a):
    """-> config, tokenizer, start state: resumed, continued from another run or checkpoint folder, or new"""
    if os.path.exists(a.file):
        state = torch.load(a.file)
        return state["config"], state["tokenizer"], state
    if a.init:
        if os.path.isdir(a.init):
            import release
            cfg, weights = release.load(a.init)
            with open(os.path.join(a.init, "tokenizer.json"), encoding="utf-8") as f:
                return cfg, json.load(f), {"model": weights}
        state = torch.load(a.init)
        start = {"model": state["model"], **{k: state[k] for k in ("momentum", "adam") if a.keep_optimizer and k in state}}
        return state["config"], state["tokenizer"], start
    with open(a.tokenizer, encoding="utf-8") as f:
        tok = json.load(f)
    cfg = config(tokenizer.from_release(tok).size)
    torch.manual_seed(a.seed)
    model = Model(cfg)
    with torch.no_grad():                                    # queries carry no weight: let scores begin a little sharper
        for n, p in model.named_parameters():
            if n.endswith("kv_norm.weight") or (n.endswith("compressor.norm.weight") and "indexer" not in n):
                p.fill_(2.0)
    return cfg, tok, {"model": model.state_dict()}


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("name")
    ap.add_argument("--plan", required=True)
    ap.add_argument("--seconds", type=float, required=True)
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--init", default="", help="a run's .pt file or an exported checkpoint folder")
    ap.add_argument("--keep-optimizer", action="store_true")
    ap.add_argument("--average", type=int, default=8, help="steps between averages of the workers' weights; 0: one common gradient per step")
    ap.add_argument("--float32", action="store_true", help="matrix products in float32 instead of bfloat16")
    ap.add_argument("--upcycle", action="store_true")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--save", type=float, default=180.0, help="seconds between checkpoints")
    ap.add_argument("--runs", default=os.environ.get("NANO_RUNS", os.path.join(HERE, "runs")))
    ap.add_argument("--tokenizer", default=os.path.join(HERE, "weights", "tokenizer.json"))
    args = ap.parse_args()
    os.makedirs(args.runs, exist_ok=True)
    args.file = os.path.join(args.runs, args.name + ".pt")
    with open(args.plan) as plan_file:
        the_plan = json.load(plan_file)
    the_config, the_tokenizer, state = begin(args)
    if state.get("done"):
        raise SystemExit(f"{args.name} is finished")
    reference = Model(the_config)
    reference.load_state_dict(state["model"])
    if args.upcycle and "step" not in state:
        upcycle(reference)
        state["model"] = reference.state_dict()
    common = Shared(reference, args.workers)
    for key, value in state.get("momentum", {}).items():
        common.momentum[key].copy_(value)
    processes = [CONTEXT.Process(target=worker, args=(i, args, the_plan, the_config, the_tokenizer, state, common)) for i in range(args.workers)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    raise SystemExit(max(p.exitcode for p in processes))
