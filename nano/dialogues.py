"""Conversations with tools: single calls, parallel calls, loops over several steps, refusals, small talk, in all three reasoning modes.

An exchange is a list of steps (user text, assistant message).  Think sections are short and useful: they name the tool and restate the
arguments, or say what the result means, so that the call after them is a copy from nearby."""
import json

import chat
from tools import KNOWN, invented_tool, known_tool, quote, request, simple_request, wrap

SYSTEM = ["", "", "", "", "You are a helpful assistant.", "You are nano, a tiny demonstration model.", "You are an agent. Use the tools to do the task.", "You work in a sandbox. Use tools when they help.",
          "Answer briefly.", "You are a careful assistant. Call one tool at a time."]
MODES = ["none", "high", "max"]


def spell(v):
    return v if isinstance(v, str) else json.dumps(v)


def plan(name, args, kinds=None):
    """-> think text for a call in mode high, and what mode max adds"""
    if not args:
        return f"{name} fits. It needs no arguments.", " Check: nothing to fill in."
    kind = lambda v: "boolean" if isinstance(v, bool) else "integer" if isinstance(v, int) else "number" if isinstance(v, float) else "string"
    return f"{name} fits. " + "; ".join(f"{k}: {spell(v)}" for k, v in args) + ".", " Check: " + ", ".join(f"{k} is a {(kinds or {}).get(k) or kind(v)}" for k, v in args) + "."


def step(user, text="", calls=(), think="", more=""):
    return user, {"role": "assistant", "content": text, "calls": list(calls), "think": think, "more": more}


def call_step(user, tool, args):
    think, more = plan(tool.name, args, {p: t for p, t, _, _ in tool.parameters})
    return step(user, calls=[(tool.name, args)], think=think, more=more)


def answer_step(results, text, think="The result answers the request.", more=" Nothing else is needed."):
    results = [results] if isinstance(results, str) else results
    return step("\n\n".join(chat.result(x) for x in results), text, think=think, more=more)


def single(s, tool, tools):
    user, args, res, final = request(s, tool, [t for t in tools if t is not tool])
    return [call_step(user, tool, args), answer_step(res, final)]


# ------------------------------------------------------------------ several steps with the known tools
def arg(tool, **roles):
    """arguments by role in schema order, under the names this document's schema uses"""
    return [(p, roles[o]) for o, p in tool.roles.items() if o in roles]


def loop(s, by_kind):
    """a task of two or three calls, or None when the document lacks the tools"""
    w, r = s.words, s.r
    have = by_kind.keys()
    options = [(need, f) for need, f in LOOPS if set(need) <= have]
    if not options:
        return None
    return r.choice(options)[1](s, w, r, by_kind)


def copy_file(s, w, r, t):
    a, b, text = w.path(), w.path(), w.sentence()
    user = wrap(s, s.pick(["copy {a} to {b}", "read {a} and write its text to {b}", "copy the text of {a} into {b}"], ["duplicate {a} as {b}", "take what {a} says and put it into {b}"]).format(a=a, b=b))
    return [call_step(user, t["read_file"], arg(t["read_file"], path=a)), call_step(chat.result(text), t["write_file"], arg(t["write_file"], path=b, content=text)), answer_step("ok", f"I copied {a} to {b}.")]


def find_and_read(s, w, r, t):
    q, p, text = w.text(1, 2), w.path(), w.sentence()
    user = wrap(s, s.pick(["find the file about {q} and read it", "search for {q} and read the file you find"], ["locate {q} and open the file that has it"]).format(q=quote(s, q)))
    return [call_step(user, t["search"], arg(t["search"], query=q)), call_step(chat.result(p), t["read_file"], arg(t["read_file"], path=p)), answer_step(text, f"{p} says: {text}")]


def list_and_read(s, w, r, t):
    d, files, text = w.folder(), [w.name() + ".txt" for _ in range(r.randint(2, 4))], w.sentence()
    which = r.choice(["first", "last"])
    p = d + "/" + files[0 if which == "first" else -1]
    user = wrap(s, s.pick(["list {d} and read the {k} file", "read the {k} file in {d}"], ["open the {k} file that {d} has"]).format(d=d, k=which))
    return [call_step(user, t["list_dir"], arg(t["list_dir"], path=d)), call_step(chat.result("\n".join(files)), t["read_file"], arg(t["read_file"], path=p)), answer_step(text, f"{p} says: {text}")]


