"""Documents whose answers can only be looked up: facts in long texts, lines to repeat, and random token strings.

Random strings are the purest lesson (no word statistics help) and teach copying first; facts in prose are what users ask."""
import chat
import dialogues as D
from tools import known_tool, wrap

RELATIONS = ["code", "color", "number", "key", "city", "owner", "password", "price", "name", "port", "address", "date", "weight", "label", "address", "id", "team", "room", "length", "status"]
STATE = (["The {r} of {k} is {v}."] * 6 + ["Note that the {r} of {k} is {v}.", "Remember: the {r} of {k} is {v}."], ["The {r} of {k} is {v}.", "Note: the {r} of {k} is {v}."])
ASK = (["What is the {r} of {k}?"] * 4 + ["Tell me the {r} of {k}.", "Find the {r} of {k}.", "Please tell me the {r} of {k}.", "Please find the {r} of {k}."], ["Find me the {r} of {k}.", "Now tell me the {r} of {k}."])
LEAD = (["", "", "", "", "Here is a text.\n\n", "Read this text:\n\n", "Document:\n\n"], ["", "Text:\n\n"])
TAIL = (["\n\n", "\n\n", "\n\n", "\n\nQuestion: ", "\n"], ["\n\n", "\n\nNow answer: "])


class Facts:
    """style 0: sentences; 1: "key: value"; 2: "relation key = value" """

    def __init__(self, s, style):
        self.s, self.style, self.seen = s, style, set()
        self.relations = s.r.sample(RELATIONS, s.r.choice([1, 1, 2, 4]))

    def new(self):
        s, w, r = self.s, self.s.words, self.s.r
        while True:
            x = r.random()
            k = w.name() if x < 0.6 or self.style else w.person() if x < 0.75 else f"the {w.noun()}" if x < 0.82 else f"the {w.adjective()} {w.noun()}" if x < 0.88 else f"the {w.invented().capitalize()} {w.noun()}"
            if k not in self.seen:
                break
        self.seen.add(k)
        rel, v = r.choice(self.relations), w.value()
        text = s.pick(*STATE).format(r=rel, k=k, v=v) if self.style == 0 else f"{k}: {v}." if self.style == 1 else f"{rel} {k} = {v}."
        return rel, k, v, text[0].upper() + text[1:] if self.style == 0 else text

    def question(self, fact):
        rel, k, v, _ = fact
        return self.s.pick(*ASK).format(r=rel, k=k) if self.style == 0 else f"{k}?" if self.style == 1 else f"{rel} of {k}?"

    def answer(self, fact):
        rel, k, v, _ = fact
        return [(f"The {rel} of {k} is", 1), (" " + v, 2), (".", 1)] if self.style == 0 else [(v, 2)]


def fill(s, facts, room, count, dense):
    """-> sentences, the facts among them"""
    out, found, n = [], [], 0
    while n < room or not found:
        if s.r.random() < dense or (n >= room and not found):
            found.append(facts.new())
            out.append(found[-1][3])
        else:
            out.append(s.words.sentence())
        n += count(" " + out[-1])
    return out, found


def paragraphs(r, sentences):
    """joined by spaces, sometimes cut into paragraphs"""
    x = r.random()
    if x < 0.6:
        return " ".join(sentences)
    gap = "\n" if x < 0.8 else "\n\n"
    return "".join(t + (gap if r.random() < 0.2 else " ") for t in sentences).strip()


