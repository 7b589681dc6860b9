"""nano/agent.py: the simulated worlds against real tools in a temporary folder, and the episodes' promises.

    python3 -m unittest discover -s tests/nano          a few seconds; needs bash, GNU tools and python3 on the path"""
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import unittest

NANO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "nano")
sys.path.insert(0, NANO)

import agent
import chat
import episodes
import trees
from tools import Source
from words import Words, held_out
from worlds import World

COUNT = lambda t: len(t) // 3


def source(seed, held=False):
    return Source(Words(random.Random(seed), held), held)


def real(folder, name, args):
    """the tools written again, plainly, on real files"""
    if name == "shell":
        p = subprocess.run(["bash", "-c", args["command"]], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"})
        out = p.stdout.decode()
        out = re.sub(r"^bash: line \d+: ", "bash: ", out)
        return (out + ("\n" if out and out[-1] != "\n" else "") + f"[exit status {p.returncode}]") if p.returncode else out or "(no output)"
    path = os.path.join(folder, args.get("path", "."))
    if name == "read":
        if not os.path.isfile(path):
            return f"error: {args['path']}: no such file"
        with open(path, encoding="utf-8", newline="") as f:
            return f.read()
    if name == "write":
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(args["content"].encode())
        return f"wrote {os.path.getsize(path)} bytes to {args['path']}"
    if name == "edit":
        if not os.path.isfile(path):
            return f"error: {args['path']}: no such file"
        with open(path, "rb") as f:
            before, found, after = f.read().partition(args["old"].encode())
        if not found:
            return f"error: text not found in {args['path']}"
        with open(path, "wb") as f:
            f.write(before + args["new"].encode() + after)
        return f"edited {args['path']}"
    if name == "list":
        if not os.path.isdir(path):
            return f"error: {args['path']}: no such directory"
        return "\n".join(n + "/" * os.path.isdir(os.path.join(path, n)) for n in sorted(os.listdir(path))) or "(empty)"
    if name == "search":
        rows = []
        for base, _, names in os.walk(path):
            for n in names:
                p = os.path.join(base, n)
                with open(p, encoding="utf-8") as f:
                    rows += [(os.path.relpath(p, folder), i, x.rstrip("\n")) for i, x in enumerate(f, 1) if args["query"] in x]
        return "\n".join(f"{p}:{i}: {x}" for p, i, x in sorted(rows)) or "no matches"
    return "ok"


class Checked(World):
    """a world that runs every call on real files too"""
    folder, test, used = "", None, set()

    def run(self, name, args):
        if not os.listdir(self.folder):
            for p, text in self.files.items():
                os.makedirs(os.path.dirname(os.path.join(self.folder, p)), exist_ok=True)
                with open(os.path.join(self.folder, p), "wb") as f:
                    f.write(text.encode())
        out = super().run(name, args)
        self.test.assertEqual(out, real(self.folder, name, args), (name, args))
        self.used.add(args["command"].split()[0] if name == "shell" else name)
        return out


class Agent(unittest.TestCase):
    def test_worlds_are_real(self):
        Checked.test, Checked.used = self, set()
        original = trees.World
        trees.World = Checked
        try:
            for i in range(96):
                with tempfile.TemporaryDirectory() as Checked.folder:
                    s = source(f"real {i}")
                    family = list(agent.FAMILIES)[i % len(agent.FAMILIES)]
                    tree = agent.Tree(s, agent.FAMILIES[family][1])
                    for f in (family, s.r.choice(list(agent.FAMILIES))):
                        agent.episode(s, tree, [f])
                    for base, _, names in os.walk(Checked.folder):
                        for n in names:
                            p = os.path.relpath(os.path.join(base, n), Checked.folder)
                            with open(os.path.join(base, n), encoding="utf-8", newline="") as f:
                                self.assertEqual(tree.world.files.get(p), f.read(), p)
        finally:
            trees.World = original
        wanted = {"read", "write", "edit", "list", "search", "plan", "wc", "ls", "grep", "mkdir", "cp", "mv", "rm", "echo", "head", "tail", "sort", "python3", "bash"}
        self.assertEqual(wanted - Checked.used, set())

    def test_shell_subset(self):
        world = World()
        for p, t in {"a.txt": "one\ntwo words\nthree\n", "d/b.txt": "two\n", "d/c.md": "no end", "d/e/f.csv": "x,20\ny,3\nz,20\n", "n.txt": "10\n9\n-3\n9\n", "empty.txt": ""}.items():
            world.files[p] = t
        commands = ["cat a.txt", "cat a.txt d/b.txt", "cat nope", "ls", "ls d", "ls nope", "ls d/b.txt", "ls d | wc -l", "ls d/*.txt | wc -l", "wc -l a.txt", "wc -l d/c.md", "wc -l nope", "cat a.txt d/b.txt | wc -l",
                    "grep -n two a.txt", "grep -c two a.txt", "grep -c six a.txt", "grep -n six a.txt", "grep two nope", "grep -rl two . | sort", "grep -rl two d | wc -l", "grep -rl six d | wc -l", "head -n 2 a.txt", "tail -n 1 a.txt",
                    "head -n 1 nope", "tail -n 1 nope", "sort a.txt", "sort -n n.txt | tail -n 1", "sort -t, -k2 -n d/e/f.csv | tail -n 1", "sort -t, -k2 -n d/e/f.csv | head -n 1", "sort nope", "mkdir -p p/q && cp a.txt p/q", "ls p/q",
                    "cp nope x", "cp a.txt no/x", "mv a.txt no/x", "mv nope x", "rm nope", "bash nope", "echo 'a | b' >> a.txt", "tail -n 1 a.txt", "echo one  two > o.txt", "cat o.txt", "mv a.txt d/z.txt", "rm d/b.txt", "cat d/z.txt", "rm d/e/f.csv && ls d/e",
                    "wc -l empty.txt", "cat empty.txt", "sort d/c.md", "head -n 3 d/c.md"]
        commands.remove("grep -rl two . | sort")                  # its spelling of paths (./a.txt) is not simulated
        commands.remove("head -n 3 d/c.md")                       # nor is a last line without its end
        with tempfile.TemporaryDirectory() as folder:
            for p, t in world.files.items():
                real(folder, "write", {"path": p, "content": t})
            for c in commands:
                self.assertEqual(world.shell(c), real(folder, "shell", {"command": c}), c)
            for name, args in [("list", {"path": "."}), ("list", {"path": "d/e"}), ("list", {"path": "nope"}), ("read", {"path": "nope"}), ("edit", {"path": "n.txt", "old": "9", "new": "8"}), ("read", {"path": "n.txt"}),
                               ("edit", {"path": "n.txt", "old": "77", "new": "8"}), ("edit", {"path": "nope", "old": "9", "new": "8"}), ("search", {"query": "o"}), ("search", {"query": "o", "path": "d"}), ("search", {"query": "qq"}),
                               ("write", {"path": "k/l/m.txt", "content": "gr\u00fcn"}), ("list", {"path": "k"})]:
                self.assertEqual(world.run(name, args), real(folder, name, args), (name, args))
        with self.assertRaises(ValueError):
            world.shell("awk 1 n.txt")

    def test_determinism(self):
        for i in range(20):
            self.assertEqual(*(agent.agent_document(source(i), 2048, COUNT) for _ in range(2)))
            self.assertEqual(*(agent.single_task(source(i, True), "high") for _ in range(2)))

    def test_split_holds(self):
        """names, folders and keys come from the document's side of the split"""
        for held in (False, True):
            for i in range(60):
                s = source(i, held)
                _, tree = agent.draw(s, 2)
                names = {n for p in tree.world.files for n in p.rpartition(".")[0].split("/")}
                names |= {k for p, kind in tree.world.kinds.items() if kind == "config" for key, _, _ in trees.entries(tree.world.files[p]) for k in key.lower().split("_")} - set(trees.KEYS)
                self.assertEqual({held_out(n) for n in names}, {held})

    def test_documents(self):
        """the declared bytes, well-formed calls in schema order, every mode, every family"""
        head = "\n".join(agent.SCHEMAS)
        order = {t["name"]: list(t["parameters"]["properties"]) for t in episodes.TOOLS}
        with open(os.path.join(NANO, "agent_tools.json"), encoding="utf-8") as f:
            self.assertEqual(f.read(), "[\n" + ",\n".join(agent.SCHEMAS) + "\n]\n")
        for i in range(150):
            mode = ["none", "high", "max"][i % 3]
            d = agent.agent_document(source(f"doc {i}"), 2048, COUNT, mode)
            text = "".join(t for t, _ in d)
            self.assertIn(head, text)
            answers = "".join(t for t, k in d if k)
            self.assertEqual(answers.count("</think>"), 0 if mode == "none" else answers.count(chat.EOS))
            calls = re.findall(r'invoke name="(\w+)">\n(.*?)\n</｜DSML｜invoke>', answers, re.S)
            self.assertTrue(calls)
            for name, body in calls:
                given = re.findall(r'<｜DSML｜parameter name="(\w+)" string="(true|false)">(.*?)</｜DSML｜parameter>', body, re.S)
                self.assertEqual([g[0] for g in given], order[name][:len(given)])
                for p, is_text, v in given:
                    self.assertEqual(is_text, "false" if p == "steps" else "true")
                    if p == "steps":
                        self.assertTrue(all(isinstance(x, str) for x in json.loads(v)))

    def test_requests_are_whole(self):
        """no place holder is left, and what the first call names stands in the request"""
        for i, f in enumerate(list(agent.FAMILIES) * 6):
            s = source(f"request {i}", i % 2 == 1)
            steps = agent.episode(s, agent.Tree(s, agent.FAMILIES[f][1]), [f])
            user, name, args = steps[0][0], *steps[0][1]["calls"][0]
            self.assertNotRegex(user, r"\{[a-z]\}|(?i:\b(\w+) \1\b(?= [`'\"]))")
            for p, v in args:
                if p in ("path", "old", "new", "query"):
                    self.assertIn(v, user)

    def test_episode_lengths(self):
        for i in range(200):
            s = source(f"length {i}")
            families, tree = agent.draw(s, 1)
            self.assertIn(len(agent.episode(s, tree, families)) - 1, range(1, 7))


if __name__ == "__main__":
    unittest.main()
