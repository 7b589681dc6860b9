"""Complete DeepSeek-V4 text model for training on a CPU: SWA, CSA with lightning indexer, HCA, attention sinks,
partial rotary with the inverse rotation, grouped low-rank output, mHC, MoE with hash and learned routing, MTP.
Configuration uses the release key names; export.py writes the release layout."""
import math
import numpy as np
import torch, torch.nn as nn, torch.nn.functional as F
import kernels as K
import plain
import rounding


def inv_freq(dim, base, orig=0, factor=1, bf=32, bs=1):
    f32, one = np.float32, np.float32(1)
    f = one / np.power(f32(base), np.arange(0, dim, 2, dtype=f32) / f32(dim), dtype=f32)
    if orig > 0:
        cd = lambda rot: dim * np.log(orig / (rot * 2 * np.pi)) / (2 * np.log(base))
        lo, hi = max(int(np.floor(cd(bf))), 0), min(int(np.ceil(cd(bs))), dim - 1)
        ramp = np.clip((np.arange(dim // 2, dtype=f32) - f32(lo)) / f32(hi - lo if hi != lo else 1e-3), 0, 1)
        f = f / f32(factor) * ramp + f * (one - ramp)
    return f.astype(f32)


class Rot:
    """cos/sin tables; position skipping: pos0 is added, and blocks may be shifted by a per-call offset vector"""
    def __init__(self, c):
        rs = c["rope_scaling"]
        self.f = {False: inv_freq(c["qk_rope_head_dim"], c["rope_theta"]),
                  True: inv_freq(c["qk_rope_head_dim"], c["compress_rope_theta"], rs["original_max_position_embeddings"],
                                 rs["factor"], rs["beta_fast"], rs["beta_slow"])}
        self.pos, self.cache = None, {}

    def set(self, pos):                                  # numpy int array of positions, one per token of the sequence
        if self.pos is None or len(pos) != len(self.pos) or (pos != self.pos).any():
            self.pos, self.cache = pos, {}

    def table(self, comp, stride=1):
        k = (comp, stride)
        if k not in self.cache:
            a = (self.pos[::stride].astype(np.float32)[:, None] * self.f[comp]).astype(np.float64)
            self.cache[k] = (torch.from_numpy(np.cos(a).astype(np.float32)), torch.from_numpy(np.sin(a).astype(np.float32)))
        return self.cache[k]


def lin(o, i, gain=1.0):
    return nn.Parameter(torch.randn(o, i) * gain / math.sqrt(i))


class Norm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return K.rms(x, self.weight)


class Compressor(nn.Module):
    def __init__(self, d, hd, r):
        super().__init__()
        k = 2 if r == 4 else 1
        self.r, self.hd = r, hd
        self.wkv, self.wgate, self.ape = lin(k * hd, d), lin(k * hd, d, 0.5), nn.Parameter(torch.zeros(r, k * hd))
        self.norm = Norm(hd)

    def forward(self, x, rot):
        B, T, d = x.shape
        n = T // self.r
        x = x[:, :n * self.r]
        e = self.norm(K.pool(K.linear(x, self.wkv), K.linear(x, self.wgate), self.ape, self.r, self.hd))
        cs, sn = rot.table(True, self.r)
        return K.rope(e, (cs[:n].contiguous(), sn[:n].contiguous()), 1)


def hadamard(n):
    """Sylvester order, scaled to be orthogonal"""
    h = torch.ones(1, 1)
    while h.shape[0] < n:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h * n ** -0.5


def select(scores, k):
    """[B, T, M] -> uint8 mask of the k best blocks of each row, ties towards the lowest block.

    Float64 leaves room below float32's last bit for the block number; rows go in slices to bound the memory."""
    if K.use_plain:
        return plain.chosen(scores, k)
    B, T, M = scores.shape
    out = torch.zeros(B, T, M, dtype=torch.uint8)
    order = torch.arange(M, dtype=torch.float64) * 1e-13
    for a in range(0, T, 1024):
        idx = (scores[:, a:a + 1024].double() - order).topk(k, -1).indices
        out[:, a:a + 1024].scatter_(2, idx, 1)
    return out


class Indexer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.h, self.hd = c["index_n_heads"], c["index_head_dim"]
        self.wq_b, self.weights_proj = lin(self.h * self.hd, c["q_lora_rank"]), lin(self.h, c["hidden_size"])
        self.compressor = Compressor(c["hidden_size"], self.hd, 4)
        self.register_buffer("hadamard", hadamard(self.hd), persistent=False)

    def forward(self, x, qr, rot, rounded=False):
        """scores [B, T, M]; the Hadamard rotation is orthogonal, so it is left out where nothing is rounded"""
        B, T, _ = x.shape
        q = K.rope((qr @ self.wq_b.t()).view(B, T, self.h, self.hd), rot.table(True), self.h)
        k = self.compressor(x, rot)
        if rounded:
            q, k = (rounding.straight_through(v, rounding.fp4_rows(v)) for v in (q @ self.hadamard, k @ self.hadamard))
        w = (x @ self.weights_proj.t()) * (self.hd ** -0.5 * self.h ** -0.5)
        s = torch.matmul(q.view(B, T * self.h, self.hd), k.transpose(1, 2)).view(B, T, self.h, -1)
        return torch.matmul(w.unsqueeze(2), s.relu_()).squeeze(2) if self.h > 2 else sum(w[..., j:j + 1] * s[:, :, j].relu() for j in range(self.h))


class Attention(nn.Module):
    def __init__(self, c, ratio):
        super().__init__()
        d, H, D, Q, G, R = (c[k] for k in ("hidden_size", "num_attention_heads", "head_dim", "q_lora_rank", "o_groups", "o_lora_rank"))
        self.H, self.D, self.G, self.R, self.r, self.w, self.k, self.rd = H, D, G, R, ratio, c["sliding_window"], c["index_topk"], c["qk_rope_head_dim"]
        self.wq_a, self.wq_b, self.wkv = lin(Q, d), lin(H * D, Q), lin(D, d)
        self.wo_a, self.wo_b = lin(G * R, H * D // G), nn.Parameter(torch.zeros(d, G * R))
        self.q_norm, self.kv_norm, self.attn_sink = Norm(Q), Norm(D), nn.Parameter(torch.zeros(H))
        if ratio:
            self.compressor = Compressor(d, D, ratio)
        if ratio == 4:
            self.indexer = Indexer(c)

    def cache_row(self, e, aux):
        """FP8 on the non-rotary channels of a KV entry, as the cache stores it"""
        if aux is None or not aux["round"]:
            return e
        n = self.D - self.rd
        return torch.cat([rounding.straight_through(e[..., :n], rounding.fp8_rows(e[..., :n])), e[..., n:]], -1)

    def forward(self, x, rot, aux):
        """[B, T, d] -> [B, T, d], T a multiple of the window"""
        B, T, _ = x.shape
        tab, r = rot.table(self.r > 0), self.r
        qr = self.q_norm(K.linear(x, self.wq_a))
        q = K.rope(K.rms(K.linear(qr, self.wq_b).view(B, T, self.H, self.D)), tab, self.H)
        kv = self.cache_row(K.rope(self.kv_norm(K.linear(x, self.wkv)), tab, 1), aux)
        e = self.cache_row(self.compressor(x, rot), aux) if r else None
        scores = sel = None
        if r == 4 and aux is not None and (aux["topk"] or aux["kl"]):
            scores = self.indexer(x.detach(), qr.detach(), rot, aux["round"])
            t = torch.arange(T, device=x.device)
            visible = ((t + 1) // 4)[:, None] > t[None, :T // 4]
            scores = scores.masked_fill(~visible, -1e30)
            if aux["topk"] and T // 4 > self.k:
                sel = select(scores.detach(), self.k)
        teach = r == 4 and aux is not None and aux["kl"]
        if K.can_attend(self.w, self.D) and not teach:
            o = K.attend(q, kv, e, self.attn_sink, sel, r, self.D ** -0.5)
        else:
            o, p = self.attend_in_pieces(q, kv, e, sel)
            if teach:
                self.teach_indexer(scores, p, visible & (sel > 0) if sel is not None else visible, aux)
        o = K.rope(o, tab, self.H, True).view(B * T, self.G, -1)
        u = torch.cat([K.linear(o[:, g], self.wo_a[g * self.R:(g + 1) * self.R]) for g in range(self.G)], 1)
        return K.linear(u, self.wo_b)

    def attend_in_pieces(self, q, kv, e, sel):
        """plain products and softmax -> output [B, T, H, D], probabilities of the compressed entries [B, T, M] summed over heads"""
        B, T, H, D = q.shape
        w, n, M = self.w, T // self.w, 0 if e is None else e.shape[1]
        q = q.view(B, n, w, H, D).transpose(2, 3).reshape(B * n, H * w, D)
        kc = kv.view(B, n, w, D)
        kk = torch.cat([F.pad(kc[:, :-1], (0, 0, 0, 0, 1, 0)), kc], 2).view(B * n, 2 * w, D)
        s1 = K.product(q, kk.transpose(1, 2))
        s2 = None if e is None else K.product(q.view(B, n * H * w, D), e.transpose(1, 2))
        p1, p2 = K.smax_sink(s1, s2, self.attn_sink, (B, n, H, w, M, self.r), D ** -0.5, sel)
        o, p = K.product(p1, kk), None
        if e is not None:
            o = o.view(B, n * H * w, D) + K.product(p2, e)
            p = p2.detach().view(B, n, H, w, M).sum(2).view(B, T, M)
        return o.view(B, n, H, w, D).transpose(2, 3).reshape(B, T, H, D), p

    def teach_indexer(self, scores, p, keep, aux):
        """KL of the index scores to what the heads attended to; rows count by how much they use compressed entries"""
        mass = p.sum(-1, keepdim=True)
        p = p / (mass + 1e-9)
        lp = torch.log_softmax(scores.masked_fill(~keep, -1e30), -1)
        weight = mass.squeeze(-1) * aux["w"]
        aux["loss"].append(-((p * lp.clamp_min(-60.0)).sum(-1) * weight).sum() / (weight.sum() + 1e-6))
        if aux.get("stats") is not None:
            best = p.argmax(-1, keepdim=True)
            rank = (scores > scores.gather(2, best)).sum(-1)
            used = ((mass.squeeze(-1) > 0.5 * self.H / 4) & (aux["w"] > 0.5)).float()
            aux["stats"].append((float(((rank < self.k).float() * used).sum()), float(used.sum())))


class MoE(nn.Module):
    """experts are stored side by side, the shared one last; unselected experts get weight 0 in the fused SwiGLU"""
    def __init__(self, c, hashed):
        super().__init__()
        d, E, I = c["hidden_size"], c["n_routed_experts"], c["moe_intermediate_size"]
        self.E, self.I, self.k, self.lim, self.scale = E, I, c["num_experts_per_tok"], float(c["swiglu_limit"]), c["routed_scaling_factor"]
        self.gate = lin(E, d)
        self.up = nn.Parameter(torch.randn(E + 1, 2 * I, d) / math.sqrt(d))
        self.down = nn.Parameter(torch.zeros(E + 1, d, I))
        if hashed:
            g = torch.Generator().manual_seed(5)
            self.register_buffer("tid2eid", torch.stack([torch.randperm(E, generator=g)[:self.k] for _ in range(c["vocab_size"])]))
        else:
            self.register_buffer("bias", torch.zeros(E))
            self.register_buffer("load", torch.zeros(E))
        self.hashed = hashed

    def forward(self, x, ids):
        R, d = x.shape
        sc = F.softplus(x @ self.gate.t()).sqrt()
        idx = self.tid2eid[ids] if self.hashed else (sc + self.bias).topk(self.k, -1).indices
        mask = torch.zeros_like(sc).scatter_(1, idx, 1.0)
        if not self.hashed and self.training:
            self.load += mask.sum(0)
        wt = sc * mask
        wt = wt / wt.sum(1, keepdim=True) * self.scale
        wt = torch.cat([wt, torch.ones_like(wt[:, :1])], 1)
        y = K.swiglu(K.linear(x, self.up.view(-1, d)), wt, self.lim)
        return K.linear(y, self.down.transpose(0, 1).reshape(d, -1))

    def balance(self, rate):
        if not self.hashed:
            self.bias += rate * torch.sign(self.load.mean() - self.load)
            self.load.zero_()


class Hc(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.fn = nn.Parameter(torch.randn((2 + n) * n, n * d) * 0.1 / math.sqrt(n * d))
        base = torch.zeros((2 + n) * n)
        base[:n] = -math.log(n - 1.0) if n > 1 else 4.0   # pre: average of the streams
        base[2 * n:] = (torch.eye(n) * 4.0).reshape(-1)   # comb: near identity
        self.base, self.scale = nn.Parameter(base), nn.Parameter(torch.ones(3))


class Block(nn.Module):
    def __init__(self, c, ratio, hashed):
        super().__init__()
        d, n = c["hidden_size"], c["hc_mult"]
        self.it, self.eps = c["hc_sinkhorn_iters"], c["hc_eps"]
        self.hc_attn, self.hc_ffn, self.attn_norm, self.ffn_norm = Hc(n, d), Hc(n, d), Norm(d), Norm(d)
        self.attn, self.ffn = Attention(c, ratio), MoE(c, hashed)

    def forward(self, X, ids, rot, aux):
        B, T = ids.shape
        a = self.hc_attn
        h, C, Bm = K.hc_pre(X, a.fn, a.scale, a.base, self.it, self.eps)
        y = self.attn(self.attn_norm(h).view(B, T, -1), rot, aux)
        X = K.hc_post(y, X, C, Bm)
        a = self.hc_ffn
        h, C, Bm = K.hc_pre(X, a.fn, a.scale, a.base, self.it, self.eps)
        return K.hc_post(self.ffn(self.ffn_norm(h), ids.reshape(-1)), X, C, Bm)


class Collapse(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.fn, self.base, self.scale = nn.Parameter(torch.randn(n, n * d) * 0.1 / math.sqrt(n * d)), nn.Parameter(torch.zeros(n)), nn.Parameter(torch.ones(1))
        self.eps = 1e-6

    def forward(self, X):
        R, n, d = X.shape
        A = torch.sigmoid(K.rms(X.view(R, n * d)) @ self.fn.t() * self.scale + self.base) + self.eps
        return (A.unsqueeze(2) * X).sum(1)


class Mtp(nn.Module):
    def __init__(self, c, ratio):
        super().__init__()
        d = c["hidden_size"]
        self.e_proj, self.h_proj = lin(d, d), lin(d, d)
        self.enorm, self.hnorm, self.norm, self.block, self.hc_head = Norm(d), Norm(d), Norm(d), Block(c, ratio, False), Collapse(c["hc_mult"], d)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        d, V, n, L = c["hidden_size"], c["vocab_size"], c["hc_mult"], c["num_hidden_layers"]
        self.embed = nn.Parameter(torch.randn(V, d) * 0.5)
        self.head = nn.Parameter(torch.randn(V, d) * 0.02)
        self.layers = nn.ModuleList([Block(c, c["compress_ratios"][i], i < c["num_hash_layers"]) for i in range(L)])
        self.norm, self.hc_head = Norm(d), Collapse(n, d)
        self.mtp = Mtp(c, c["compress_ratios"][L])
        self.rot = Rot(c)

    def forward(self, ids, aux=None, pos=None, mtp=False):
        """ids [B, T], T a multiple of the window.  Returns logits [B*T, V] and, if asked, MTP logits: row i predicts token i+2"""
        B, T = ids.shape
        d, n = self.c["hidden_size"], self.c["hc_mult"]
        self.rot.set(np.arange(T) if pos is None else pos)
        X = self.embed[ids.reshape(-1)].unsqueeze(1).expand(B * T, n, d).contiguous()
        for b in self.layers:
            X = b(X, ids, self.rot, aux)
        lg = K.linear(self.norm(self.hc_head(X)), self.head)
        if not mtp:
            return lg
        nxt = torch.cat([ids[:, 1:], ids[:, :1]], 1)
        m = self.mtp
        e = K.linear(m.enorm(self.embed[nxt.reshape(-1)]), m.e_proj)
        h = K.linear(m.hnorm(X), m.h_proj)
        Y = m.block((h + e.unsqueeze(1)).contiguous(), nxt, self.rot, aux)
        return lg, K.linear(m.norm(m.hc_head(Y)), self.head)


def config(V, d=128, ratios=(0, 4, 128, 4, 4, 0), H=4, D=128, rd=64, q=96, G=2, R=64, E=4, k=2, I=96, ih=2, ihd=64, topk=32, hc=4, nhash=1, win=128):
    return {"architectures": ["DeepseekV4ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1,
            "expert_dtype": "fp4", "hc_eps": 1e-6, "hc_mult": hc, "hc_sinkhorn_iters": 20, "head_dim": D, "hidden_act": "silu", "hidden_size": d,
            "index_head_dim": ihd, "index_n_heads": ih, "index_topk": topk, "initializer_range": 0.02, "max_position_embeddings": 1048576,
            "model_type": "deepseek_v4", "moe_intermediate_size": I, "n_routed_experts": E, "n_shared_experts": 1, "norm_topk_prob": True,
            "num_attention_heads": H, "num_experts_per_tok": k, "num_hidden_layers": len(ratios) - 1, "num_hash_layers": nhash,
            "num_key_value_heads": 1, "num_nextn_predict_layers": 1, "o_groups": G, "o_lora_rank": R, "q_lora_rank": q, "qk_rope_head_dim": rd,
            "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
            "rms_norm_eps": 1e-6, "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 16, "original_max_position_embeddings": 65536, "type": "yarn"},
            "rope_theta": 10000, "routed_scaling_factor": 1.5, "scoring_func": "sqrtsoftplus", "sliding_window": win, "swiglu_limit": 10.0,
            "tie_word_embeddings": False, "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "transformers_version": "4.57.1", "use_cache": True,
            "vocab_size": V, "compress_rope_theta": 160000, "compress_ratios": list(ratios)}
