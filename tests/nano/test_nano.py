"""nano/: the generator, the tokenizer, the export and the training model's agreement with the numpy reference.

    python3 -m unittest discover -s tests/nano          a few seconds; skipped with a reason where a module is missing"""
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest

NANO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "nano")
sys.path.insert(0, NANO)

try:
    import numpy as np
    import regex  # noqa: F401  the tokenizer's splits need Unicode classes
    import torch
    missing = ""
except ImportError as e:
    missing = f"{e.name} is not installed (Debian: python3-torch python3-numpy python3-regex)"

if not missing:
    import cases
    import chat
    import check
    import dialogues
    import recall
    import release
    import rounding
    import tokenizer
    from batches import Stream
    from model import Model
    from reference import Ref
    from tools import Source
    from words import Words, held_out


@unittest.skipIf(missing, missing)
class Generator(unittest.TestCase):
    def setUp(self):
        self.tok = tokenizer.load(os.path.join(NANO, "weights", "tokenizer.json"))

    def test_same_seed_same_rows(self):
        mix = {k: 1.0 for k in ("near", "far", "near_far", "copy", "lines", "facts", "short_facts", "needles", "calls", "brief_calls", "talk")}
        a, b = (Stream(self.tok, "seed 5").batch(6, 512, mix, 8) for _ in range(2))
        self.assertTrue(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]))
        self.assertEqual(tuple(a[0].shape), (6, 514))
        self.assertGreater(int((a[1] > 0).sum()), 200)

    def test_segments_break_where_tokens_break(self):
        """what the model is taught to write is exactly what it would have to write when running free"""
        s = Source(Words(random.Random(3)))
        for i in range(60):
            d = [lambda: dialogues.tool_document(s, 900, self.tok.count), lambda: recall.reading(s, self.tok.count, 700, 6), lambda: dialogues.talk_document(s), lambda: recall.lines(s, self.tok.count, 200)][i % 4]()
            text = "".join(t for t, _ in d)
            ids, _ = self.tok.document(d)
            self.assertEqual(ids, self.tok.text(text))
            self.assertEqual(self.tok.decode(ids), text)

    def test_held_out_words_stay_out(self):
        w, h = Words(random.Random(1)), Words(random.Random(1), held=True)
        for _ in range(300):
            self.assertFalse(held_out(w.invented()) or held_out(w.noun()))
            self.assertTrue(held_out(h.invented()) and held_out(h.noun()))

    def test_cases_repeat_and_end(self):
        for kind in cases.MAKERS:
            if kind.endswith(("8k", "16k")):
                continue
            a, b = (cases.make(kind, 2, self.tok.count) for _ in range(2))
            self.assertEqual(a, b)
            self.assertTrue(a["expected"].endswith(chat.EOS), kind)
            self.assertTrue(a["prompt"].endswith((chat.THINK, chat.END_THINK)), kind)

    def test_reasoning_is_kept_only_with_tools(self):
        turn = lambda n: [{"role": "user", "content": f"u{n}"}, {"role": "assistant", "content": f"a{n}", "reasoning": f"r{n}"}]
        text = lambda m: "".join(t for t, _ in chat.render(m, thinking=True))
        A, U, E = chat.ASSISTANT, chat.USER, chat.EOS
        self.assertEqual(text(turn(1) + turn(2)), f"{chat.BOS}{U}u1{A}</think>a1{E}{U}u2{A}<think>r2</think>a2{E}")
        with_tools = text([{"role": "system", "content": "s", "schemas": ["{}"]}] + turn(1) + turn(2))
        self.assertIn(f"s\n\n## Tools", with_tools)
        self.assertTrue(with_tools.endswith(f"{U}u1{A}<think>r1</think>a1{E}{U}u2{A}<think>r2</think>a2{E}"))


