"""Agent episodes: small tasks in a made-up file tree (worlds.py) with the fixed tools of agent_tools.json, in V4's chat format.

Every family of tasks has one strategy, a function of the request and of the results so far, so that each call has exactly one right
spelling; what varies (words, files, phrasing, whether a file is missing) is visible to the model before it matters.  Answers copy from
results: counting and comparing is left to the tools."""
import json
import os
import re

import chat
import dialogues as D
from tools import wrap
from worlds import World, lines

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent_tools.json"), encoding="utf-8") as _f:
    TOOLS = json.load(_f)
SCHEMAS = [json.dumps(t, ensure_ascii=False) for t in TOOLS]
TYPES = {t["name"]: {p: v["type"] for p, v in t["parameters"]["properties"].items()} for t in TOOLS}
SYSTEM = ["", "", "You are an agent. Use the tools to do the task."]
KEYS = "port host mode level timeout owner color name size limit path region version user status team".split()
TYPOS = ["ehco", "eco", "ecoh", "echoo", "echp"]                  # of echo, the one command that the scripts use
MODES = [0.45, 0.45, 0.10]                                        # none, high, max
ENTRY = re.compile(r'\s*"?([A-Za-z_][\w-]*)"?(?: = |=|: )"?([^",]+)"?,?$')