def compute_and_write(s, w, r, t):
    a, b, p = w.number(), w.number(), w.path()
    op = r.choice("+-*")
    e, res = f"{a} {op} {b}", str({"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[op])
    user = wrap(s, s.pick(["calculate {e} and write the result to {p}", "compute {e} and save it in {p}", "write the value of {e} to {p}"], ["work {e} out and note the result in {p}"]).format(e=e, p=p))
    return [call_step(user, t["calculator"], arg(t["calculator"], expression=e)), call_step(chat.result(res), t["write_file"], arg(t["write_file"], path=p, content=res)), answer_step("ok", f"I wrote {res} to {p}.")]


def run_and_save(s, w, r, t):
    c, p, out = f"make {w.name()}", w.path(), w.sentence()
    user = wrap(s, s.pick(["run `{c}` and save the output in {p}", "execute `{c}` and write its output to {p}"], ["launch `{c}` and keep the output in {p}"]).format(c=c, p=p))
    return [call_step(user, t["run_shell"], arg(t["run_shell"], command=c)), call_step(chat.result(out), t["write_file"], arg(t["write_file"], path=p, content=out)), answer_step("ok", f"I saved the output of `{c}` in {p}.")]


def missing_file(s, w, r, t):
    p = w.path()
    return [call_step(wrap(s, f"read {p}"), t["read_file"], arg(t["read_file"], path=p)), answer_step("error: no such file", f"I could not read {p}: no such file.", "The tool reports an error.", " I must say so.")]


def read_two(s, w, r, t):
    a, b, x, y = w.path(), w.path(), w.sentence(), w.sentence()
    tool = t["read_file"]
    one, two = arg(tool, path=a), arg(tool, path=b)
    think, more = plan(tool.name, one)
    user = wrap(s, s.pick(["read {a} and {b}", "show me {a} and {b}"], ["open both {a} and {b}"]).format(a=a, b=b))
    return [step(user, calls=[(tool.name, one), (tool.name, two)], think=think + f" Then {b}.", more=more), answer_step([x, y], f"{a} says: {x}\n{b} says: {y}")]


LOOPS = [(("read_file", "write_file"), copy_file), (("search", "read_file"), find_and_read), (("list_dir", "read_file"), list_and_read), (("calculator", "write_file"), compute_and_write),
         (("run_shell", "write_file"), run_and_save), (("read_file",), missing_file), (("read_file",), read_two)]


# ------------------------------------------------------------------ without a call
TALK = [(["Hello.", "Hi!", "Hello!", "Good morning.", "Hey there."], ["Good day.", "Hello you."], "Hello! How can I help?"),
        (["What are you?", "Who are you?", "Tell me about yourself.", "Are you a large model?", "What model is this?"], ["What is this model?", "Say what you are."], "I am nano, a tiny demonstration model of hadal. I know almost nothing about the world."),
        (["What can you do?", "What are you good at?", "How can you help me?"], ["Tell me what you can do."], "I can call tools, copy text exactly and find facts in long documents. I know almost nothing else."),
        (["What can you not do?", "What are your limits?", "Are you always right?", "Can I trust you?"], ["What are you bad at?"], "I am very small. I know no facts, I cannot reason far, and I make mistakes."),
        (["Thanks.", "Thank you!", "Great, thank you."], ["Many thanks."], "You are welcome."), (["Bye.", "Goodbye!", "See you."], ["Bye now."], "Goodbye!"),
        (["How are you?", "How do you do?"], ["How are you doing?"], "I am a program, and I am ready."), (["Who made you?", "Where do you come from?", "What were you trained on?"], ["Who built you?"], "I was trained for the hadal project on generated text."),
        (["Are you human?", "Are you a person?", "Do you have feelings?"], ["Are you alive?"], "No. I am a small program.")]
UNKNOWN = (["What is the capital of {}?", "Who was {}?", "When was {} born?", "What is the meaning of {}?", "Why is {} so {a}?", "How do I cook {}?", "Tell me a story about {}.", "Write a poem about {}.", "Explain {} to me.", "Is {} better than {b}?",
            "What do you know about {}?", "Translate {} into French.", "How far is it to {}?"], ["How old is {}?", "Where can I find {}?", "What happened to {}?"])


def small_talk(s):
    w, r = s.words, s.r
    x = r.random()
    if x < 0.15:
        n = w.person()
        return [step(s.pick(["My name is {}.", "I am {}. Say hello.", "Hello, I am {}."], ["Call me {}."]).format(n), f"Hello, {n}!", think="A greeting with a name.", more=" I greet back.")]
    if x < 0.3:
        t = w.text(1, 6)
        return [step(s.pick(["Say {}.", "Repeat {}.", "Repeat after me: {}", "Write {}"], ["Echo {}."]).format(quote(s, t)), t, think="I repeat the text.", more=" No tool is needed.")]
    if x < 0.55:
        q = s.pick(*UNKNOWN).replace("{a}", w.adjective()).replace("{b}", w.noun()).format(r.choice([w.noun, w.person])())
        return [step(q, "I do not know. I am a tiny demonstration model.", think="I know nothing about this.", more=" I must not invent an answer.")]
    a, b, c = r.choice(TALK)
    return [step(s.pick(a, b), c, think="A short answer is enough.", more=" No tool is needed.")]


def refusal(s, tools):
    """a request that would need a tool which is not declared"""
    absent = [k for k in KNOWN if k not in {t.kind for t in tools}]
    if s.r.random() < 0.5 and absent:
        other = known_tool(s, s.r.choice(absent))
    else:
        other = invented_tool(s)
    if other.name in {t.name for t in tools}:
        return small_talk(s)
    user = request(s, other, tools)[0]
    if not tools:
        return [step(user, "I have no tools here, so I cannot do that.", think="There are no tools.", more=" I say so.")]
    return [step(user, "I have no tool for that.", think="No tool fits.", more=" The tools are " + ", ".join(t.name for t in tools) + ".")]


# ------------------------------------------------------------------ documents
def declare(s, count=None, invented=0.6):
    """-> tools with distinct names; mostly invented ones"""
    r, tools, names = s.r, [], set()
    for _ in range(count if count is not None else r.choice([1, 2, 2, 3, 3, 4, 5])):
        kinds = [k for k in KNOWN if k not in {t.kind for t in tools}]
        t = invented_tool(s) if r.random() < invented or not kinds else known_tool(s, r.choice(kinds))
        if t.name not in names:
            names.add(t.name)
            tools.append(t)
    r.shuffle(tools)
    return tools


def schemas(s, tools):
    style = int(s.r.random() < 0.25)
    return [chat.schema(t.name, t.description, t.parameters, style) for t in tools]


def messages(exchanges, mode, system="", declared=()):
    out = [{"role": "system", "content": system, "schemas": list(declared)}] if system or declared else []
    for e in exchanges:
        for user, a in e:
            a = dict(a, reasoning=chat.segments(a["think"]) + (chat.segments(a["more"]) if mode == "max" else []))
            out += [{"role": "user", "content": user}, a]
    return out


def render(exchanges, mode, system="", declared=(), brief=False):
    return chat.render(messages(exchanges, mode, system, declared), mode != "none", mode == "max", brief)


def pick_mode(r):
    return r.choices(MODES, [0.82, 0.14, 0.04])[0]


def tool_document(s, room, count_tokens, brief=False, count=None, invented=None, mode=None):
    """as many exchanges as fit into about `room` tokens, every tool once before any is used again"""
    r = s.r
    invented = r.choice([0.0, 0.5, 1.0]) if invented is None else invented
    tools = declare(s, count, invented)
    mode, system, declared = mode or pick_mode(r), r.choice(SYSTEM), schemas(s, tools)
    by_kind = {t.kind: t for t in tools if t.kind != "invented"}
    queue, exchanges = list(tools), []
    used = count_tokens("".join(t for t, _ in render([], mode, system, declared, brief)))
    r.shuffle(queue)
    while len(exchanges) < 12:
        x = r.random()
        e = None
        if x < 0.2 and by_kind:
            e = loop(s, by_kind)
        elif x > 0.97:
            e = small_talk(s)
        elif x > 0.95:
            e = refusal(s, tools)
        if e is None:
            if not queue:
                queue = list(tools)
                r.shuffle(queue)
            e = single(s, queue.pop(), tools)
        used += count_tokens("".join(t for t, _ in render([e], mode)))
        if exchanges and used > room:
            break
        exchanges.append(e)
    return render(exchanges, mode, system, declared, brief)


ABOUT_TOOLS = ["What are the parameters of {}?", "Which parameters does {} take?", "Parameters of {}?"]


def drill_document(s, room, count_tokens, brief=True, simple=0.5):
    """calls packed densely: one request after the other, without results, and questions about the schemas themselves"""
    r = s.r
    tools = declare(s, r.choice([1, 2, 3, 4, 5]), r.choice([0.0, 0.5, 1.0]))
    mode, system, declared = pick_mode(r), r.choice(SYSTEM), schemas(s, tools)
    easy, queue, steps = r.random() < simple, [], []
    used = count_tokens("".join(t for t, _ in render([], mode, system, declared, brief)))
    while len(steps) < 2 * len(tools) + 2:
        if r.random() < 0.12:
            t = r.choice(tools)
            names = ", ".join(p for p, _, _, _ in t.parameters) or "none"
            e = step(r.choice(ABOUT_TOOLS).format(t.name), names + ".", think=f"{t.name} is declared.")
        elif r.random() < 0.05:
            e = step(r.choice(["What tools do you have?", "Which tools are there?", "List your tools."]), ", ".join(t.name for t in tools) + ".", think="The tools are declared.")
        else:
            if not queue:
                queue = list(tools)
                r.shuffle(queue)
            t = queue.pop()
            user, args = simple_request(s, t) if easy else request(s, t, [o for o in tools if o is not t])[:2]
            e = call_step(user, t, args)
        used += count_tokens("".join(t for t, _ in render([[e]], mode)))
        if steps and used > room:
            break
        steps.append(e)
    return render([steps], mode, system, declared, brief)


def talk_document(s, turns=None):
    r = s.r
    exchanges = [small_talk(s) if r.random() < 0.85 else refusal(s, []) for _ in range(turns or r.randint(1, 4))]
    return render(exchanges, pick_mode(r), r.choice(SYSTEM))