def reading(s, count, length, questions, dense=None, style=None, mode=None):
    """a text with facts, then many questions about it.  The text stands in the first user turn, in the system part or in a tool result"""
    r = s.r
    dense = r.choice([0.04, 0.15, 0.4, 0.8, 1.0]) if dense is None else dense
    style = r.choices([0, 1, 2], [0.7, 0.2, 0.1])[0] if style is None else style
    mode = mode or r.choices(D.MODES, [0.8, 0.16, 0.04])[0]
    facts = Facts(s, style)
    place = r.choices(["user", "system", "tool", "write"], [0.6, 0.08, 0.16, 0.16])[0]
    if place == "write":
        questions = max(2, questions // 3)
    overhead = 40 if place in ("user", "system") else 650
    each = (26 if style == 0 else 16) + (26 if mode != "none" else 0) + (80 if place == "write" else 0)
    body, found = fill(s, facts, max(60, length - overhead - questions * each), count, dense)
    return ask(s, facts, paragraphs(r, body), found, questions, mode, place)


def ask(s, facts, text, found, questions, mode, place="user"):
    r = s.r
    picked = []
    while len(picked) < questions:
        picked += r.sample(found, min(len(found), questions))
        if len(found) < 3:
            break
    picked = picked[:questions]
    say = lambda f: dict(text=facts.answer(f), think=[("The text says:", 1), (" " + f[3], 2)], more=" That is the answer.")
    steps, tools, system = [], [], ""
    if place in ("tool", "write"):
        tools = D.declare(s, r.randint(0, 2), 0.7)
        tools = [t for t in tools if t.kind not in ("read_file", "write_file")]
        kind = "read_file" if place == "tool" else "write_file"
        main = known_tool(s, kind)
        tools = [t for t in tools if t.name != main.name] + [main]
        r.shuffle(tools)
    if place == "user":
        first = picked.pop(0)
        steps.append(reply(s.pick(*LEAD) + text + s.pick(*TAIL) + facts.question(first), **say(first)))
    elif place == "system":
        system = s.pick(*LEAD) + text
    elif place == "tool":
        path, first = s.words.path(), picked.pop(0)
        q = facts.question(first)
        user = s.pick(["{q} It is in {p}.", "Look into {p}: {q}", "Read {p} and answer: {q}", "Use the file {p}. {q}"], ["The answer is in {p}. {q}"]).format(q=q, p=path)
        steps += [D.call_step(user, main, D.arg(main, path=path)), reply(chat.result(text), **say(first))]
    else:
        lead = s.pick(*LEAD) + text + "\n\n"
        for f in picked[:max(1, len(picked) * 2 // 3)]:
            path = s.words.path()
            user = wrap(s, s.pick(["write the {r} of {k} to {p}", "save the {r} of {k} in {p}", "put the {r} of {k} into {p}", "write the {r} of {k} into the file {p}"], ["note the {r} of {k} down in {p}"]).format(r=f[0], k=f[1], p=path))
            steps += [D.call_step(lead + user, main, D.arg(main, path=path, content=f[2])), D.answer_step("ok", f"I wrote {path}.")]
            lead = ""
        picked = picked[max(1, len(picked) * 2 // 3):]
    for f in picked:
        steps.append(reply(facts.question(f), **say(f)))
    return D.render([steps], mode, system, D.schemas(s, tools))


def reply(user, text, think, more):
    return user, {"role": "assistant", "content": text, "calls": [], "think": think, "more": more}


def needles(s, count, distance, needles=1, style=0, dense=0.0, mode="none"):
    """facts first, then `distance` tokens of other text, then a question about each fact"""
    facts = Facts(s, style)
    wanted = [facts.new() for _ in range(needles)]
    rest, n = [], 0
    while n < distance:
        rest.append(facts.new()[3] if s.r.random() < dense else s.words.sentence())
        n += count(" " + rest[-1])
    return ask(s, facts, " ".join([f[3] for f in wanted] + rest), wanted, needles, mode)


def lines(s, count, length):
    """named lines; the assistant repeats asked lines in random order, or the whole text: every token of the answer is recalled"""
    w, r = s.words, s.r
    n, out, seen = 0, [], set()
    while n < length * 0.5:
        k = w.name()
        if k in seen:
            continue
        seen.add(k)
        out.append((k, " ".join(r.choice([w.name, w.number, w.path, w.noun])() for _ in range(r.randint(2, 8)))))
        n += count(f"{k}: {out[-1][1]}\n")
    head = "\n".join(f"{k}: {t}" for k, t in out)
    if r.random() < 0.35:
        return [(chat.BOS + chat.USER + head + "\n\nRepeat the text." + chat.ASSISTANT + chat.END_THINK, 0), (head, 2), (chat.EOS, 1)]
    doc = [(chat.BOS + chat.USER + head, 0)]
    for j, (k, t) in enumerate(r.sample(out, len(out))):
        doc += [(("\n\n" if j == 0 else chat.USER) + f"Repeat line {k}" + chat.ASSISTANT + chat.END_THINK, 0), (t, 2), (chat.EOS, 1)]
    return doc


def copy(s):
    w, r = s.words, s.r
    t = " ".join(r.choice([w.name, w.number, w.path, w.noun, w.code, w.person])() for _ in range(r.randint(2, 7)))
    u = r.choice(["Repeat: {}", "Repeat {}", "Echo {}", "Say {}", "Copy this: {}"]).format(t)
    return [(chat.BOS + chat.USER + u + chat.ASSISTANT + chat.END_THINK, 0), (t, 2), (chat.EOS, 1)]


# ------------------------------------------------------------------ random token strings: (ids, kinds)
def strings_near(r, top):
    """one random string and its repetitions; ids 3 .. top are text tokens"""
    t = [r.randint(3, top) for _ in range(r.randint(3, 14))]
    n, sep = r.randint(2, 5), r.randint(3, 258)
    return [0] + t + ([sep] + t) * n, [0] * (1 + len(t)) + ([0] + [2] * len(t)) * n


def strings_far(r, top, length, alphabets, ambiguous=0.55):
    """many random strings, each behind its own key token, then all of them again in another order: recall at every distance up to `length`.

    Half of the documents draw from few tokens (digits, letters, ...), so that one token of context does not tell what follows."""
    heads = r.sample(range(3, top + 1), min(top - 3, length))
    x = r.random() / max(ambiguous, 1e-9)
    alphabet = alphabets[0] if x < 0.4 else alphabets[1] if x < 0.7 else r.sample(range(3, top + 1), 24) if x < 1 else range(3, top + 1)
    out, n = [], 0
    while n < 0.45 * length and len(out) < len(heads):
        t = [heads[len(out)]] + [r.choice(alphabet) for _ in range(r.randint(2, 10))]
        out.append(t)
        n += len(t) + 1
    ids, kinds = [0], [0]
    for t in out:
        ids += [1] + t
        kinds += [0] * (len(t) + 1)
    r.shuffle(out)
    for t in out:
        ids += [1] + t
        kinds += [0, 0] + [2] * (len(t) - 1)
    return ids, kinds