# family -> (trained phrases, held-out phrases); one without a full stop or question mark is wrapped ("Please ...", "Can you ...?")
PHRASES = {
    "find": (["Which file contains {q}?", "Which file mentions {q}?", "find the file that contains {q}", "Where is {q} mentioned?", "find {q} in the files"], ["In which file is {q}?", "look for the file with {q}"]),
    "find_below": (["Which files in {d} contain {q}?", "search {d} for {q}", "find {q} in the folder {d}"], ["Which files below {d} mention {q}?", "look for {q} in {d}"]),
    "read_key": (["What is the {k} in {p}?", "What is {k} in {p}?", "read {p} and tell me the {k}", "tell me the {k} in {p}", "Which {k} does {p} set?", "look into {p}: what is {k}?"], ["What value has {k} in {p}?", "give me the {k} from {p}"]),
    "find_key": (["What is the value of {k}?", "Where is {k} set, and to what?", "find the value of {k}", "Which value does {k} have?"], ["look up the value of {k}", "What is {k} set to?"]),
    "two_keys": (["What is {k} in {p}, and {l} in {o}?", "tell me the {k} in {p} and the {l} in {o}", "read {p} and {o}: what are {k} and {l}?"], ["give me {k} from {p} and {l} from {o}"]),
    "read_fact": (["{p} is about {k}. What does it say?", "What does {p} say about {k}?", "read {p} and tell me what it says about {k}"], ["look into {p}: what is said about {k}?"]),
    "count_lines": (["How many lines does {p} have?", "count the lines of {p}", "How long is {p}, in lines?", "tell me the number of lines in {p}"], ["How many lines are in {p}?", "count the lines in the file {p}"]),
    "count_files": (["How many files are in {d}?", "count the files in {d}", "How many files does {d} have?"], ["tell me how many files {d} has"]),
    "count_kind": (["How many {x} files are in {d}?", "count the {x} files in {d}"], ["tell me how many {x} files {d} has"]),
    "count_matches": (["How many lines of {p} contain {q}?", "count the lines with {q} in {p}", "How often does a line of {p} have {q}?"], ["In how many lines of {p} is {q}?"]),
    "count_holders": (["How many files in {d} contain {q}?", "count the files in {d} that contain {q}"], ["In how many files of {d} is {q}?"]),
    "change": (["change {k} to {v} in {p}", "set {k} to {v} in {p}", "set the {k} in {p} to {v}", "In {p}, {k} must be {v}.", "make {k} {v} in {p}"], ["give {k} the value {v} in {p}", "update {k} in {p} to {v}"]),
    "change_found": (["change the value of {k} to {v}", "find {k} and set it to {v}", "set {k} to {v} wherever it is", "find the setting {k} and make it {v}"], ["look up {k} and change it to {v}"]),
    "create": (["create {p} with the text {t}", "create the file {p} with {t}", "write {t} to {p}", "make a file {p} that says {t}"], ["put {t} into a new file {p}", "save {t} as {p}"]),
    "create_lines": (["create {p} with the lines {t}", "write the lines {t} to {p}", "make a file {p} with these lines: {t}"], ["save these lines as {p}: {t}"]),
    "append": (["add the line {t} to {p}", "append {t} to {p}", "append the line {t} to {p}", "put the line {t} at the end of {p}"], ["add {t} at the end of {p}"]),
    "rename": (["rename {p} to {o}", "rename the file {p} to {o}", "give {p} the new name {o}"], ["change the name of {p} to {o}"]),
    "copy": (["copy {p} to {o}", "make a copy of {p} named {o}", "copy the file {p} to {o}"], ["duplicate {p} as {o}"]),
    "move": (["move {p} into the folder {d}", "move {p} to the folder {d}", "put {p} into the folder {d}"], ["shift {p} to the folder {d}"]),
    "delete": (["delete {p}", "remove {p}", "delete the file {p}", "remove the file {p}"], ["get rid of {p}", "erase {p}"]),
    "list": (["What is in {d}?", "list {d}", "list the files in {d}", "show me the folder {d}", "Which files are in {d}?"], ["What does the folder {d} have?", "show the files in {d}"]),
    "last": (["What is the last line of {p}?", "show me the last line of {p}", "How does {p} end?"], ["tell me the last line of {p}"]),
    "first": (["What is the first line of {p}?", "show me the first line of {p}", "How does {p} begin?"], ["tell me the first line of {p}"]),
    "largest": (["What is the largest number in {p}?", "find the largest number in {p}", "Which number in {p} is the largest?"], ["tell me the largest number in {p}"]),
    "smallest": (["What is the smallest number in {p}?", "find the smallest number in {p}", "Which number in {p} is the smallest?"], ["tell me the smallest number in {p}"]),
    "top_row": (["Which row of {p} has the largest number?", "find the row of {p} with the largest number"], ["tell me the row with the largest number in {p}"]),
    "bottom_row": (["Which row of {p} has the smallest number?", "find the row of {p} with the smallest number"], ["tell me the row with the smallest number in {p}"]),
    "sort": (["sort the lines of {p} into {o}", "sort {p} and save the result as {o}", "write the sorted lines of {p} to {o}"], ["save {p} sorted as {o}"]),
    "errors": (["Which error is in {p}?", "show me the error in {p}", "find the error in {p}", "What went wrong in {p}?"], ["Is there an error in {p}?", "look for errors in {p}"]),
    "run": (["run {p}", "run {p} and tell me the output", "What does {p} print?", "run the script {p}"], ["What is the output of {p}?", "execute {p}"]),
    "fix": (["run {p} and fix what fails", "run {p}. If it fails, fix it.", "make {p} work", "{p} fails. Please fix it."], ["get {p} to work", "repair what makes {p} fail"]),
    "copy_key": (["write the {k} from {p} to {o}", "read the {k} in {p} and save it as {o}", "put the {k} of {p} into the file {o}"], ["save the {k} that {p} has in {o}"]),
    "take_key": (["set {l} in {o} to the {k} from {p}", "use the {k} of {p} as {l} in {o}", "copy the {k} in {p} to {l} in {o}"], ["give {l} in {o} the value that {k} has in {p}"]),
    "replace": (["replace {q} by {v} in all files", "replace {q} with {v} in every file", "change {q} to {v} in all files", "rename {q} to {v} in every file"], ["put {v} for {q} in all files"]),
    "steps": (["do these steps:\n{t}", "do this:\n{t}", "do the following:\n{t}"], ["carry out these steps:\n{t}"]),
}


