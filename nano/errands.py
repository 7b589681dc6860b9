"""The families of agent tasks.

Each has one strategy, a function of the request and of the results so far, so that every call has exactly one right spelling; what varies
(words, files, phrasing, whether a file is missing) is visible to the model before it matters.  Answers copy from results: counting and
comparing is left to the tools."""
import re

from episodes import Skip
from tools import quote
from trees import ENTRY, entries, with_value
from worlds import lines


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
    e.note = f"The count is {out.split()[0]}."
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
        e.note = f"The count is {out.strip()}."
        return e.answer(f"{d} has {out.strip()} {x} files.")
    if any(e.world.entries(d).values()):
        raise Skip
    e.ask("count_files", d=d)
    out = e.shell(f"ls {d} | wc -l", "I count the files.")
    e.note = f"The count is {out.strip()}."
    e.answer(f"{d} has {out.strip()} files.")


def count_matches(e):
    if e.r.random() < 0.35:
        d = e.folder()
        inside = e.world.below(d)
        q = e.word(e.r.choice(inside), 9) if inside and e.r.random() < 0.85 else e.absent()
        e.ask("count_holders", d=d, q=q)
        out = e.shell(f"grep -rl {q} {d} | wc -l", "I count the files.")
        e.note = f"The count is {out.strip()}."
        return e.answer(f"{out.strip()} files in {d} contain {q}.")
    p = e.file("notes", "items", "log", "config")
    q = e.word(p, 9) if e.r.random() < 0.85 else e.absent()
    p = e.missing(p)
    e.ask("count_matches", p=p, q=q)
    out = e.shell(f"grep -c {q} {p}", "I count the lines.")
    if out.startswith("grep: "):
        return e.done(out, p, "")
    e.note = f"The count is {out.split()[0]}."
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
    else:                                                         # the wrong word must come first where it is wrong
        bad = re.search(r"^(?!echo |set )\w+", e.world.files[p], re.M)
        if bad and e.world.files[p].index(bad[0]) != bad.start():
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
    if any(q in t for p, t in e.world.files.items() if e.world.kinds.get(p) in ("script", "check")):
        raise Skip                                                # programs stay as they are
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


def edit(e):
    """the text is given, so it is edited at once"""
    p = e.file("notes", "items", "log")
    words = e.r.choice(lines(e.world.files[p])).split(" ")
    i, n = e.r.randrange(len(words)), e.r.randint(1, 3)
    a, b = " ".join(words[i:i + n]), e.w.text(1, 3)
    if e.r.random() < 0.12:
        a = e.w.text(2, 3)
    if not re.fullmatch(r"[\w -]*\w{3}[\w -]*", a) or e.world.files[p].count(a) > 1:
        raise Skip
    p = e.missing(p)
    e.ask("edit", p=p, x=quote(e.s, a), y=quote(e.s, b))
    out = e.call("edit", {"path": p, "old": a, "new": b}, "I edit the text.")
    if not out.startswith("error: "):
        return e.answer(f"I replaced {a} by {b} in {p}.")
    e.note = "The tool reports an error."
    e.answer(f"There is no file {p}." if out.endswith("no such file") else f"{p} does not contain {a}.")


def show(e):
    p = e.file("notes", "items", "log", "config", "numbers")
    if len(lines(e.world.files[p])) > 6:
        raise Skip
    shown = e.spoiled(p)
    e.ask("show", p=shown)
    path = e.open(shown)
    if path:
        e.answer(f"{path} says:\n{e.world.files[path].rstrip()}")


