"""Made-up file trees for agent episodes: configurations, notes, lists, numbers, tables, logs and scripts, with names from one side of the split."""
import re

from worlds import World, lines

KEYS = "port host mode level timeout owner color name size limit path region version user status team".split()
TYPOS = ["ehco", "eco", "ecoh", "echoo", "echp"]                  # of echo, the one command that the scripts use
ENTRY = re.compile(r'\s*"?([A-Za-z_][\w-]*)"?(?: = |=|: )"?([^",]+)"?,?$')


class Tree:
    """draws names and texts for one world"""

    def __init__(self, s, kinds):
        self.s, self.world, w = s, World(), s.words
        self.folders = [w.name() for _ in range(s.r.randint(1, 3))]
        if s.r.random() < 0.3:
            self.folders.append(self.folders[0] + "/" + w.name())
        for kind in kinds + s.r.choices(list(MAKE), k=s.r.randint(1, 4)):
            MAKE[kind](self)
        texts, self.shared = [p for p, k in self.world.kinds.items() if k in ("notes", "items", "log")], ""
        if len(texts) > 1 and s.r.random() < 0.5:                 # one word that several files have
            self.shared = w.invented()
            for p in s.r.sample(texts, min(len(texts), s.r.choice([2, 2, 3]))):
                self.world.files[p] += f"{w.text(0, 2)} {self.shared}\n".lstrip()

    def path(self, endings, folder=None):
        """a fresh path"""
        r = self.s.r
        while True:
            d = r.choice(["", *self.folders]) if folder is None else folder
            p = (d + "/" if d else "") + self.s.words.name() + "." + r.choice(endings)
            if p not in self.world.files and not self.world.is_folder(p):
                return p

    def add(self, kind, path, rows):
        self.world.files[path], self.world.kinds[path] = "".join(x + "\n" for x in rows), kind
        return path


def value(s):
    w, r = s.words, s.r
    return r.choice([w.name, w.name, w.number, lambda: w.number(2, 5), w.code])()


def config(t, endings=("ini", "toml", "json", "env")):
    w, r = t.s.words, t.s.r
    keys = []
    while len(keys) < r.randint(2, 6):
        k = r.choice(KEYS) if r.random() < 0.3 else w.noun()
        if r.random() < 0.15:
            k += "_" + w.noun()
        if k not in keys:
            keys.append(k)
    path = t.path(endings)
    ending, pairs = path.rpartition(".")[2], [(k, value(t.s)) for k in keys]
    literal = lambda v: v if v.isdigit() and (v == "0" or v[0] != "0") else f'"{v}"'
    if ending == "json":
        rows = ["{"] + [f'  "{k}": {literal(v)}' + "," * (i + 1 < len(pairs)) for i, (k, v) in enumerate(pairs)] + ["}"]
    elif ending == "toml":
        rows = [f"{k} = {literal(v)}" for k, v in pairs]
    elif ending == "env":
        rows = [f"{k.upper()}={v}" for k, v in pairs]
    else:
        rows = [f"[{w.noun()}]"] * (r.random() < 0.5) + [f"{k} = {v}" for k, v in pairs]
    return t.add("config", path, rows)


def notes(t):
    w, r = t.s.words, t.s.r
    path = t.path(["txt", "md"])
    rows = [f"# {w.text(1, 3)}"] * (path.endswith("md") and r.random() < 0.7)
    for _ in range(r.randint(2, 5)):
        rows.append(w.sentence() if r.random() < 0.5 else f"The {w.noun()} of {w.name()} is {w.value()}.")
    t.add("notes", path, rows)


def items(t):
    w, r = t.s.words, t.s.r
    t.add("items", t.path(["txt", "txt", "md"]), [r.choice(["", "- "]) + w.text(1, 3) for _ in range(r.randint(2, 8))])


def numbers(t):
    r = t.s.r
    top = r.choice([100, 1000, 100000])
    t.add("numbers", t.path(["txt", "log", "csv"]), [str(x) for x in r.sample(range(top), r.randint(3, 10))])


def table(t):
    w, r = t.s.words, t.s.r
    t.add("table", t.path(["csv"]), [f"{w.name()},{x}" for x in r.sample(range(1000), r.randint(3, 8))])


def log(t):
    w, r = t.s.words, t.s.r
    n = r.randint(2, 7)
    bad = r.randrange(n) if r.random() < 0.8 else -1
    t.add("log", t.path(["log"]), [f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d} {'ERROR' if i == bad else r.choice(['INFO', 'INFO', 'WARN'])} {w.text(2, 4)}" for i in range(n)])


def script(t):
    w, r = t.s.words, t.s.r
    k, v = w.name() + "_" + w.noun(), w.value()                   # two words: never a word of the language
    if r.random() < 0.4:
        t.add("script", t.path(["sh"]), ["set -e"] * (r.random() < 0.5) + [f'echo "{w.text(1, 4)}"' for _ in range(r.randint(1, 3))])
    else:
        rows = r.choice([[f'print("{v}")'], [f'{k} = "{v}"', f"print({k})"], [f'{k} = "{v}"', f'print(f"{w.noun()} {{{k}}}")'], [f"total = {w.number(2, 4)}", 'print(f"total: {total}")']])
        t.add("script", t.path(["py"]), rows)


def check(t):
    """a script that fails until the one wrong word is changed: in itself (bash) or in the configuration that it checks (Python)"""
    w, r = t.s.words, t.s.r
    works = r.random() < 0.15
    if r.random() < 0.4:
        rows = [f'echo "{w.text(1, 3)}"' for _ in range(r.randint(1, 3))]
        if not works:
            i = r.randrange(len(rows))
            rows[i] = rows[i].replace("echo", r.choice(TYPOS), 1)
        t.add("check", t.path(["sh"]), ["set -e"] + rows)
        return
    p = config(t, ("ini", "env"))
    k, v, snippet = r.choice(entries(t.world.files[p]))
    right = v if works else w.name()
    t.add("check", t.path(["py"]), ["import sys", "", f'text = open("{p}").read()', f'if "{snippet[:-len(v)]}{right}" not in text:', f'    sys.exit("{p}: {k} must be {right}")', f'print("{k} is {right}")'])


MAKE = {"config": config, "notes": notes, "items": items, "numbers": numbers, "table": table, "log": log, "script": script, "check": check}


def entries(text):
    """-> (key, value, the exact text that sets it)"""
    found = [(m, row) for row in lines(text) for m in [ENTRY.match(row)] if m]
    return [(m[1], m[2], row.strip().rstrip(",")) for m, row in found]


def with_value(snippet, old, new):
    a, _, b = snippet.rpartition(old)
    return a + new + b
