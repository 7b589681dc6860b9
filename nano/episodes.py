"""One task of an agent episode: the request, then calls that really run in the world (worlds.py), then the answer.

Think sections say what was found, what the step does, and its arguments, so that the call after them is a copy from nearby."""
import json
import os
import re

import chat
import dialogues as D
from tools import wrap
from trees import entries
from worlds import lines

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent_tools.json"), encoding="utf-8") as _f:
    TOOLS = json.load(_f)
SCHEMAS = [json.dumps(t, ensure_ascii=False) for t in TOOLS]
TYPES = {t["name"]: {p: v["type"] for p, v in t["parameters"]["properties"].items()} for t in TOOLS}

# family -> (trained phrases, held-out phrases); one without a full stop or question mark is wrapped ("Please ...", "Can you ...?")
PHRASES = {
    "find": (["Which file contains {q}?", "Which file mentions {q}?", "find the file that contains {q}", "Where is {q} mentioned?", "find {q} in the files"], ["In which file is {q}?", "look for the file with {q}"]),
    "find_below": (["Which files in {d} contain {q}?", "search {d} for {q}", "find {q} in the folder {d}"], ["Which files below {d} mention {q}?", "look for {q} in {d}"]),
    "read_key": (["What is the {k} in {p}?", "What is {k} in {p}?", "read {p} and tell me the {k}", "tell me the {k} in {p}", "Which {k} does {p} set?", "Look into {p}: what is {k}?"], ["What value has {k} in {p}?", "give me the {k} from {p}"]),
    "find_key": (["What is the value of {k}?", "Where is {k} set, and to what?", "find the value of {k}", "Which value does {k} have?"], ["look up the value of {k}", "What is {k} set to?"]),
    "two_keys": (["What is {k} in {p}, and {l} in {o}?", "tell me the {k} in {p} and the {l} in {o}", "Read {p} and {o}: what are {k} and {l}?"], ["give me {k} from {p} and {l} from {o}"]),
    "read_fact": (["{p} is about {k}. What does it say?", "What does {p} say about {k}?", "read {p} and tell me what it says about {k}"], ["Look into {p}: what is said about {k}?"]),
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
    "fix": (["run {p} and fix what fails", "Run {p}. If it fails, fix it.", "make {p} work", "{p} fails. Please fix it."], ["get {p} to work", "repair what makes {p} fail"]),
    "copy_key": (["write the {k} from {p} to {o}", "read the {k} in {p} and save it as {o}", "put the {k} of {p} into the file {o}"], ["save the {k} that {p} has in {o}"]),
    "take_key": (["set {l} in {o} to the {k} from {p}", "use the {k} of {p} as {l} in {o}", "copy the {k} in {p} to {l} in {o}"], ["give {l} in {o} the value that {k} has in {p}"]),
    "replace": (["replace {q} by {v} in all files", "replace {q} with {v} in every file", "change {q} to {v} in all files", "rename {q} to {v} in every file"], ["put {v} for {q} in all files"]),
    "edit": (["replace {x} by {y} in {p}", "replace {x} with {y} in {p}", "In {p}, write {y} for {x}.", "change the text {x} to {y} in {p}"], ["put {y} in the place of {x} in {p}"]),
    "show_found": (["show me the file that contains {q}", "find the file with {q} and read it", "What does the file say that contains {q}?", "read the file that mentions {q}"], ["open the file that has {q}"]),
    "delete_found": (["delete the file that contains {q}", "find the file with {q} and delete it", "remove the file that mentions {q}"], ["get rid of the file that has {q}"]),
    "count_found": (["How many lines does the file with {q} have?", "find the file that contains {q} and count its lines"], ["count the lines of the file that has {q}"]),
    "save_count": (["count the lines of {p} and write the number to {o}", "save the number of lines of {p} in {o}", "write how many lines {p} has to {o}"], ["put the number of lines of {p} into {o}"]),
    "save_output": (["run {p} and save the output in {o}", "run {p} and write its output to {o}", "write what {p} prints to {o}"], ["save what {p} prints in {o}"]),
    "show": (["What does {p} say?", "show me {p}", "show me the file {p}", "print {p}", "read {p}"], ["What is in the file {p}?", "open {p}"]),
    "folder": (["make the folder {d}", "create the folder {d}", "create a folder named {d}"], ["make a new folder {d}"]),
    "command": (["run `{c}`", "run the command `{c}`", "execute `{c}`", "What does `{c}` print?"], ["run `{c}` in the shell", "tell me what `{c}` prints"]),
    "steps": (["Do these steps:\n{t}", "Please do this:\n{t}", "Do the following:\n{t}", "There is something to do:\n{t}"], ["Carry out these steps:\n{t}"]),
}


class Skip(Exception):
    """this world has nothing for the task; raised before the first call only"""


class Episode:
    def __init__(self, s, tree):
        self.s, self.w, self.r = s, s.words, s.r
        self.tree, self.world, self.steps, self.user, self.note = tree, tree.world, [], "", ""

    def ask(self, family, **values):
        t = self.s.pick(*PHRASES[family])
        self.user = (t if t[0].isupper() or t[-1] in ".?" else wrap(self.s, t)).format(**values)

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
        shared = self.tree.shared
        if len(shared) > 3 and path is None and self.r.random() < 0.6 and any(shared in t for t in self.world.files.values()):
            return shared
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
        if self.r.random() < 0.15:
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