# ------------------------------------------------------------------ the file tree
class Tree:
    """draws names and texts for one world"""

    def __init__(self, s, kinds):
        self.s, self.world, w = s, World(), s.words
        self.folders = [w.name() for _ in range(s.r.randint(1, 3))]
        if s.r.random() < 0.3:
            self.folders.append(self.folders[0] + "/" + w.name())
        for kind in kinds + s.r.choices(list(MAKE), k=s.r.randint(1, 4)):
            MAKE[kind](self)

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


# ------------------------------------------------------------------ one task
class Skip(Exception):
    """this world has nothing for the task; raised before the first call only"""


class Episode:
    def __init__(self, s, tree):
        self.s, self.w, self.r = s, s.words, s.r
        self.tree, self.world, self.steps, self.user, self.note = tree, tree.world, [], "", ""

    def ask(self, family, **values):
        t = self.s.pick(*PHRASES[family])
        self.user = t.format(**values) if t[-1] in ".?" and t[0].isupper() or "{p}" == t[:3] or "?" in t else wrap(self.s, t).format(**values)

    def think(self, text):
        text = (self.note + " " if self.note else "") + text
        self.note = ""
        return text

    def call(self, name, args, why):
        """one call; its result becomes the next user turn"""
        short = [(k, v) for k, v in args.items() if not (isinstance(v, str) and "\n" in v)]
        think = self.think(why + " " + "; ".join(f"{k}: {D.spell(v)}" for k, v in short) + ".")
        more = " Check: " + ", ".join(f"{k} is {'an' if t[0] == 'a' else 'a'} {t}" for k in args for t in [TYPES[name][k]]) + "."
        self.steps.append(D.step(self.user, calls=[(name, list(args.items()))], think=think, more=more))
        out = self.world.run(name, args)
        self.user = chat.result(out)
        return out

    def shell(self, command, why="I run a command."):
        return self.call("shell", {"command": command}, why)

    def answer(self, text):
        self.steps.append(D.step(self.user, text, think=self.think("I answer."), more=" Nothing else is needed."))

    # what the world offers
    def file(self, *kinds):
        found = [p for p in self.world.files if self.world.kinds.get(p) in kinds] if kinds else list(self.world.files)
        if not found:
            raise Skip
        return self.r.choice(found)

    def folder(self):
        found = [d for d in self.tree.folders if self.world.is_folder(d) and self.world.entries(d)]
        if not found:
            raise Skip
        return self.r.choice(found)

    def word(self, path=None, most=3):
        """a word of a file that few lines have"""
        text = self.world.files[path or self.file("notes", "items", "config", "log", "table")]
        found = re.findall(r"\b[a-z]{4,}\b", text)
        self.r.shuffle(found)
        for q in found[:6]:
            if sum(t.count(q) for t in self.world.files.values()) <= most:
                return q
        raise Skip

    def absent(self):
        while True:
            q = self.w.name()
            if len(q) > 3 and not any(q in t for t in self.world.files.values()):
                return q

    def missing(self, path, share=0.08):
        """sometimes a path that does not exist"""
        return self.tree.path([path.rpartition(".")[2]]) if self.r.random() < share else path

    def spoiled(self, path):
        """sometimes the right name with another ending, or a path that does not exist"""
        if self.r.random() < 0.1:
            other = path.rpartition(".")[0] + "." + self.r.choice(["ini", "toml", "json", "txt", "yaml", "cfg"])
            return other if other not in self.world.files else path
        return self.missing(path, 0.06)

    # strategies that several families share
    def open(self, path):
        """read a file; where it is missing, look for the same name with another ending -> its path, or None after saying so"""
        if not self.call("read", {"path": path}, "I read the file.").startswith("error: "):
            return path
        folder, _, name = path.rpartition("/")
        self.note = f"There is no {path}."
        found = self.call("list", {"path": folder or "."}, "I list its folder.").split("\n")
        stem = name.rpartition(".")[0] + "."
        near = [f for f in found if f.startswith(stem) and not f.endswith("/")]
        if not near:
            self.note = f"No file is named {stem[:-1]}."
            self.answer(f"There is no file {path}.")
            return None
        other = (folder + "/" if folder else "") + near[0]
        self.note = f"There is {near[0]}."
        self.call("read", {"path": other}, "I read the file.")
        return other

    def opened_key(self, path, key):
        """-> path, value, snippet, or None after saying what is missing"""
        path = self.open(path)
        if path is None:
            return None
        for k, v, snippet in entries(self.world.files[path]):
            if k == key:
                self.note = f"The line is {snippet}."
                return path, v, snippet
        self.note = f"There is no {key}."
        self.answer(f"{path} has no {key}.")
        return None

    def a_key(self, *endings):
        """-> path of a configuration, key, value; every snippet must be found by its first occurrence"""
        p = self.file("config")
        text = self.world.files[p]
        found = [e for e in entries(text) if text.count(e[2]) == 1]
        if not found or endings and not p.endswith(endings):
            raise Skip
        return (p, *self.r.choice(found))

    def new_value(self, old):
        return self.w.number(2, 5).lstrip("0") if old.isdigit() else self.w.name()

    def done(self, out, path, text):
        """the answer after a shell command that fails only when its file is missing"""
        if "[exit status" in out:
            self.note = "The command failed."
            self.answer(f"There is no file {path}.")
        else:
            self.answer(text)