@unittest.skipIf(missing, missing)
class Tokens(unittest.TestCase):
    def test_round_trip_and_release_form(self):
        path = os.path.join(NANO, "weights", "tokenizer.json")
        tok = tokenizer.load(path)
        with open(path, encoding="utf-8") as f:
            self.assertEqual(tok.release(), json.load(f))
        for t in ("", "12345 a1b", " tab\tnl\n\n  x", "grün 東京 ア・イ", chat.BOS + "x" + chat.DSML + "</" + chat.EOS, "\u0000\u00ff\U0001f980"):
            self.assertEqual(tok.decode(tok.text(t)), t)
        self.assertEqual(len(tok.text("48213")), 5)

    def test_training_is_deterministic(self):
        texts = list(tokenizer.sample_texts(40))
        a, b = tokenizer.train(texts, 400), tokenizer.train(list(tokenizer.sample_texts(40)), 400)
        self.assertEqual(a.merges, b.merges)
        self.assertEqual(a.size, 400)
        self.assertFalse(any(tokenizer.glues(x + y) for x, y in a.merges))


@unittest.skipIf(missing, missing)
class Weights(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(5)
        torch.set_num_threads(1)

    def small(self):
        return check.tiny(d=64, D=64, rd=32, q=32, R=32, I=64, H=2, E=3, ihd=32, win=32, topk=8, ratios=(0, 4, 128, 4, 0))

    def test_export_stores_what_training_rounds_to(self):
        model = self.small()
        expected = {n: v for (n, p), v in ((item, rounding.stored(model).get(item[1])) for item in model.named_parameters()) if v is not None}
        exact = {n: p.detach() for n, p in model.named_parameters()}
        with tempfile.TemporaryDirectory() as folder:
            release.export(model.c, model.state_dict(), folder)
            _, loaded = release.load(folder)
        for n in exact:
            self.assertTrue(torch.equal(loaded[n], expected.get(n, exact[n])), n)

    def test_rounded_rows_equal_the_reference(self):
        import reference
        x = torch.randn(50, 128) * torch.exp(torch.randn(50, 1) * 3)
        self.assertTrue(np.array_equal(rounding.fp8_rows(x).numpy(), reference.fake_quant(x.numpy(), 64, "fp8")))
        self.assertTrue(np.array_equal(rounding.fp4_rows(x).numpy(), reference.fake_quant(x.numpy(), 32, "fp4")))

    def test_forward_equals_the_reference(self):
        model = self.small()
        ids = np.random.default_rng(0).integers(0, 200, 170)
        d = check.difference(model, ids)
        self.assertLess(d["logits"], 2e-5)
        self.assertLess(d["mtp"], 2e-5)
        self.assertEqual(d["same"], 1.0)

    def test_plain_operators_agree_too(self):
        """without the compiled operators: forward against the reference, gradients against finite differences"""
        code = ("import numpy as np, torch, check; torch.manual_seed(3); torch.set_num_threads(1)\n"
                "d = check.difference(check.tiny(), np.random.default_rng(0).integers(0, 200, 260))\n"
                "assert d['logits'] < 1e-4 and d['mtp'] < 1e-4 and d['same'] == 1.0, d\n"
                "assert check.gradients() < 0.05")
        subprocess.run([sys.executable, "-c", code], check=True, cwd=NANO, env={**os.environ, "NANO_PLAIN": "1"})

    def test_shipped_weights(self):
        path = os.path.join(NANO, "weights")
        cfg, weights = release.load(path)
        model = Model(cfg)
        model.load_state_dict(weights)
        ids = tokenizer.load(os.path.join(path, "tokenizer.json")).text(chat.BOS + chat.USER + "What are you?" + chat.ASSISTANT + chat.END_THINK)
        with torch.no_grad():
            got = model.eval()(torch.tensor([ids + [2] * (-len(ids) % 128)]), dict(topk=True, round=False, kl=False, w=None, loss=[]))[:len(ids)].numpy()
        self.assertLess(np.abs(got - Ref(path, "f32").forward(ids)).max(), 2e-3)


if __name__ == "__main__":
    unittest.main()
