"""Agreement: the training model against the numpy reference, and hand-written gradients against finite differences.

    check.py [MODEL]      random weights, or a run's .pt file or exported folder"""
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

import release
from evaluate import open_model
from model import Model, config
from reference import Ref


def shake(model, small=0.1, large=0.4):
    """make every parameter far from its trivial start"""
    with torch.no_grad():
        for n, p in model.named_parameters():
            if p.dim() < 2 or any(k in n for k in ("ape", ".fn", "wo_b", "down")):
                p.add_(torch.randn_like(p) * (small if p.dim() >= 2 and "ape" not in n else large))
        for n, b in model.named_buffers():
            if n.endswith("bias"):
                b.add_(torch.randn_like(b) * 0.3)


def difference(model, ids, topk=True, rounded=False, dtype=np.float64):
    """-> largest logit difference to the reference, share of equal arg-max, largest MTP difference, smallest index gap"""
    with tempfile.TemporaryDirectory() as folder:
        release.export(model.c, model.state_dict(), folder, plain=True)
        ref = Ref(folder, "kvq" if rounded else "f32", dtype)
        a = ref.forward(ids)
        b = ref.mtp(ref.streams[:-1], ids[1:], 0)
    n = len(ids)
    x = torch.tensor([list(ids) + [0] * (-n % model.c["sliding_window"])])
    training, _ = model.training, model.eval()
    with torch.no_grad():
        logits, mtp = model(x, dict(topk=topk, round=rounded, kl=False, w=None, loss=[]), mtp=True)
    model.train(training)
    return {"logits": float(np.abs(logits[:n].numpy() - a).max()), "same": float((a.argmax(1) == logits[:n].argmax(1).numpy()).mean()), "mtp": float(np.abs(mtp[:n - 1].numpy() - b).max()),
            "spread": float(a.std()), "index gap": float(ref.min_gap["index"])}


def tiny(hc=4, **change):
    c = config(200, hc=hc, **change)
    c["swiglu_limit"] = 1.5                                   # so that the clamp is reached
    model = Model(c)
    shake(model)
    return model


def gradients(seed=3):
    """-> largest relative deviation of a parameter's directional derivative from its finite difference (indexer left out: detached inputs)"""
    torch.manual_seed(seed)
    model = Model(config(60, E=3, k=3, d=32, D=32, rd=16, H=2, q=24, G=2, R=16, I=32, ihd=16, win=16, ratios=(0, 4, 128, 4, 0), hc=4))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    ids = torch.randint(0, 60, (2, 256))

    def loss():
        a, b = model(ids, None, mtp=True)
        y = ids.reshape(-1).roll(-1)
        return F.cross_entropy(a.double(), y) + 0.3 * F.cross_entropy(b.double(), y)

    loss().backward()
    worst = 0.0
    for n, p in model.named_parameters():
        if p.grad is None or "indexer" in n:
            continue
        u = torch.sign(p.grad)
        e = 2e-3 / max(1.0, float(u.norm()))
        with torch.no_grad():
            p.add_(u * e)
            up = float(loss())
            p.sub_(2 * u * e)
            down = float(loss())
            p.add_(u * e)
        analytic = float((p.grad * u).sum())
        worst = max(worst, abs((up - down) / (2 * e) - analytic) / (abs(analytic) + 1e-3))
    return worst


if __name__ == "__main__":
    torch.manual_seed(3)
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        trained, _ = open_model(sys.argv[1])
        ids = np.random.default_rng(1).integers(0, trained.c["vocab_size"], 500)
        for rounded in (False, True):
            print("trained,", "kvq:" if rounded else "f32:", difference(trained, ids, rounded=rounded))
    else:
        ids = np.random.default_rng(0).integers(0, 200, 517)
        for hc, change in ((4, {}), (2, dict(D=96, rd=32, E=6, k=3, I=64, topk=8, G=1, H=2, ratios=(128, 4, 0, 4, 0)))):
            print(f"random, {hc} streams:", difference(tiny(hc, **change), ids))
        print(f"gradients: largest relative deviation {gradients():.3f}")