# ------------------------------------------------------------------ the families
def files_of(out):
    return list(dict.fromkeys(x.partition(":")[0] for x in out.split("\n")))


def find(e):
    below = e.r.random() < 0.3
    if below:
        d = e.folder()
        q = e.absent() if e.r.random() < 0.12 else e.word(e.r.choice(e.world.below(d)) if e.world.below(d) else None)
        e.ask("find_below", q=q, d=d)
        out = e.call("search", {"query": q, "path": d}, "I search for the text.")
    else:
        q = e.absent() if e.r.random() < 0.12 else e.word()
        e.ask("find", q=q)
        out = e.call("search", {"query": q}, "I search for the text.")
    if out == "no matches":
        e.note = "Nothing was found."
        return e.answer(f"No file contains {q}.")
    names = ", ".join(files_of(out))
    e.note = f"It is in {names}."
    e.answer(f"{q} is in {names}.")


def read_key(e):
    p, k, _, _ = e.a_key()
    if e.r.random() < 0.08:
        k = e.w.noun()
    shown = e.spoiled(p)
    e.ask("read_key", k=k, p=shown)
    got = e.opened_key(shown, k)
    if got:
        e.answer(f"The {k} in {got[0]} is {got[1]}.")


def find_key(e):
    p, k, _, _ = e.a_key()
    hits = e.world.search(k).split("\n")
    if len(hits) != 1:
        raise Skip
    e.ask("find_key", k=k)
    hit = e.call("search", {"query": k}, "I search for the text.")
    path, _, row = hit.split(":", 2)
    v = ENTRY.match(row)[2]
    e.note = f"The line is {row.strip()} in {path}."
    e.answer(f"The {k} in {path} is {v}.")


def two_keys(e):
    (p, k, _, _), (o, l, _, _) = e.a_key(), e.a_key()
    if p == o:
        raise Skip
    e.ask("two_keys", k=k, p=p, l=l, o=o)
    one = e.opened_key(p, k)
    two = e.opened_key(o, l)
    e.answer(f"The {k} in {p} is {one[1]}, and the {l} in {o} is {two[1]}.")


