"""Rounding as the release stores weights and as the engine stores cache rows, in float32 PyTorch.

Scales are powers of two; values go to the nearest grid point, ties to even.  Two exact identities are used: dividing by a power of two
changes no mantissa, and torch.round resolves ties to even, so the results equal export.py's bit for bit (tests/nano checks it)."""
import torch
import torch.nn.functional as F


def _power_of_two_scale(amax, largest, floor):
    """smallest power of two s with amax <= s * largest"""
    m, e = torch.frexp(amax.clamp_min(floor) * (1.0 / largest))
    return torch.ldexp(torch.ones_like(m), torch.where(m == 0.5, e - 1, e))


def e4m3(x):
    """nearest e4m3 value of x, |x| <= 448"""
    a = x.abs().clamp_max(448.0)
    step = torch.exp2(torch.floor(torch.log2(a.clamp_min(2.0 ** -6))) - 3)
    return torch.round(a / step) * step * torch.sign(x)


def e2m1(x):
    """nearest e2m1 value of x, |x| <= 6"""
    a = x.abs().clamp_max(6.0)
    step = torch.where(a < 2, 0.5, torch.where(a < 4, 1.0, 2.0))
    return torch.round(a / step) * step * torch.sign(x)


def fp8_matrix(w):
    """[out, in], one scale per 128 x 128 block"""
    o, i = w.shape
    p = F.pad(w, (0, -i % 128, 0, -o % 128)).view(-(-o // 128), 128, -(-i // 128), 128)
    s = _power_of_two_scale(p.abs().amax((1, 3), keepdim=True), 448.0, 1e-12)
    return (e4m3(p / s) * s).reshape(p.shape[0] * 128, -1)[:o, :i]


def fp4_matrix(w):
    """[..., in], one scale per 32 columns"""
    b = w.reshape(*w.shape[:-1], -1, 32)
    s = _power_of_two_scale(b.abs().amax(-1, keepdim=True), 6.0, 1e-12)
    return (e2m1(b / s) * s).reshape(w.shape)


def fp8_rows(x, block=64):
    """cache rows: e4m3 with a scale per `block` channels"""
    b = x.reshape(*x.shape[:-1], -1, block)
    s = _power_of_two_scale(b.abs().amax(-1, keepdim=True), 448.0, 1e-4)
    return (e4m3(b / s) * s).reshape(x.shape)


def fp4_rows(x, block=32):
    """index rows: e2m1 with a scale per `block` channels"""
    b = x.reshape(*x.shape[:-1], -1, block)
    s = _power_of_two_scale(b.abs().amax(-1, keepdim=True), 6.0, 6 * 2.0 ** -126)
    return (e2m1(b / s) * s).reshape(x.shape)


def straight_through(x, rounded):
    """forward the rounded value, backward as if it were x"""
    return x + (rounded - x).detach()


FP8_MATRICES = ("wq_a", "wq_b", "wkv", "wo_a", "wo_b", "e_proj", "h_proj")


@torch.no_grad()
def stored(model):
    """{parameter: the value it will have in the exported checkpoint}; float32 parameters are left out"""
    out = {}
    for n, p in model.named_parameters():
        last = n.split(".")[-1]
        if n.endswith("ffn.up"):
            inter = p.shape[1] // 2
            out[p] = torch.cat([fp4_matrix(p[:-1]), torch.cat([fp8_matrix(p[-1, :inter]), fp8_matrix(p[-1, inter:])])[None]])
        elif n.endswith("ffn.down"):
            out[p] = torch.cat([fp4_matrix(p[:-1]), fp8_matrix(p[-1])[None]])
        elif last in FP8_MATRICES and "compressor" not in n:
            out[p] = fp8_matrix(p)
        elif not any(k in n for k in ("hc_", "ape", "attn_sink")):
            out[p] = p.bfloat16().float()
    return out
