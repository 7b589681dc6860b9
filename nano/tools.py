"""Tools and requests for them: eight known tools with their own phrasings, and any number of invented ones.

A request is (user text, arguments, result, final answer).  Arguments stand in schema order whatever the order of the user's words:
one rule, so that every call has exactly one right spelling.  Each phrase list has a held-out part that only evaluation uses."""
import json
from dataclasses import dataclass, field

from words import Words


@dataclass
class Tool:
    name: str
    description: str
    parameters: list                       # (name, type, description, required)
    kind: str                              # a known tool's canonical name, or "invented"
    verb: str = ""
    noun: str = ""
    roles: dict = field(default_factory=dict)   # known tools: role -> parameter name in this schema


@dataclass
class Source:
    """words and phrases for one document; held-out sides are chosen separately"""
    words: Words
    new_phrases: bool = False

    @property
    def r(self):
        return self.words.r

    def pick(self, trained, held):
        return self.r.choice(held if self.new_phrases else trained)


WRAP = (["{B}.", "{B}.", "{B}.", "{B}.", "Please {b}.", "Can you {b}?", "{B}, please.", "I want you to {b}.", "Now {b}."], ["Now please {b}.", "Can you please {b}?", "Now I want you to {b}."])


def wrap(s, base):
    t = s.pick(*WRAP)
    return t.replace("{B}", base[0].upper() + base[1:] if base[0].isalpha() and "`" not in base[:1] else base).replace("{b}", base)


def quote(s, text):
    q = s.r.choice([c for c in "''\"`" if c not in text])
    return q + text + q


# ------------------------------------------------------------------ known tools
# name: (descriptions, [(role and parameter name, type, optional)])
KNOWN = {
    "read_file": (["Read a text file", "Read a file and return its text"], [("path", "string", False)]),
    "write_file": (["Write a text file", "Write text to a file"], [("path", "string", False), ("content", "string", False)]),
    "edit_file": (["Replace text in a file", "Edit a file: replace one text by another"], [("path", "string", False), ("old", "string", False), ("new", "string", False)]),
    "list_dir": (["List a directory", "List the files of a directory"], [("path", "string", False)]),
    "run_shell": (["Run a shell command", "Run a command in the shell and return its output"], [("command", "string", False)]),
    "search": (["Search the files", "Search all files for a text"], [("query", "string", False), ("limit", "integer", True)]),
    "calculator": (["Evaluate an arithmetic expression", "Calculate the value of an arithmetic expression"], [("expression", "string", False)]),
    "get_time": (["Return the current time", "Tells the time"], []),
}


def known_tool(s, kind):
    descriptions, spec = KNOWN[kind]
    r = s.r
    style = r.random() < 0.3                                  # parameters with a description, or without
    params = [(role, typ, f"The {role}" if style else "", not optional) for role, typ, optional in spec]
    return Tool(kind, r.choice(descriptions), params, kind, roles={role: role for role, _, _ in spec})


def command(s):
    w = s.words
    return s.r.choice([lambda: f"ls -la {w.path()}", lambda: f"grep -n {w.name()} {w.path()}", lambda: f"wc -l {w.path()}", lambda: f"mkdir -p {w.folder()}", lambda: f"echo {w.name()} {w.number()}",
                       lambda: f"cp {w.path()} {w.path()}", lambda: f"cat {w.path()}", lambda: f"python3 {w.path()} --{w.name()} {w.number()}", lambda: f"make {w.name()}", lambda: f"git log -{w.number(1, 2)}", lambda: f"rm {w.path()}"])()


def expression(s):
    w, r = s.words, s.r
    terms = [w.number() for _ in range(2 if r.random() < 0.8 else 3)]
    op, gap = r.choice("+-*"), r.choice([" ", " ", ""])
    e = f"{gap}{op}{gap}".join(terms)
    return e, str(eval(e))                 # digits and one operator only


def result_text(s, lines=1):
    return "\n".join(s.words.sentence() for _ in range(lines))


