"""A small file tree with the agent's tools (agent_tools.json), simulated so that results are what a real sandbox gives.

Paths are relative, every file is UTF-8 text, and LC_ALL is C (sort order, messages).  The shell knows just what the episodes use: the
commands below, quotes, `*.ext`, pipes, `>`, `>>` and `&&`, and scripts of the few statements that World.python and World.bash name.
Anything else raises ValueError: a result is never guessed.  tests/nano/test_agent.py compares all of it with bash, GNU tools and Python."""
import re

WORD = re.compile(r"\s*(?:'([^']*)'|(&&|\||>>|>)|([^\s'|&>]+))")
NO_FILE = "No such file or directory"


def lines(text):
    return text.split("\n")[:-1] if text.endswith("\n") else text.split("\n") if text else []


def joined(rows):
    return "".join(x + "\n" for x in rows)


def clean(path):
    path = path[2:] if path.startswith("./") else path
    return path.rstrip("/") or "."


class World:
    def __init__(self):
        self.files, self.folders, self.kinds = {}, set(), {}      # path -> text; folders that may be empty; path -> what the generator made it as

    def is_folder(self, path):
        return path == "." or path in self.folders or any(p.startswith(path + "/") for p in self.files) or any(p.startswith(path + "/") for p in self.folders)

    def parent_exists(self, path):
        return self.is_folder(path.rpartition("/")[0] or ".")

    def entries(self, path):
        """names in a folder -> is it a folder"""
        prefix = "" if path == "." else path + "/"
        out = {}
        for p in list(self.files) + list(self.folders):
            if p.startswith(prefix) and p != path:
                head, slash, _ = p[len(prefix):].partition("/")
                out[head] = out.get(head, False) or bool(slash) or p in self.folders
        return dict(sorted(out.items()))

    def below(self, path):
        """files at or under a path, sorted"""
        return [p for p in sorted(self.files) if path == "." or p == path or p.startswith(path + "/")]

    # -------------------------------------------------------------- the tools
    def run(self, name, args):
        return getattr(self, name)(**args)

    def read(self, path):
        return self.files.get(clean(path), f"error: {path}: no such file")

    def write(self, path, content):
        p = clean(path)
        for i, c in enumerate(p):                                 # missing folders on the way are made
            if c == "/":
                self.folders.add(p[:i])
        self.files[p] = content
        return f"wrote {len(content.encode())} bytes to {path}"

    def edit(self, path, old, new):
        p = clean(path)
        if p not in self.files:
            return f"error: {path}: no such file"
        if old not in self.files[p]:
            return f"error: text not found in {path}"
        self.files[p] = self.files[p].replace(old, new, 1)
        return f"edited {path}"

    def list(self, path):
        p = clean(path)
        if not self.is_folder(p):
            return f"error: {path}: no such directory"
        return "\n".join(n + "/" * folder for n, folder in self.entries(p).items()) or "(empty)"

    def search(self, query, path="."):
        out = []
        for p in self.below(clean(path)):
            text = self.files[p]
            if query in text:
                out += [f"{p}:{i}: {x}" for i, x in enumerate(lines(text), 1) if query in x]
        return "\n".join(out) or "no matches"

    def plan(self, steps):
        return "ok"

    def shell(self, command):
        words, at = [], 0
        while at < len(command):
            m = WORD.match(command, at)
            if not m:
                raise ValueError(f"not simulated: {command}")
            quoted, operator, bare = m.groups()
            words += [("op", operator)] if operator else [("word", quoted)] if quoted is not None else [("word", w) for w in self.expand(bare)]
            at = m.end()
        out, status, stages = "", 0, [[]]
        for kind, w in words + [("op", "&&")]:
            if kind == "word":
                stages[-1].append(w)
            elif w == "|":
                stages.append([])
            elif w == "&&":
                text, status = self.pipeline(stages)
                out, stages = out + text, [[]]
                if status:
                    break
            else:
                stages[-1].append(("to", w))
        if status:
            out += ("\n" if out and not out.endswith("\n") else "") + f"[exit status {status}]"
        return out or "(no output)"

    # -------------------------------------------------------------- the shell's inside
    def expand(self, word):
        if "*" not in word:
            return [word]
        folder, _, ending = word.rpartition("/*")
        found = [f"{folder}/{n}" for n in self.entries(clean(folder)) if n.endswith(ending) and not n.startswith(".")]
        return found or [word]

    def pipeline(self, stages):
        text, status = "", 0
        for i, words in enumerate(stages):
            target = None
            if len(words) > 2 and isinstance(words[-2], tuple):
                words, target = words[:-2], (words[-2][1], clean(words[-1]))
            text, status = self.command(words[0], words[1:], text if i else None)
            if status and text and (target or i + 1 < len(stages)):
                raise ValueError("an error inside a pipeline is not simulated")
            if target:
                how, path = target
                if not self.parent_exists(path) or self.is_folder(path):
                    raise ValueError("a redirection that fails is not simulated")
                self.files[path] = (self.files.get(path, "") if how == ">>" else "") + text
                text = ""
        return text, status

    def command(self, name, args, given):
        """-> output (both streams), exit status.  given: the text of the pipe, or None"""
        flags = [a for a in args if a.startswith("-")]
        rest = [a for a in args if not a.startswith("-")]
        f = getattr(self, "do_" + name, None)
        if f is None:
            raise ValueError(f"not simulated: {name}")
        return f(flags, rest, given)

    def text_of(self, rest, given):
        """the pipe's text or the files', or the first path that is missing"""
        if not rest:
            return given, None
        for p in rest:
            if clean(p) not in self.files:
                return None, p
        return "".join(self.files[clean(p)] for p in rest), None

    def do_echo(self, flags, rest, given):
        return " ".join(flags + rest) + "\n", 0

    def do_cat(self, flags, rest, given):
        text, lost = self.text_of(rest, given)
        return (f"cat: {lost}: {NO_FILE}\n", 1) if lost else (text, 0)

    def do_ls(self, flags, rest, given):
        out = []
        for p in rest or ["."]:
            q = clean(p)
            if q in self.files:
                out.append(p)
            elif self.is_folder(q):
                out += [n for n in self.entries(q) if not n.startswith(".")]
            else:
                return f"ls: cannot access '{p}': {NO_FILE}\n", 2
        return joined(out), 0

    def do_wc(self, flags, rest, given):
        text, lost = self.text_of(rest, given)
        if lost:
            return f"wc: {lost}: {NO_FILE}\n", 1
        return f"{text.count(chr(10))}{' ' + rest[0] if rest else ''}\n", 0

    def do_grep(self, flags, rest, given):
        query, rest = rest[0], rest[1:]
        if "-rl" in flags:
            found = [p for p in self.below(clean(rest[0])) if query in self.files[p]]
            return joined(found), 0 if found else 1
        text, lost = self.text_of(rest, given)
        if lost:
            return f"grep: {lost}: {NO_FILE}\n", 2
        hits = [(i, x) for i, x in enumerate(lines(text), 1) if query in x]
        status = 0 if hits else 1
        if "-c" in flags:
            return f"{len(hits)}\n", status
        return joined(f"{i}:{x}" if "-n" in flags else x for i, x in hits), status

    def do_mkdir(self, flags, rest, given):
        for p in map(clean, rest):
            self.folders.update([p[:i] for i, c in enumerate(p) if c == "/"] + [p])
        return "", 0

    def place(self, name, source, target):
        """where cp and mv put a file, or the error they print"""
        s, t = clean(source), clean(target)
        if s not in self.files:
            return None, f"{name}: cannot stat '{source}': {NO_FILE}\n"
        if self.is_folder(t):
            t = f"{t}/{s.rpartition('/')[2]}"
        if not self.parent_exists(t):
            return None, f"cp: cannot create regular file '{target}': {NO_FILE}\n" if name == "cp" else f"mv: cannot move '{source}' to '{target}': {NO_FILE}\n"
        if s == t:
            raise ValueError("a file onto itself is not simulated")
        return t, ""

    def do_cp(self, flags, rest, given):
        t, error = self.place("cp", *rest)
        if error:
            return error, 1
        self.files[t], self.kinds[t] = self.files[clean(rest[0])], self.kinds.get(clean(rest[0]))
        return "", 0

    def do_mv(self, flags, rest, given):
        t, error = self.place("mv", *rest)
        if error:
            return error, 1
        s = clean(rest[0])
        self.keep_folder(s)
        self.files[t], self.kinds[t] = self.files.pop(s), self.kinds.get(s)
        return "", 0

    def do_rm(self, flags, rest, given):
        for p in map(clean, rest):
            if p not in self.files:
                return f"rm: cannot remove '{p}': {NO_FILE}\n", 1
            self.keep_folder(p)
            del self.files[p]
        return "", 0

    def keep_folder(self, path):
        """a folder outlives its last file"""
        self.folders.update(path[:i] for i, c in enumerate(path) if c == "/")

    def do_head(self, flags, rest, given):
        return self.part("head", rest, given)

    def do_tail(self, flags, rest, given):
        return self.part("tail", rest, given)

    def part(self, name, rest, given):
        n, rest = int(rest[0]), rest[1:]                          # -n K
        text, lost = self.text_of(rest, given)
        if lost:
            return f"{name}: cannot open '{lost}' for reading: {NO_FILE}\n", 1
        return joined(lines(text)[:n] if name == "head" else lines(text)[-n:]), 0

    def do_sort(self, flags, rest, given):
        text, lost = self.text_of(rest, given)
        if lost:
            return f"sort: cannot read: {lost}: {NO_FILE}\n", 2
        number = lambda x: int((re.match(r"\s*(-?\d+)", x) or [0, 0])[1])
        if "-k2" in flags:                                        # sort -t, -k2 -n
            return joined(sorted(lines(text), key=lambda x: (number(x.split(",", 1)[1]), x))), 0
        return joined(sorted(lines(text), key=(lambda x: (number(x), x)) if "-n" in flags else None)), 0

    def do_python3(self, flags, rest, given):
        """import sys, constants, print of a constant, a name or an f-string, open().read(), and a check that ends with sys.exit"""
        names, out, rows = {}, "", lines(self.files[clean(rest[0])])
        while rows:
            row = rows.pop(0)
            if row in ("", "import sys"):
                continue
            m = re.fullmatch(r'(\w+) = (?:"([^"]*)"|(\d+)|open\("([^"]+)"\)\.read\(\))', row)
            if m:
                name, text, number, path = m.groups()
                names[name] = text if text is not None else number if number is not None else self.files[path]
                continue
            m = re.fullmatch(r'print\((?:(f?)"([^"]*)"|(\w+))\)', row)
            if m:
                f, text, name = m.groups()
                out += (names[name] if name else re.sub(r"\{(\w+)\}", lambda x: names[x[1]], text) if f else text) + "\n"
                continue
            check, stop = re.fullmatch(r'if "([^"]*)" not in (\w+):', row), re.fullmatch(r'    sys\.exit\("([^"]*)"\)', rows[0] if rows else "")
            if not check or not stop:
                raise ValueError(f"not simulated: {row}")
            rows.pop(0)
            if check[1] not in names[check[2]]:
                return out + stop[1] + "\n", 1
        return out, 0

    def do_bash(self, flags, rest, given):
        """set -e and echo of a plain text; an unknown first word is an error"""
        if clean(rest[0]) not in self.files:
            return f"bash: {rest[0]}: {NO_FILE}\n", 127
        out, rows = "", lines(self.files[clean(rest[0])])
        for i, row in enumerate(rows, 1):
            name, _, text = row.partition(" ")
            if name == "echo":
                out += text.strip('"') + "\n"
            elif row != "set -e":
                if "set -e" not in rows[:i] and i < len(rows):
                    raise ValueError("a script that goes on after an error is not simulated")
                return out + f"{rest[0]}: line {i}: {name}: command not found\n", 127
        return out, 0
