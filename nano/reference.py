#!/usr/bin/env python3
"""The DeepSeek-V4 text model in numpy: the definition that training and engine are compared with.

Small and slow on purpose: one sequence, explicit state, no batching.  It reads a
release-style checkpoint directory (config.json + *.safetensors), and can be fed any
number of tokens at a time, so prefill, chunked prefill and token-by-token decode run
through exactly the same code.

Precision regimes:
  f32   weights dequantised, nothing else rounded
  kvq   f32 + the cache-side quantisation the model was trained with: FP8 (e4m3, blocks of 64,
        power-of-two scale) on the non-rotary part of every attention KV entry, and
        Hadamard + FP4 (e2m1, blocks of 32, power-of-two scale) on indexer queries and keys
  full  kvq + FP8 (blocks of 128, power-of-two scale) on the input of every FP8/FP4 linear
"""
import argparse, glob, json, os, struct
import numpy as np

# ----------------------------------------------------------------------------- number formats

def _e4m3_table():
    t = np.zeros(256, np.float64)
    for b in range(256):
        s, e, m = b >> 7, (b >> 3) & 15, b & 7
        v = m * 2.0 ** -9 if e == 0 else (1 + m / 8.0) * 2.0 ** (e - 7)
        if e == 15 and m == 7:
            v = np.nan
        t[b] = -v if s else v
    return t

E4M3 = _e4m3_table()
E4M3_POS = E4M3[:127]                                   # 0 .. 448, ascending
E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], np.float64)
E2M1_POS = E2M1[:8]

def round_to_grid(x, grid):
    """nearest grid value, ties to the even code; x is already clamped to the grid's range"""
    a = np.abs(x)
    hi = np.clip(np.searchsorted(grid, a), 1, len(grid) - 1)
    lo = hi - 1
    dl, dh = a - grid[lo], grid[hi] - a
    pick = np.where((dh < dl) | ((dh == dl) & (hi % 2 == 0)), hi, lo)
    return np.copysign(grid[pick], x), pick

def pow2_scale(amax, qmax, floor):
    """smallest power of two s with amax <= s*qmax (computed in float32, like the kernels)"""
    r = (np.maximum(amax, floor).astype(np.float32) * np.float32(1.0 / qmax)).astype(np.float32)
    m, e = np.frexp(r)                                  # r = m * 2^e, 0.5 <= m < 1
    return np.ldexp(1.0, np.where(m == 0.5, e - 1, e))