def known_request(s, tool):
    w, r, kind = s.words, s.r, tool.kind
    role = {}
    if kind == "read_file":
        p, res = w.path(), result_text(s, r.choice([1, 1, 1, 2]))
        text = wrap(s, s.pick(["read {}", "read {}", "open {}", "show me the file {}", "print the contents of {}", "read the file {}", "open the file {}", "show me the contents of {}", "read the contents of {}"], ["read {}", "show me the file {}", "show the contents of {}"]).format(p))
        if not s.new_phrases and r.random() < 0.15:
            text = f"What does {p} say?"
        role, final = {"path": p}, f"{p} says: {res}"
    elif kind == "write_file":
        p, t = w.path(), w.text(1, 6) if r.random() < 0.8 else w.sentence()
        text = wrap(s, s.pick(["write {t} to {p}", "write {t} to {p}", "create {p} with the text {t}", "save {t} in {p}", "write the text {t} to the file {p}", "write the text {t} to {p}", "save the text {t} in {p}", "create the file {p} with the text {t}"], ["write {t} to {p}", "create {p} with the text {t}", "save {t} in the file {p}"]).format(p=p, t=quote(s, t)))
        role, res, final = {"path": p, "content": t}, "ok", f"I wrote {p}."
    elif kind == "edit_file":
        p, a, b = w.path(), w.text(1, 3), w.text(1, 3)
        text = wrap(s, s.pick(["replace {a} with {b} in {p}", "change {a} to {b} in {p}", "replace {a} by {b} in the file {p}", "replace {a} with {b} in the file {p}", "change {a} to {b} in the file {p}"], ["replace {a} with {b} in {p}", "change {a} to {b} in {p}", "replace {a} by {b} in {p}"]).format(p=p, a=quote(s, a), b=quote(s, b)))
        role, res, final = {"path": p, "old": a, "new": b}, "ok", f"I changed {p}."
    elif kind == "list_dir":
        d, fs = w.folder(), [w.name() + "." + r.choice(["txt", "md", "py", "json", "log", "csv"]) for _ in range(r.randint(1, 4))]
        base = s.pick(["list {}", "list the directory {}", "show the files in {}", "show the directory {}", "list the files of {}", "list the files in {}", "show the files of {}"], ["list {}", "show the directory {}", "list the files of the directory {}"]).format(d)
        role = {"path": d}
        text, res = wrap(s, base), "\n".join(fs)
        final = f"{d} has {len(fs)} file{'s' if len(fs) > 1 else ''}: " + ", ".join(fs)
    elif kind == "run_shell":
        c, res = command(s), result_text(s)
        base = s.pick(["run `{}`", "execute `{}`", "run the command `{}`", "use the shell: `{}`", "execute the command `{}`", "use the shell to run `{}`"], ["run `{}`", "execute `{}`", "run the shell command `{}`"]).format(c)
        role = {"command": c}
        text, final = wrap(s, base), f"Output: {res}"
    elif kind == "search":
        q, k, res = w.text(1, 3), r.randint(1, 50), w.path()
        role = {"query": q}
        q2 = quote(s, q)
        if r.random() < 0.5:
            role["limit"] = k
            base = s.pick(["search for {q}, at most {k} results", "find {q} in the files, {k} results", "search the files for {q} with limit {k}", "search the files for {q}, at most {k} results", "search for {q} with limit {k}"], ["search for {q}, at most {k} results", "search the files for {q}, {k} results"])
        else:
            base = s.pick(["search for {q}", "find {q} in the files", "search the files for {q}", "search for {q} in the files"], ["search for {q}", "find {q} in the files", "search all files for {q}"])
        text, final = wrap(s, base.format(q=q2, k=k)), f"Found in {res}."
    elif kind == "calculator":
        e, res = expression(s)
        if r.random() < 0.5:
            text = s.pick(["What is {}?", "How much is {}?", "What is the value of {}?", "How much is the value of {}?", "Now what is {}?"], ["Tell me the value of {}.", "Please tell me how much {} is."]).format(e)
        else:
            text = wrap(s, s.pick(["calculate {}", "compute {}", "work out {}", "evaluate {}", "calculate the value of {}", "compute the value of {}"], ["calculate {}", "compute {}", "evaluate the value of {}"]).format(e))
        role, final = {"expression": e}, f"{e} = {res}"
    else:
        res = f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}"
        text = s.pick(["What time is it?", "Tell me the time.", "What is the time now?", "Please check the time.", "What does the clock say?", "Give me the current time.", "Tell me what time it is.", "Please tell me the time now."], ["What time is it now?", "Please tell me the time."])
        final = f"It is {res}."
    args = [(p, role[o]) for o, p in tool.roles.items() if o in role]
    return text, args, res, final