def read_fact(e):
    p = e.file("notes")
    facts = [x for x in lines(e.world.files[p]) if re.match(r"The \w+ of \w+ is ", x)]
    if not facts:
        raise Skip
    k = e.r.choice(facts).split()[3]
    shown = e.spoiled(p)
    e.ask("read_fact", k=k, p=shown)
    path = e.open(shown)
    if path:
        row = next((x for x in lines(e.world.files[path]) if f" of {k} is " in x), None)
        e.note = f"The line is: {row}" if row else f"There is no {k}."
        e.answer(row or f"{path} does not say anything about {k}.")


def count_lines(e):
    p = e.missing(e.file())
    e.ask("count_lines", p=p)
    out = e.shell(f"wc -l {p}", "I count the lines.")
    e.done(out, p, f"{p} has {out.split()[0]} lines.")


def count_files(e):
    d = e.folder()
    if e.r.random() < 0.4:
        found = [p.rpartition(".")[2] for p in e.world.below(d) if p.rpartition("/")[0] == d]
        if not found:
            raise Skip
        x = e.r.choice(found)
        e.ask("count_kind", x=x, d=d)
        out = e.shell(f"ls {d}/*.{x} | wc -l", "I count the files.")
        return e.answer(f"{d} has {out.strip()} {x} files.")
    if any(e.world.entries(d).values()):
        raise Skip
    e.ask("count_files", d=d)
    out = e.shell(f"ls {d} | wc -l", "I count the files.")
    e.answer(f"{d} has {out.strip()} files.")


def count_matches(e):
    if e.r.random() < 0.35:
        d = e.folder()
        inside = e.world.below(d)
        q = e.word(e.r.choice(inside), 9) if inside and e.r.random() < 0.85 else e.absent()
        e.ask("count_holders", d=d, q=q)
        out = e.shell(f"grep -rl {q} {d} | wc -l", "I count the files.")
        return e.answer(f"{out.strip()} files in {d} contain {q}.")
    p = e.file("notes", "items", "log", "config")
    q = e.word(p, 9) if e.r.random() < 0.85 else e.absent()
    p = e.missing(p)
    e.ask("count_matches", p=p, q=q)
    out = e.shell(f"grep -c {q} {p}", "I count the lines.")
    if out.startswith("grep: "):
        return e.done(out, p, "")
    e.answer(f"{out.split()[0]} lines of {p} contain {q}.")


def change(e):
    p, k, v, _ = e.a_key()
    if e.r.random() < 0.06:
        k = e.w.noun()
    shown, new, verify = e.spoiled(p), e.new_value(v), e.r.random() < 0.25
    e.ask("change", k=k, v=new, p=shown)
    e.user += " Then check it." * verify
    got = e.opened_key(shown, k)
    if got:
        finish_change(e, k, new, *got, verify)


def finish_change(e, k, new, path, old, snippet, verify=False):
    e.call("edit", {"path": path, "old": snippet, "new": with_value(snippet, old, new)}, "I edit the line.")
    if verify:
        out = e.shell(f"grep -n {k} {path}", "I check the line.")
        e.note = f"The file has {out.strip()}."
    e.answer(f"I set {k} to {new} in {path}.")


def change_found(e):
    p, k, v, snippet = e.a_key()
    if len(e.world.search(k).split("\n")) != 1:
        raise Skip
    lost = e.r.random() < 0.1
    k, new = e.absent() if lost else k, e.new_value(v)
    e.ask("change_found", k=k, v=new)
    out = e.call("search", {"query": k}, "I search for the text.")
    if lost:
        e.note = "Nothing was found."
        return e.answer(f"No file contains {k}.")
    e.note = f"The line is {snippet} in {p}."
    finish_change(e, k, new, p, v, snippet)


def create(e):
    p = e.tree.path(["txt", "md", "log", "csv"])
    if e.r.random() < 0.4:
        rows = [e.w.text(1, 2) for _ in range(e.r.randint(2, 4))]
        e.ask("create_lines", p=p, t=", ".join(rows))
        text = "".join(x + "\n" for x in rows)
    else:
        text = e.w.text(1, 5)
        e.ask("create", p=p, t=f"'{text}'")
    e.call("write", {"path": p, "content": text}, "I write the file.")
    e.answer(f"I created {p}.")