def fake_quant(x, block, kind):
    qmax, floor, grid = (448.0, 1e-4, E4M3_POS) if kind == "fp8" else (6.0, 6 * 2.0 ** -126, E2M1_POS)
    n = x.shape[-1]
    nb = -(-n // block)
    pad = np.zeros(x.shape[:-1] + (nb * block,), np.float64)
    pad[..., :n] = x
    b = pad.reshape(x.shape[:-1] + (nb, block))
    s = pow2_scale(np.abs(b).max(-1), qmax, floor)[..., None]
    q, _ = round_to_grid(np.clip(b / s, -qmax, qmax), grid)
    return (q * s).reshape(pad.shape)[..., :n].astype(x.dtype)

def hadamard(x):
    """Sylvester-order Walsh-Hadamard transform over the last axis, scaled by n^-1/2"""
    n = x.shape[-1]
    y = x.astype(np.float64)
    h = 1
    while h < n:
        z = y.reshape(y.shape[:-1] + (n // (2 * h), 2, h))
        y = np.stack([z[..., 0, :] + z[..., 1, :], z[..., 0, :] - z[..., 1, :]], -2).reshape(x.shape)
        h *= 2
    return (y * n ** -0.5).astype(x.dtype)

# ----------------------------------------------------------------------------- safetensors

class Checkpoint:
    def __init__(self, path):
        with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
            self.cfg = json.load(f)
        self.t = {}
        for f in sorted(glob.glob(os.path.join(path, "*.safetensors"))):
            with open(f, "rb") as file:
                raw = file.read()
            n = struct.unpack("<Q", raw[:8])[0]
            for k, v in json.loads(raw[8:8 + n]).items():
                if k != "__metadata__":
                    a, b = v["data_offsets"]
                    self.t[k] = (v["dtype"], v["shape"], raw[8 + n + a:8 + n + b])

    def has(self, k):
        return k in self.t

    def raw(self, k):
        dt, sh, buf = self.t[k]
        if dt == "BF16":
            a = (np.frombuffer(buf, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif dt == "F8_E8M0":
            a = np.ldexp(1.0, np.frombuffer(buf, np.uint8).astype(int) - 127)
        elif dt == "F8_E4M3":
            a = E4M3[np.frombuffer(buf, np.uint8)]
        else:
            a = np.frombuffer(buf, {"F32": "<f4", "I64": "<i8", "I32": "<i4", "I8": "i1", "F16": "<f2"}[dt])
        return a.reshape(sh)

    def weight(self, name):
        """dequantised matrix for `name`.weight, plus whether its input is FP8-quantised in `full`"""
        k = name + ".weight"
        dt = self.t[k][0]
        w = self.raw(k)
        if dt == "I8":                                  # two e2m1 per byte, low nibble = even column
            u = w.view(np.uint8)
            w = E2M1[np.stack([u & 15, u >> 4], -1).reshape(u.shape[0], -1)]
            w = w * np.repeat(self.raw(name + ".scale"), 32, 1)
        elif dt == "F8_E4M3":
            s = self.raw(name + ".scale").astype(np.float64)
            w = w * np.repeat(np.repeat(s, 128, 0)[:w.shape[0]], 128, 1)[:, :w.shape[1]]
        return w, dt in ("I8", "F8_E4M3")

# ----------------------------------------------------------------------------- model pieces

def yarn_inv_freq(dim, base, orig, factor, bf, bs):
    """inverse frequencies, evaluated in float32 as the official code does"""
    one, f32 = np.float32(1), np.float32
    f = one / np.power(f32(base), np.arange(0, dim, 2, dtype=f32) / f32(dim), dtype=f32)
    if orig > 0:
        cd = lambda rot: dim * np.log(orig / (rot * 2 * np.pi)) / (2 * np.log(base))
        lo, hi = max(int(np.floor(cd(bf))), 0), min(int(np.ceil(cd(bs))), dim - 1)
        ramp = np.clip((np.arange(dim // 2, dtype=f32) - f32(lo)) / f32(hi - lo if hi != lo else 1e-3), 0, 1)
        keep = one - ramp
        f = f / f32(factor) * (one - keep) + f * keep
    return f.astype(f32)

class Ref:
    def __init__(self, path, regime="f32", dtype=np.float64, shared_clamp=True):
        self.ck, self.dt, self.regime, self.shared_clamp = Checkpoint(path), dtype, regime, shared_clamp
        c = self.c = self.ck.cfg
        self.eps, self.rd = c["rms_norm_eps"], c["qk_rope_head_dim"]
        self.hc, self.win = c["hc_mult"], c["sliding_window"]
        rs = c["rope_scaling"]
        self.if_plain = yarn_inv_freq(self.rd, c["rope_theta"], 0, 1, 1, 1)
        self.if_comp = yarn_inv_freq(self.rd, c["compress_rope_theta"], rs["original_max_position_embeddings"],
                                     rs["factor"], rs["beta_fast"], rs["beta_slow"])
        self.W, self.cacheV = {}, {}
        self.n_layers = c["num_hidden_layers"]
        self.trace = None
        self.min_gap = {"index": np.inf, "gate": np.inf}
        self.reset()

    # -- helpers
    def vec(self, k):
        if k not in self.cacheV:
            a = self.ck.raw(k)
            self.cacheV[k] = a if a.dtype.kind == "i" else a.astype(self.dt)
        return self.cacheV[k]

    def mat(self, name):
        if name not in self.W:
            w, q = self.ck.weight(name)
            self.W[name] = (np.ascontiguousarray(w.astype(self.dt)), q)
        return self.W[name]

    def lin(self, name, x):
        w, q = self.mat(name)
        if q and self.regime == "full":
            x = fake_quant(x, 128, "fp8")
        return x @ w.T

    def rms(self, x, w=None):
        y = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        return y if w is None else y * self.vec(w)

    def rope(self, x, pos, invf, inverse=False):
        """rotate adjacent pairs of the trailing rd channels; x is [T, ..., D], pos [T]"""
        ang = (np.asarray(pos, np.float32)[:, None] * invf).astype(np.float64)   # float32 product
        c, s = np.cos(ang).astype(self.dt), np.sin(ang).astype(self.dt)
        if inverse:
            s = -s
        sh = (len(pos),) + (1,) * (x.ndim - 2) + (-1,)
        c, s = c.reshape(sh), s.reshape(sh)
        y = x.copy()
        a, b = x[..., -self.rd::2], x[..., x.shape[-1] - self.rd + 1::2]
        y[..., -self.rd::2] = a * c - b * s
        y[..., x.shape[-1] - self.rd + 1::2] = a * s + b * c
        return y

    def kv_quant(self, kv):
        if self.regime != "f32":
            kv = kv.copy()
            kv[..., :-self.rd] = fake_quant(kv[..., :-self.rd], 64, "fp8")
        return kv

    def idx_quant(self, x):
        x = hadamard(x)
        return fake_quant(x, 32, "fp4") if self.regime != "f32" else x

    # -- state
    def reset(self):
        self.pos = 0
        self.state = [{} for _ in range(self.n_layers + self.c["num_nextn_predict_layers"])]

    def compress(self, st, pre, ratio, hd, x, start, indexer):
        """append the KV entries completed by tokens start..start+T-1; keeps the partial window"""
        overlap = ratio == 4
        kv, sc = self.lin(pre + ".wkv", x), self.lin(pre + ".wgate", x)
        ape = self.vec(pre + ".ape")
        out = st.setdefault("entries", np.zeros((0, hd), self.dt))
        buf = st.setdefault("buf", [])                  # (kv, score+ape) of the open window
        new, npos = [], []
        for t in range(len(x)):
            p = start + t
            buf.append((kv[t], sc[t] + ape[p % ratio]))
            if (p + 1) % ratio:
                continue
            k, s = np.stack([b[0] for b in buf]), np.stack([b[1] for b in buf])
            if overlap:                                 # previous window's first half + this one's second half
                prev = st.get("prev")
                kk, ss = k[:, hd:], s[:, hd:]
                if prev is not None:
                    kk, ss = np.concatenate([prev[0], kk]), np.concatenate([prev[1], ss])
                st["prev"] = (k[:, :hd], s[:, :hd])
            else:
                kk, ss = k, s
            e = np.exp(ss - ss.max(0))
            new.append((kk * (e / e.sum(0))).sum(0))
            npos.append(p + 1 - ratio)
            buf.clear()
        if new:
            n = self.rms(np.stack(new), pre + ".norm.weight")
            n = self.rope(n, npos, self.if_comp)
            n = self.idx_quant(n) if indexer else self.kv_quant(n)
            out = st["entries"] = np.concatenate([out, n])
        return out

    def attention(self, li, pre, x, ratio):
        c, st, T, p0 = self.c, self.state[li], len(x), self.pos
        pos = np.arange(p0, p0 + T)
        invf = self.if_comp if ratio else self.if_plain
        H, D, rd = c["num_attention_heads"], c["head_dim"], self.rd
        qr = self.rms(self.lin(pre + ".wq_a", x), pre + ".q_norm.weight")
        q = self.rms(self.lin(pre + ".wq_b", qr).reshape(T, H, D))
        q = self.rope(q, pos, invf)
        kv = self.rms(self.lin(pre + ".wkv", x), pre + ".kv_norm.weight")
        kv = self.kv_quant(self.rope(kv, pos, invf))
        hist = st.get("win", np.zeros((0, D), self.dt))
        base = p0 - len(hist)
        allkv = np.concatenate([hist, kv])
        st["win"] = allkv[-(self.win - 1):] if self.win > 1 else allkv[:0]
        comp = sel = None
        if ratio:
            comp = self.compress(st.setdefault("c", {}), pre + ".compressor", ratio, D, x, p0, False)
            if ratio == 4:
                sel = self.index(st, pre + ".indexer", x, qr, pos)
        sink = self.vec(pre + ".attn_sink")
        o = np.zeros((T, H, D), self.dt)
        for t in range(T):
            p = pos[t]
            keys = allkv[max(0, p - self.win + 1) - base:p - base + 1]
            if ratio:
                keys = np.concatenate([keys, comp[:(p + 1) // ratio] if sel is None else comp[sel[t]]])
            s = q[t] @ keys.T * D ** -0.5
            m = np.maximum(s.max(-1), sink)
            e = np.exp(s - m[:, None])
            o[t] = (e @ keys) / (e.sum(-1) + np.exp(sink - m))[:, None]
        o = self.rope(o, pos, invf, inverse=True)
        G, R = c["o_groups"], c["o_lora_rank"]
        og = o.reshape(T, G, -1)
        wa = self.mat(pre + ".wo_a")[0].reshape(G, R, -1)               # never sees quantised input
        y = np.einsum("tgd,grd->tgr", og, wa).reshape(T, -1)
        return self.lin(pre + ".wo_b", y)

    def index(self, st, pre, x, qr, pos):
        c, T = self.c, len(x)
        h, d, k = c["index_n_heads"], c["index_head_dim"], c["index_topk"]
        q = self.rope(self.lin(pre + ".wq_b", qr).reshape(T, h, d), pos, self.if_comp)
        q = self.idx_quant(q)
        keys = self.compress(st.setdefault("i", {}), pre + ".compressor", 4, d, x, self.pos, True)
        w = self.lin(pre + ".weights_proj", x) * (d ** -0.5 * h ** -0.5)
        sel = []
        for t in range(T):
            n = (pos[t] + 1) // 4
            s = (np.maximum(q[t] @ keys[:n].T, 0) * w[t][:, None]).sum(0)
            o = np.argsort(-s, kind="stable")           # ties: lowest block first
            if n > k:
                self.min_gap["index"] = min(self.min_gap["index"], s[o[k - 1]] - s[o[k]])
            sel.append(np.sort(o[:k]))
        if self.trace is not None:
            self.trace.setdefault("sel", {}).setdefault(pre, []).extend(sel)
        return sel

    def moe(self, pre, x, ids, hashed):
        c = self.c
        k, lim = c["num_experts_per_tok"], c["swiglu_limit"]
        z = self.lin(pre + ".gate", x)
        sc = np.sqrt(np.logaddexp(0, z))
        if hashed:
            idx = self.vec(pre + ".gate.tid2eid")[ids]
        else:
            b = sc + self.vec(pre + ".gate.bias")
            o = np.argsort(-b, 1, kind="stable")
            bs = np.take_along_axis(b, o, 1)
            self.min_gap["gate"] = min(self.min_gap["gate"], (bs[:, k - 1] - bs[:, k]).min())
            idx = o[:, :k]
        w = np.take_along_axis(sc, idx, 1)
        w = w / w.sum(1, keepdims=True) * c["routed_scaling_factor"]
        y = np.zeros_like(x)
        for t in range(len(x)):
            for e, we in zip(idx[t], w[t]):
                y[t] += self.ffn(f"{pre}.experts.{e}", x[t:t + 1], lim, we)[0]
        return y + self.ffn(pre + ".shared_experts", x, lim if self.shared_clamp else 0, 1.0)

    def ffn(self, pre, x, lim, w):
        g, u = self.lin(pre + ".w1", x), self.lin(pre + ".w3", x)
        if lim > 0:
            g, u = np.minimum(g, lim), np.clip(u, -lim, lim)
        return self.lin(pre + ".w2", g / (1 + np.exp(-g)) * u * w)

    def hc_pre(self, X, pre):
        n = self.hc
        z = self.rms(X.reshape(len(X), -1)) @ self.vec(pre + "_fn").T
        sc, b, eps = self.vec(pre + "_scale"), self.vec(pre + "_base"), self.c["hc_eps"]
        sig = lambda v: 1 / (1 + np.exp(-v))
        A = sig(z[:, :n] * sc[0] + b[:n]) + eps
        C = 2 * sig(z[:, n:2 * n] * sc[1] + b[n:2 * n])
        B = (z[:, 2 * n:] * sc[2] + b[2 * n:]).reshape(-1, n, n)
        B = np.exp(B - B.max(-1, keepdims=True))
        B = B / B.sum(-1, keepdims=True) + eps
        B = B / (B.sum(-2, keepdims=True) + eps)
        for _ in range(self.c["hc_sinkhorn_iters"] - 1):
            B = B / (B.sum(-1, keepdims=True) + eps)
            B = B / (B.sum(-2, keepdims=True) + eps)
        return (A[..., None] * X).sum(1), C, B

    @staticmethod
    def hc_post(y, X, C, B):
        return C[..., None] * y[:, None] + np.einsum("tjk,tjd->tkd", B, X)

    def hc_head(self, X, pre):
        z = self.rms(X.reshape(len(X), -1)) @ self.vec(pre + "hc_head_fn").T
        A = 1 / (1 + np.exp(-(z * self.vec(pre + "hc_head_scale") + self.vec(pre + "hc_head_base")))) + self.c["hc_eps"]
        return (A[..., None] * X).sum(1)

    def block(self, li, pre, X, ids, hashed):
        h, C, B = self.hc_pre(X, pre + "hc_attn")
        h = self.attention(li, pre + "attn", self.rms(h, pre + "attn_norm.weight"), self.c["compress_ratios"][li])
        X = self.hc_post(h, X, C, B)
        h, C, B = self.hc_pre(X, pre + "hc_ffn")
        h = self.moe(pre + "ffn", self.rms(h, pre + "ffn_norm.weight"), ids, hashed)
        return self.hc_post(h, X, C, B)

    def head(self, X, pre, norm):
        return self.rms(self.hc_head(X, pre), norm) @ self.vec("head.weight").T

    # -- entry points
    def forward(self, ids):
        """feed tokens at self.pos.. ; returns logits [T, vocab]; self.streams keeps [T, hc, d]"""
        ids = np.asarray(ids)
        X = np.repeat(self.vec("embed.weight")[ids][:, None], self.hc, 1)
        for li in range(self.n_layers):
            X = self.block(li, f"layers.{li}.", X, ids, li < self.c["num_hash_layers"])
            if self.trace is not None:
                self.trace.setdefault("streams", []).append(X.copy())
        self.streams = X
        self.pos += len(ids)
        return self.head(X, "", "norm.weight")

    def mtp(self, streams, next_ids, start):
        """MTP block: streams[i] of position start+i with the token that follows it"""
        next_ids = np.asarray(next_ids)
        e = self.lin("mtp.0.e_proj", self.rms(self.vec("embed.weight")[next_ids], "mtp.0.enorm.weight"))
        h = self.rms(streams, "mtp.0.hnorm.weight")
        h = self.lin("mtp.0.h_proj", h.reshape(-1, h.shape[-1])).reshape(h.shape)
        save, self.pos = self.pos, start
        X = self.block(self.n_layers, "mtp.0.", e[:, None] + h, next_ids, False)
        self.pos = save
        return self.head(X, "mtp.0.", "mtp.0.norm.weight")


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoint")
    ap.add_argument("ids", help="comma-separated token ids")
    ap.add_argument("--regime", default="f32", choices=["f32", "kvq", "full"])
    ap.add_argument("--chunk", type=int, default=0)
    a = ap.parse_args()
    ids = [int(v) for v in a.ids.split(",")]
    m = Ref(a.checkpoint, a.regime)
    step = a.chunk or len(ids)
    lg = np.concatenate([m.forward(ids[i:i + step]) for i in range(0, len(ids), step)])
    print("argmax per position:", lg.argmax(-1).tolist())