# ------------------------------------------------------------------ invented tools
def join_name(r, parts):
    x = r.random()
    if x < 0.88:
        return "_".join(parts)
    return parts[0] + "".join(p.capitalize() for p in parts[1:])


def invented_tool(s, avoid=()):
    w, r = s.words, s.r
    verb = w.verb() if r.random() < 0.7 else w.invented()
    noun = w.noun() if r.random() < 0.6 else w.invented()
    parts = [verb, noun] if r.random() < 0.75 else [verb, w.adjective(), noun] if r.random() < 0.5 else [noun, verb]
    if r.random() < 0.1:
        parts = [noun]
    name = join_name(r, parts)
    V = verb.capitalize()
    description = r.choice([f"{V} the {noun}", f"{V} a {noun}", f"{V} the {noun} with the given values", f"{V} a {noun} and return the result", f"Tool to {verb} a {noun}",
                            f"{V} one {noun} of the {w.noun()}", f"Lets you {verb} the {noun}", f"{V} any {w.adjective()} {noun}", f"Use it to {verb} a {noun}"])
    params, seen = [], set()
    for i in range(r.choice([1, 1, 1, 2, 2, 2, 3]) if r.random() < 0.96 else 0):
        base = [w.noun() if r.random() < 0.65 else w.invented()]
        x = r.random()
        base = base if x < 0.55 else [w.adjective()] + base if x < 0.75 else base + [r.choice(["id", "name", "count", "path", "date", "type", "level"])] if x < 0.9 else base + [w.noun()]
        p = join_name(r, base) if r.random() < 0.4 else "_".join(base)
        if p.lower() in seen or p in parts:
            continue
        seen.add(p.lower())
        typ = r.choices(["string", "integer", "boolean", "number"], [60, 18, 10, 12])[0]
        d = "" if r.random() < 0.75 else r.choice([f"The {' '.join(base)}", f"{base[-1].capitalize()} of the {noun}", f"{w.adjective().capitalize()} {w.noun()}", f"A {typ} value"])
        params.append((p, typ, d, i == 0 or r.random() < 0.92))
    return Tool(name, description, params, "invented", verb, noun)


def argument(s, typ):
    """-> value, its spelling in the request, whether the spelling needs quotes to be unambiguous"""
    w, r = s.words, s.r
    if typ == "integer":
        v = int(w.number(1, 6)) * (-1 if r.random() < 0.05 else 1)
        return v, str(v), False
    if typ == "number":
        v = float(w.decimal()) if r.random() < 0.75 else int(w.number(1, 4))
        return v, json.dumps(v), False
    if typ == "boolean":
        v = r.random() < 0.5
        return v, "true" if v else "false", False
    x = r.random()
    if x < 0.45:
        v = w.name()
    elif x < 0.65:
        v = w.text(2, 3)
    else:
        v = r.choice([w.path, w.code, w.person, w.date, w.number, lambda: w.invented() + "@" + w.invented() + "." + r.choice(["org", "com", "net"]), lambda: w.text(4, 6),
                      lambda: "https://" + w.invented() + "." + r.choice(["org", "com"]) + "/" + w.name()])()
    return v, v, " " in v


