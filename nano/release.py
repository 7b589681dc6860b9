"""Write a trained model in the release layout: safetensors with release tensor names, config.json, generation_config.json.

    release.py runs/X.pt OUT_DIR [--float]

Default: routed experts FP4 (e2m1 packed low nibble first, E8M0 scale per 32 columns), attention and shared-expert matrices FP8 (e4m3,
E8M0 scale per 128 x 128 block), the rest bf16, and float32 where the release has it.  --float stores everything as float32 for exact checks."""
import json, os, struct, sys
import numpy as np
import torch

from reference import Checkpoint

E4M3 = np.array([(m * 2.0 ** -9 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7)) for e in range(16) for m in range(8)][:127])
E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6.0])


def nearest(a, grid):
    hi = np.clip(np.searchsorted(grid, a), 1, len(grid) - 1)
    lo = hi - 1
    dl, dh = a - grid[lo], grid[hi] - a
    return np.where((dh < dl) | ((dh == dl) & (hi % 2 == 0)), hi, lo)


class Writer:
    def __init__(self, plain):
        self.t, self.plain = {}, plain

    def add(self, name, dtype, a):
        self.t[name] = (dtype, list(a.shape), a.tobytes())

    def f32(self, name, x):
        self.add(name, "F32", np.ascontiguousarray(x, "<f4"))

    def bf16(self, name, x):
        if self.plain:
            return self.f32(name, x)
        u = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
        self.add(name, "BF16", (((u + 0x7FFF + ((u >> 16) & 1)) >> 16) & 0xFFFF).astype("<u2"))

    def fp8(self, name, x):
        if self.plain:
            return self.f32(name + ".weight", x)
        o, i = x.shape
        bo, bi = -(-o // 128), -(-i // 128)
        p = np.zeros((bo * 128, bi * 128))
        p[:o, :i] = x
        b = p.reshape(bo, 128, bi, 128)
        s = 2.0 ** np.ceil(np.log2(np.maximum(np.abs(b).max((1, 3)), 1e-12) / 448.0))
        v = np.clip(b / s[:, None, :, None], -448, 448)
        code = nearest(np.abs(v), E4M3) | np.where(np.signbit(v), 128, 0)
        self.add(name + ".weight", "F8_E4M3", np.ascontiguousarray(code.reshape(p.shape)[:o, :i].astype(np.uint8)))
        self.add(name + ".scale", "F8_E8M0", (np.log2(s).astype(int) + 127).astype(np.uint8))

    def fp4(self, name, x):
        if self.plain:
            return self.f32(name + ".weight", x)
        o, i = x.shape
        b = x.reshape(o, i // 32, 32)
        s = 2.0 ** np.ceil(np.log2(np.maximum(np.abs(b).max(-1), 1e-12) / 6.0))
        v = np.clip(b / s[..., None], -6, 6)
        code = (nearest(np.abs(v), E2M1) | np.where(np.signbit(v), 8, 0)).reshape(o, i).astype(np.uint8)
        self.add(name + ".weight", "I8", code[:, ::2] | (code[:, 1::2] << 4))
        self.add(name + ".scale", "F8_E8M0", (np.log2(s).astype(int) + 127).astype(np.uint8))

    def save(self, path):
        hdr, off = {"__metadata__": {"format": "pt"}}, 0
        for n, (dt, sh, d) in self.t.items():
            hdr[n] = {"dtype": dt, "shape": sh, "data_offsets": [off, off + len(d)]}
            off += len(d)
        h = json.dumps(hdr).encode()
        h += b" " * (-len(h) % 8)
        with open(os.path.join(path, "model.safetensors"), "wb") as f:
            f.write(struct.pack("<Q", len(h)) + h)
            for _, _, d in self.t.values():
                f.write(d)
        return off


def export(cfg, sd, path, plain=False):
    os.makedirs(path, exist_ok=True)
    w = Writer(plain)
    g = lambda k: sd[k].detach().float().numpy().astype(np.float64)
    E = cfg["n_routed_experts"]

    def compressor(dst, src):
        w.f32(dst + ".ape", g(src + ".ape"))
        w.bf16(dst + ".wkv.weight", g(src + ".wkv"))
        w.bf16(dst + ".wgate.weight", g(src + ".wgate"))
        w.bf16(dst + ".norm.weight", g(src + ".norm.weight"))

    def block(dst, src, ratio, hashed):
        a, b = dst + "attn", src + "attn"
        w.f32(a + ".attn_sink", g(b + ".attn_sink"))
        for k in ("wq_a", "wq_b", "wkv", "wo_a", "wo_b"):
            w.fp8(f"{a}.{k}", g(f"{b}.{k}"))
        for k in ("q_norm", "kv_norm"):
            w.bf16(f"{a}.{k}.weight", g(f"{b}.{k}.weight"))
        if ratio:
            compressor(a + ".compressor", b + ".compressor")
        if ratio == 4:
            w.fp8(a + ".indexer.wq_b", g(b + ".indexer.wq_b"))
            w.bf16(a + ".indexer.weights_proj.weight", g(b + ".indexer.weights_proj"))
            compressor(a + ".indexer.compressor", b + ".indexer.compressor")
        for k in ("attn_norm", "ffn_norm"):
            w.bf16(f"{dst}{k}.weight", g(f"{src}{k}.weight"))
        w.bf16(dst + "ffn.gate.weight", g(src + "ffn.gate"))
        if hashed:
            w.add(dst + "ffn.gate.tid2eid", "I64", sd[src + "ffn.tid2eid"].numpy().astype("<i8"))
        else:
            w.f32(dst + "ffn.gate.bias", g(src + "ffn.bias"))
        up, down = g(src + "ffn.up"), g(src + "ffn.down")
        I = down.shape[2]
        for e in range(E + 1):
            p, put = (f"{dst}ffn.experts.{e}", w.fp4) if e < E else (dst + "ffn.shared_experts", w.fp8)
            put(p + ".w1", up[e, :I])
            put(p + ".w2", down[e])
            put(p + ".w3", up[e, I:])
        for k in ("attn", "ffn"):
            for v in ("fn", "base", "scale"):
                w.f32(f"{dst}hc_{k}_{v}", g(f"{src}hc_{k}.{v}"))

    def hc_head(dst, src):
        for v in ("fn", "base", "scale"):
            w.f32(f"{dst}hc_head_{v}", g(f"{src}hc_head.{v}"))

    L = cfg["num_hidden_layers"]
    w.bf16("embed.weight", g("embed"))
    for i in range(L):
        block(f"layers.{i}.", f"layers.{i}.", cfg["compress_ratios"][i], i < cfg["num_hash_layers"])
    w.bf16("norm.weight", g("norm.weight"))
    w.bf16("head.weight", g("head"))
    hc_head("", "")
    for k in ("e_proj", "h_proj"):
        w.fp8("mtp.0." + k, g("mtp." + k))
    for k in ("enorm", "hnorm", "norm"):
        w.bf16(f"mtp.0.{k}.weight", g(f"mtp.{k}.weight"))
    block("mtp.0.", "mtp.block.", cfg["compress_ratios"][L], False)
    hc_head("mtp.0.", "mtp.")
    generation = {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1, "do_sample": False, "temperature": 0.0, "top_p": 1.0}
    for name, content in (("config.json", cfg), ("generation_config.json", generation)):
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            json.dump(content, f, indent=2)
    return w.save(path)


def source_name(key):
    """name of one of model.py's parameters in the release's spelling"""
    key = key.replace("mtp.block.", "mtp.0.") if key.startswith("mtp.block.") else key.replace("mtp.", "mtp.0.", 1) if key.startswith("mtp.") else key
    for part in ("hc_attn", "hc_ffn", "hc_head"):
        key = key.replace(part + ".", part + "_")
    return key


def load(path):
    """release layout -> config, state dict of model.Model with the stored (rounded) values"""
    from model import Model
    ck = Checkpoint(path)
    c, out = ck.cfg, {}
    tensor = lambda a: torch.from_numpy(np.array(a, np.float32))
    matrix = lambda k: tensor(ck.weight(k)[0])
    for key, value in Model(c).state_dict().items():
        name = source_name(key)
        parent = name.rsplit(".", 1)[0]
        experts = [f"{parent}.experts.{e}" for e in range(c["n_routed_experts"])] + [parent + ".shared_experts"]
        if key.endswith("ffn.up"):
            out[key] = torch.stack([torch.cat([matrix(e + ".w1"), matrix(e + ".w3")]) for e in experts])
        elif key.endswith("ffn.down"):
            out[key] = torch.stack([matrix(e + ".w2") for e in experts])
        elif key.endswith("ffn.tid2eid"):
            out[key] = torch.from_numpy(ck.raw(parent + ".gate.tid2eid").astype(np.int64))
        elif key.endswith("ffn.bias"):
            out[key] = tensor(ck.raw(parent + ".gate.bias"))
        elif key.endswith("ffn.load"):
            out[key] = torch.zeros_like(value)
        else:
            out[key] = tensor(ck.raw(name)) if ck.has(name) else matrix(name)
    return c, out


if __name__ == "__main__":
    ck = torch.load(sys.argv[1], map_location="cpu")
    print(export(ck["config"], ck["model"], sys.argv[2], "--float" in sys.argv), "bytes")
    with open(os.path.join(sys.argv[2], "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(ck["tokenizer"], f, ensure_ascii=False, indent=1)