def append(e):
    p, t = e.file("notes", "items", "log"), e.w.text(1, 4)
    if not e.world.files[p].endswith("\n"):
        raise Skip
    e.ask("append", p=p, t=f"'{t}'")
    e.shell(f"echo '{t}' >> {p}", "I append the line.")
    e.answer(f"I added the line to {p}.")


def rename(e):
    copying = e.r.random() < 0.45
    real = e.file()
    p = e.missing(real)
    o = e.tree.path([p.rpartition(".")[2]], p.rpartition("/")[0] if e.r.random() < 0.6 else None)
    if not e.world.parent_exists(o):
        raise Skip
    e.ask("copy" if copying else "rename", p=p, o=o)
    out = e.shell(f"{'cp' if copying else 'mv'} {p} {o}", "I copy the file." if copying else "I rename the file.")
    e.done(out, p, f"I copied {p} to {o}." if copying else f"I renamed {p} to {o}.")


def move(e):
    p = e.missing(e.file())
    d = e.w.name() if e.r.random() < 0.5 else e.r.choice(e.tree.folders)
    if p.rpartition("/")[0] == d or f"{d}/{p.rpartition('/')[2]}" in e.world.files or d in e.world.files:
        raise Skip
    e.ask("move", p=p, d=d)
    out = e.shell(f"mkdir -p {d} && mv {p} {d}", "I make the folder and move the file.")
    e.done(out, p, f"I moved {p} to {d}.")


def delete(e):
    p = e.missing(e.file(), 0.15)
    e.ask("delete", p=p)
    out = e.shell(f"rm {p}", "I delete the file.")
    e.done(out, p, f"I deleted {p}.")


def list_folder(e):
    d = e.folder() if e.r.random() < 0.9 else e.w.name()
    if d in e.world.files:
        raise Skip
    e.ask("list", d=d)
    out = e.call("list", {"path": d}, "I list the folder.")
    if out.startswith("error: "):
        e.note = "The tool reports an error."
        return e.answer(f"There is no folder {d}.")
    e.answer(f"{d} has " + ", ".join(out.split("\n")) + ".")


def ends(e):
    last = e.r.random() < 0.5
    p = e.missing(e.file())
    if p in e.world.files and not e.world.files[p].endswith("\n"):
        raise Skip
    e.ask("last" if last else "first", p=p)
    out = e.shell(f"{'tail' if last else 'head'} -n 1 {p}", "I print the line.")
    e.done(out, p, f"The {'last' if last else 'first'} line is: {out.strip()}")


def extreme(e):
    high, p = e.r.random() < 0.6, e.file("numbers", "table")
    rows = e.world.kinds[p] == "table"
    e.ask(("top_row" if high else "bottom_row") if rows else "largest" if high else "smallest", p=p)
    out = e.shell(f"sort {'-t, -k2 ' * rows}-n {p} | {'tail' if high else 'head'} -n 1", "I sort the numbers.")
    size, out = "largest" if high else "smallest", out.strip()
    e.note = f"The {size} is {out}."
    e.answer(f"The row with the {size} number is {out}." if rows else f"The {size} number is {out}.")


def sort(e):
    p = e.missing(e.file("items", "table"), 0)
    o = e.tree.path([p.rpartition(".")[2]], p.rpartition("/")[0])
    e.ask("sort", p=p, o=o)
    e.shell(f"sort {p} > {o}", "I sort the lines.")
    e.world.kinds[o] = e.world.kinds[p]
    e.answer(f"I wrote the sorted lines to {o}.")


def errors(e):
    p = e.missing(e.file("log"))
    e.ask("errors", p=p)
    out = e.shell(f"grep -n ERROR {p}", "I look for errors.")
    if out.startswith("grep: "):
        return e.done(out, p, "")
    if out == "[exit status 1]":
        e.note = "Nothing was found."
        return e.answer(f"{p} has no errors.")
    n, _, text = out.strip().partition(":")
    e.note = f"The error is in line {n}."
    e.answer(f"Line {n} of {p} says: {text}")