PAIR = ["{p} {v}", "{p} {v}", "{p} = {v}", "{p}: {v}", "{p} is {v}"]   # the same on both sides: here the names are what is new
JOIN = [" and ", ", ", ", and "]
NAMED = (["use {t} with {a}", "call {t} with {a}", "run {t} with {a}", "use the {t} tool with {a}", "use {t}: {a}", "call the tool {t} with {a}"], ["run the {t} tool with {a}", "use the tool {t} with {a}", "call {t}: {a}"])
NAMED_FREE = (["{t}: {a}", "I want {t} with {a}.", "Tool: {t}. Arguments: {a}."], ["I want the {t} tool with {a}.", "Tool {t}: {a}"])
DESCRIBED = (["{v} the {n} with {a}", "{v} a {n} with {a}", "{v} the {n}: {a}"], ["{v} a {n}: {a}"])
BARE = (["use {t}", "call {t}", "run {t}", "run the tool {t}"], ["use the tool {t}", "call the tool {t}"])
SIMPLE_PAIR, SIMPLE_NAMED = ["{p} {v}", "{p} = {v}", "{p}: {v}"], ["Use {t} with {a}.", "Call {t} with {a}.", "{t}: {a}"]


def simple_request(s, tool):
    """the easiest form: every argument named in order, short values; teaches where names and values are to be found"""
    w, r = s.words, s.r
    args = []
    for p, typ, _, _ in tool.parameters:
        args.append((p, r.choice([w.name, w.name, w.number, w.code])() if typ == "string" else argument(s, typ)[0]))
    pair, sep = r.choice(SIMPLE_PAIR), r.choice([" and ", ", ", "; "])
    a = sep.join(pair.format(p=p, v=v if isinstance(v, str) else json.dumps(v)) for p, v in args)
    return r.choice(SIMPLE_NAMED).format(t=tool.name, a=a) if args else f"Use {tool.name}.", args


def invented_request(s, tool, rivals=()):
    """rivals: other tools of the document, to know when verb and noun identify this one"""
    w, r = s.words, s.r
    given = [(p, typ) for p, typ, _, need in tool.parameters if need or r.random() < 0.8]
    args, parts = [], []
    for p, typ in given:
        v, spelled, quoted = argument(s, typ)
        args.append((p, v))
        parts.append((p, quote(s, spelled) if quoted else spelled))
    pair = r.choice(PAIR)                                     # one form per request, as people write
    parts = [pair.format(p=p, v=v) for p, v in parts]
    sep = r.choice(JOIN)
    a = (", ".join(parts[:-1]) + sep + parts[-1]) if len(parts) > 1 else "".join(parts)
    clear = all((o.verb, o.noun) != (tool.verb, tool.noun) for o in rivals)
    if not parts:
        text = wrap(s, s.pick(*BARE).format(t=tool.name) if not clear or r.random() < 0.6 else f"{tool.verb} the {tool.noun}")
    elif clear and not s.new_phrases and r.random() < 0.06:
        if len(parts) == 1 and given[0][1] == "string" and r.random() < 0.35:
            v = args[0][1]
            text = wrap(s, s.pick(["{v} the {n} {a}", "{v} {n} {a}"], ["{v} our {n} {a}"]).format(v=tool.verb, n=tool.noun, a=quote(s, v) if " " in v else v))
        else:
            text = wrap(s, s.pick(*DESCRIBED).format(v=tool.verb, n=tool.noun, a=a))
    elif r.random() < 0.75:
        text = wrap(s, s.pick(*NAMED).format(t=tool.name, a=a))
    else:
        text = s.pick(*NAMED_FREE).format(t=tool.name, a=a)
    x = r.random()
    if x < 0.3:
        res, final = "ok", "Done."
    elif x < 0.55:
        res = json.dumps({r.choice(["status", "state", "result"]): r.choice(["ok", "done", "failed", "open"]), w.noun(): w.value()})
        final = "Result: " + res
    elif x < 0.62:
        res = "error: " + r.choice([f"{w.noun()} not found", "not allowed", f"unknown {w.noun()}", "timeout"])
        final = f"{tool.name} failed: {res[7:]}"
    else:
        res = w.value() if r.random() < 0.5 else result_text(s)
        final = "Result: " + res
    return text, args, res, final


def request(s, tool, rivals=()):
    return known_request(s, tool) if tool.kind != "invented" else invented_request(s, tool, rivals)
