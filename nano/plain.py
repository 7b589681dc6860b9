"""The element-wise operators of the training model in plain PyTorch, for machines without a C compiler and as a second opinion on fused.c;
kernels.py chooses."""
import torch


def _rms(x, w, eps: float):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * w


def _rms_bare(x, eps: float):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def rms(x, w, eps):
    flat = x.reshape(-1, x.shape[-1])
    return (_rms_bare(flat, eps) if w is None else _rms(flat, w, eps)).view(x.shape)


def _rope(x, cs, sn, sign: float):
    """x [N, T, inner, D]"""
    rd = 2 * cs.shape[1]
    head, tail = x[..., :x.shape[-1] - rd], x[..., x.shape[-1] - rd:]
    c, s = cs[None, :, None], sn[None, :, None] * sign
    a, b = tail[..., 0::2], tail[..., 1::2]
    return torch.cat([head, torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2)], -1)


def rope(x, cs, sn, inner, inverse):
    T, D = cs.shape[0], x.shape[-1]
    return _rope(x.reshape(-1, T, inner, D), cs, sn, -1.0 if inverse else 1.0).view(x.shape)


def _weigh(z, kv):
    """[.., slots, D] -> [.., D]: softmax over the slots, per channel"""
    return (torch.softmax(z, -2) * kv).sum(-2)


def pool(kv, z, ape, r, hd, overlap):
    B, T = kv.shape[:2]
    n = T // r
    kv, z = kv.view(B, n, r, -1), z.view(B, n, r, -1) + ape
    if overlap:                              # first half of the channels: the block before; the first block has none
        before = lambda x, fill: torch.cat([torch.full_like(x[:, :1, :, :hd], fill), x[:, :-1, :, :hd]], 1)
        kv, z = torch.cat([before(kv, 0.0), kv[..., hd:]], 2), torch.cat([before(z, -1e30), z[..., hd:]], 2)
    return _weigh(z, kv)


def _swiglu(g, v, wt, lim: float):
    """g, v [R, E, I], wt [R, E]"""
    return torch.nn.functional.silu(g.clamp_max(lim)) * v.clamp(-lim, lim) * wt[..., None]


def swiglu(u, wt, lim):
    R, nE = wt.shape
    u = u.view(R, nE, 2, -1)
    return _swiglu(u[:, :, 0], u[:, :, 1], wt, lim).flatten(1)


class Sinkhorn(torch.autograd.Function):
    """alternating column and row normalisation of [R, n, n], 2 * iters - 1 steps, beginning with columns; every step is kept for the gradient"""
    @staticmethod
    def forward(ctx, s, iters, eps):
        kept = []
        for a in range(1, 2 * iters):
            total = s.sum(1 if a & 1 else 2, keepdim=True).add_(eps)
            s = s / total
            kept += [s, total]
        ctx.save_for_backward(*kept)
        return s

    @staticmethod
    def backward(ctx, g):
        kept = ctx.saved_tensors
        for a in range(len(kept) // 2, 0, -1):
            s, total = kept[2 * a - 2], kept[2 * a - 1]
            g = (g - (g * s).sum(1 if a & 1 else 2, keepdim=True)) / total
        return g, None, None


def _inverse_rms(x, eps: float):
    return torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def _mix(X, A):
    return (A[:, :, None] * X).sum(1)


def _post(y, X, C, B):
    """X'_k = C_k y + sum_j B_jk X_j"""
    return C[:, :, None] * y[:, None] + (B[:, :, :, None] * X[:, :, None]).sum(1)


def hc_pre(X, fn, scale, base, iters, eps, neps):
    R, n, d = X.shape
    flat = X.reshape(R, n * d)
    spread = torch.cat([scale[0].expand(n), scale[1].expand(n), scale[2].expand(n * n)])
    m = (flat @ fn.t()) * _inverse_rms(flat, neps) * spread + base
    A, C = torch.sigmoid(m[:, :n]) + eps, 2 * torch.sigmoid(m[:, n:2 * n])
    B = Sinkhorn.apply(torch.softmax(m[:, 2 * n:].view(R, n, n), -1) + eps, iters, eps)
    return _mix(X, A), C, B


def hc_post(y, X, C, B):
    return _post(y, X, C, B)


def _masked(s1, s2, sink, scale: float, seen1, seen2):
    """softmax over window and compressed entries and the sink: s1 [B, n, H, w, 2w], s2 [B, n, H, w, M], masks broadcast"""
    a, b = torch.where(seen1, s1 * scale, -1e30), torch.where(seen2, s2 * scale, -1e30)
    top = torch.maximum(torch.maximum(a.amax(-1), b.amax(-1)), sink)[..., None]
    a, b = torch.exp(a - top), torch.exp(b - top)
    total = a.sum(-1, keepdim=True) + b.sum(-1, keepdim=True) + torch.exp(sink[..., None] - top)
    return a / total, b / total


def _masked_window(s1, sink, scale: float, seen1):
    a = torch.where(seen1, s1 * scale, -1e30)
    top = torch.maximum(a.amax(-1), sink)[..., None]
    a = torch.exp(a - top)
    return a / (a.sum(-1, keepdim=True) + torch.exp(sink[..., None] - top))


def smax_sink(s1, s2, sink, dims, scale, sel):
    B, n, H, w, M, r = dims
    dev = s1.device
    i, k, t = torch.arange(w, device=dev)[:, None], torch.arange(2 * w, device=dev)[None], torch.arange(n * w, device=dev)
    seen1 = ((k > i) & (k <= i + w))[None] & ((torch.arange(n, device=dev) > 0)[:, None, None] | (k >= w)[None])
    seen1, sink = seen1.view(1, n, 1, w, 2 * w), sink.view(1, 1, H, 1).expand(B, n, H, w)
    s1_shape = s1.shape
    s1 = s1.view(B, n, H, w, 2 * w)
    if s2 is None:
        return _masked_window(s1, sink, scale, seen1).view(s1_shape), None
    s2_shape = s2.shape
    seen2 = (((t + 1) // r)[:, None] > torch.arange(M, device=dev)[None]).view(1, n, 1, w, M)
    if sel is not None:
        seen2 = seen2 & (sel > 0).view(B, n, 1, w, M)
    p1, p2 = _masked(s1, s2.view(B, n, H, w, M), sink, scale, seen1, seen2)
    return p1.view(s1_shape), p2.view(s2_shape)


def chosen(scores, k):
    """mask of the k best of each row, ties towards the lowest block; float64 leaves room for the block number below float32's last bit"""
    s = scores.double() - torch.arange(scores.shape[-1], dtype=torch.float64, device=scores.device) * 1e-13
    return (s >= s.topk(k, -1).values[..., -1:]).to(torch.uint8)