def launch(p):
    return f"{'python3' if p.endswith('.py') else 'bash'} {p}"


def run(e):
    p = e.file("script")
    e.ask("run", p=p)
    out = e.shell(launch(p), "I run the script.")
    e.answer(f"{p} prints: {out.strip()}")


def fix(e):
    p = e.file("check")
    m = re.search(r'open\("([^"]+)"\)', e.world.files[p])
    if m and m[1] not in e.world.files:
        raise Skip
    if m:                                                         # the line must be as the check's message will call it
        path, key = re.search(r'sys\.exit\("(\S+): (\S+) must', e.world.files[p]).groups()
        old = [x for x in entries(e.world.files[path]) if x[0] == key]
        if len(old) != 1 or e.world.files[path].count(old[0][2]) != 1:
            raise Skip
    e.ask("fix", p=p)
    out = e.shell(launch(p), "I run the script.")
    rows = lines(out)
    if rows[-1].startswith("[exit status"):
        error = rows[-2]
        e.note = f"The error is {error}."
        if "command not found" in error:
            word = error.split(": ")[2]
            e.call("edit", {"path": p, "old": word, "new": "echo"}, "The word is wrong.")
        else:
            path, _, rest = error.partition(": ")
            key, _, right = rest.partition(" must be ")
            _, wrong, snippet = e.opened_key(path, key)
            e.call("edit", {"path": path, "old": snippet, "new": with_value(snippet, wrong, right)}, "I edit the line.")
        out = e.shell(launch(p), "I run it again.")
        e.note = "Now it works."
        return e.answer(f"I fixed it. {p} prints: {out.strip()}")
    e.note = "It does not fail."
    e.answer(f"{p} works. It prints: {out.strip()}")


def copy_key(e):
    p, k, _, _ = e.a_key()
    shown, o = e.spoiled(p), e.tree.path(["txt", "md"])
    e.ask("copy_key", k=k, p=shown, o=o)
    got = e.opened_key(shown, k)
    if got:
        e.call("write", {"path": o, "content": got[1]}, "I write the value.")
        e.answer(f"I wrote {got[1]} to {o}.")


def take_key(e):
    (p, k, v, _), (o, l, u, _) = e.a_key(), e.a_key()
    if p == o or v.isdigit() != u.isdigit():
        raise Skip
    e.ask("take_key", k=k, p=p, l=l, o=o)
    one = e.opened_key(p, k)
    two = e.opened_key(o, l)
    e.note = f"The {k} is {one[1]}. " + e.note
    finish_change(e, l, one[1], *two)


def replace(e):
    q, v = e.absent() if e.r.random() < 0.1 else e.word(most=4), e.w.name()
    if q in v or any(len(re.findall(q, x)) > 1 for t in e.world.files.values() for x in lines(t)):
        raise Skip
    e.ask("replace", q=q, v=v)
    out = e.call("search", {"query": q}, "I search for the text.")
    if out == "no matches":
        e.note = "Nothing was found."
        return e.answer(f"No file contains {q}.")
    for p in [x.partition(":")[0] for x in out.split("\n")]:
        e.call("edit", {"path": p, "old": q, "new": v}, f"A line is in {p}.")
    e.answer(f"I replaced {q} by {v} in {', '.join(files_of(out))}.")