def find_then(e):
    """a file known by what it contains"""
    what, q = e.r.choice(["show_found", "delete_found", "count_found"]), e.word()
    if e.r.random() < 0.1:
        q = e.absent()
    found = [p for p, t in e.world.files.items() if q in t]
    if len(found) > 1 or found and what == "show_found" and len(lines(e.world.files[found[0]])) > 6:
        raise Skip
    e.ask(what, q=q)
    out = e.call("search", {"query": q}, "I search for the text.")
    if not found:
        e.note = "Nothing was found."
        return e.answer(f"No file contains {q}.")
    p = files_of(out)[0]
    e.note = f"It is in {p}."
    if what == "show_found":
        e.answer(f"{p} says:\n" + e.call("read", {"path": p}, "I read the file.").rstrip())
    elif what == "delete_found":
        e.shell(f"rm {p}", "I delete the file.")
        e.answer(f"I deleted {p}.")
    else:
        n = e.shell(f"wc -l {p}", "I count the lines.").split()[0]
        e.note = f"The count is {n}."
        e.answer(f"{p} has {n} lines.")


def save(e):
    """what a command prints goes into a file"""
    counting = e.r.random() < 0.5
    p, o = e.file() if counting else e.file("script"), e.tree.path(["txt", "md", "log"])
    p = e.missing(p) if counting else p
    e.ask("save_count" if counting else "save_output", p=p, o=o)
    out = e.shell(f"wc -l {p}", "I count the lines.") if counting else e.shell(launch(p), "I run the script.")
    if "[exit status" in out:
        return e.done(out, p, "")
    text = out.split()[0] if counting else out
    e.note = f"The count is {text}." if counting else "It printed something."
    e.call("write", {"path": o, "content": text}, "I write the file.")
    e.answer(f"I wrote {text} to {o}." if counting else f"I wrote the output of {p} to {o}.")


def folder(e):
    d = e.w.name() if e.r.random() < 0.6 else e.r.choice(e.tree.folders) + "/" + e.w.name()
    if d in e.world.files:
        raise Skip
    e.ask("folder", d=d)
    e.shell(f"mkdir -p {d}", "I make the folder.")
    e.answer(f"I made the folder {d}.")


def command(e):
    """a command as it is given"""
    p = e.missing(e.file())
    real = p in e.world.files
    if real and not e.world.files[p].endswith("\n"):
        raise Skip
    forms = [f"cat {p}", f"wc -l {p}", f"head -n {e.r.randint(1, 3)} {p}", f"tail -n {e.r.randint(1, 3)} {p}"] + ([f"grep -n {e.word(p)} {p}", f"sort {p}", f"ls {e.folder()}"] if real else [])
    c = e.r.choice(forms)
    if real and c[:3] in ("cat", "sor") and len(lines(e.world.files[p])) > 5:
        raise Skip
    e.ask("command", c=c)
    out = e.shell(c)
    if "[exit status" in out:
        e.note = "The command failed."
        return e.answer(f"It failed: {lines(out)[0]}")
    e.answer(f"The output is:\n{out.rstrip()}")


def steps(e):
    """three or four orders at once: the one family that plans"""
    orders, used = [], set()
    for _ in range(e.r.randint(3, 4)):
        free = [p for p in e.world.files if p not in used]
        kind, p = e.r.choice(["make", "copy", "rename", "delete", "append", "create"]), e.r.choice(free or list(e.world.files))
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


# family -> (weight, the kinds of files it needs); tasks of several calls weigh more
FAMILIES = {find: (5, ["notes", "items"]), read_key: (6, ["config"]), find_key: (3, ["config"]), two_keys: (4, ["config", "config"]), read_fact: (4, ["notes"]), count_lines: (3, []),
            count_files: (3, ["notes", "config"]), count_matches: (3, ["notes"]), change: (9, ["config"]), change_found: (7, ["config"]), create: (4, []), append: (3, ["notes"]), rename: (4, []),
            move: (2, []), delete: (2, []), list_folder: (3, ["items"]), ends: (3, []), extreme: (3, ["numbers", "table"]), sort: (1, ["items"]), errors: (2, ["log"]), run: (3, ["script"]),
            fix: (9, ["check"]), copy_key: (7, ["config"]), take_key: (6, ["config", "config"]), replace: (9, ["notes", "items", "log"]), edit: (3, ["notes"]), show: (3, ["items"]), find_then: (7, ["notes", "items"]),
            save: (6, ["script"]), folder: (1, []), command: (3, []), steps: (4, ["notes", "items", "notes"])}