def steps(e):
    """three or four orders at once: the one family that plans"""
    orders, used = [], set()
    for _ in range(e.r.randint(3, 4)):
        kind, p = e.r.choice(["make", "copy", "rename", "delete", "append", "create"]), e.file()
        if p in used or kind == "append" and e.world.kinds.get(p) not in ("notes", "items"):
            kind = e.r.choice(["make", "create"])
        o, t = e.tree.path([p.rpartition(".")[2]], p.rpartition("/")[0]), e.w.text(1, 3)
        if kind == "make":
            o = e.w.name()
        if o in used or o in e.world.files:
            raise Skip
        used.update([p, o])
        orders.append({"make": (f"make the folder {o}", "shell", {"command": f"mkdir -p {o}"}), "copy": (f"copy {p} to {o}", "shell", {"command": f"cp {p} {o}"}),
                       "rename": (f"rename {p} to {o}", "shell", {"command": f"mv {p} {o}"}), "delete": (f"delete {p}", "shell", {"command": f"rm {p}"}),
                       "append": (f"append '{t}' to {p}", "shell", {"command": f"echo '{t}' >> {p}"}), "create": (f"write '{t}' to {o}", "write", {"path": o, "content": t})}[kind])
    e.ask("steps", t="\n".join(f"{i}. {x}" for i, (x, _, _) in enumerate(orders, 1)))
    e.call("plan", {"steps": [x for x, _, _ in orders]}, "I note the steps.")
    for i, (x, name, args) in enumerate(orders, 1):
        e.call(name, args, f"Step {i}: {x}.")
    e.note = f"Step {len(orders)} was the last."
    e.answer("Done: " + "; ".join(x for x, _, _ in orders) + ".")


# family -> (weight, the kinds of files it needs)
FAMILIES = {find: (5, ["notes", "config"]), read_key: (6, ["config"]), find_key: (4, ["config"]), two_keys: (2, ["config", "config"]), read_fact: (4, ["notes"]), count_lines: (4, []),
            count_files: (4, ["notes", "config"]), count_matches: (4, ["notes"]), change: (6, ["config"]), change_found: (4, ["config"]), create: (5, []), append: (4, ["notes"]), rename: (5, []),
            move: (3, []), delete: (3, []), list_folder: (4, ["items"]), ends: (4, []), extreme: (4, ["numbers", "table"]), sort: (2, ["items"]), errors: (3, ["log"]), run: (4, ["script"]),
            fix: (5, ["check"]), copy_key: (4, ["config"]), take_key: (3, ["config", "config"]), replace: (4, ["notes", "items"]), steps: (3, ["notes", "items", "notes"])}


def episode(s, tree, families):
    """the steps of the first of `families` that this world allows; any other one where none does"""
    for f in [*families, *s.r.sample(list(FAMILIES), len(FAMILIES))]:
        for _ in range(4):
            try:
                e = Episode(s, tree)
                f(e)
                return e.steps
            except Skip:
                continue
    raise ValueError("a world without any task")


def draw(s, tasks):
    """-> families and a world that has what they need"""
    families = s.r.choices(list(FAMILIES), [w for w, _ in FAMILIES.values()], k=tasks)
    return families, Tree(s, [k for f in families for k in FAMILIES[f][1]])


def agent_document(s, room, count_tokens, mode=None, brief=False):
    """one to three tasks, one after the other in the same world, as many as fit into about `room` tokens"""
    r = s.r
    mode, system = mode or r.choices(D.MODES, MODES)[0], r.choice(SYSTEM)
    families, tree = draw(s, r.choice([1, 2, 2, 3, 3]))
    used = count_tokens("".join(t for t, _ in D.render([], mode, system, SCHEMAS, brief)))
    exchanges = []
    for f in families:
        e = episode(s, tree, [f])
        used += count_tokens("".join(t for t, _ in D.render([e], "none" if mode == "none" else "high")))
        if exchanges and used > room:
            break
        exchanges.append(e)
    return D.render(exchanges, mode, system, SCHEMAS, brief)


def single_task(s, mode):
    """-> a document of one task, and how many turns the assistant has in it"""
    families, tree = draw(s, 1)
    e = episode(s, tree, families)
    return D.render([e], mode, s.r.choice(SYSTEM), SCHEMAS), len(e)
