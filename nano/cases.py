"""Held-out evaluation cases.  A case is a prompt and the one right answer, both as text with special tokens spelled out.

Words, names, templates and filler sentences come from the held-out side of the generator; every case has its own seed."""
import random

import agent
import chat
import dialogues as D
import recall
from tools import KNOWN, Source, invented_tool, known_tool
from words import Words


def source(kind, index, seed, new_phrases=True):
    return Source(Words(random.Random(f"{kind} {index} {seed}"), held=True), new_phrases)


def split_turn(document, turn=0):
    """-> prompt up to the assistant's `turn`-th answer, and that answer"""
    runs = []
    for text, kind in document:
        if runs and runs[-1][1] == (kind > 0):
            runs[-1][0] += text
        else:
            runs.append([text, kind > 0])
    answers = [i for i, (_, a) in enumerate(runs) if a]
    at = answers[turn]
    return "".join(t for t, _ in runs[:at]), runs[at][0]


def call(s, invented, mode="none", known_share=0.5, turn=0):
    """one request with 1 to 5 tools declared; the wanted tool is known or invented"""
    r = s.r
    n = r.randint(1, 5)
    if invented:
        wanted = invented_tool(s)
        tools = D.declare(s, n - 1, 1.0 - known_share * r.random())
    else:
        wanted = known_tool(s, r.choice(list(KNOWN)))
        tools = [t for t in D.declare(s, n - 1, r.random()) if t.kind != wanted.kind]
    tools = [t for t in tools if t.name != wanted.name] + [wanted]
    r.shuffle(tools)
    e = D.single(s, wanted, tools)
    return split_turn(D.render([e], mode, r.choice(D.SYSTEM), D.schemas(s, tools)), turn)


def loop(s, mode="none"):
    """the second call of a task of several steps"""
    r = s.r
    by_kind = {k: known_tool(s, k) for k in KNOWN}
    if len({t.name for t in by_kind.values()}) < len(by_kind):
        by_kind = {k: t for k, t in by_kind.items() if t.name == k}
    e = D.loop(s, by_kind) or D.single(s, *(2 * [next(iter(by_kind.values()))]))
    return split_turn(D.render([e], mode, "", D.schemas(s, list(by_kind.values()))), min(1, len(e) - 1))


def refusal(s):
    tools = D.declare(s, s.r.randint(1, 4), s.r.random())
    return split_turn(D.render([D.refusal(s, tools)], "none", "", D.schemas(s, tools)))


def needle(s, count, distance, mode="none", style=0, dense=0.0):
    return split_turn(recall.needles(s, count, distance, 1, style, dense, mode))


def agent_case(s, mode="none"):
    """one turn, any of them, of a task for the agent's tools"""
    document, turns = agent.single_task(s, mode)
    return split_turn(document, s.r.randrange(turns))


MAKERS = {
    "call_known": lambda s, n: call(s, False),
    "call_unseen": lambda s, n: call(s, True),
    "think_known": lambda s, n: call(s, False, "high"),
    "think_unseen": lambda s, n: call(s, True, "high"),
    "max_unseen": lambda s, n: call(s, True, "max"),
    "answer_known": lambda s, n: call(s, False, turn=1),
    "answer_unseen": lambda s, n: call(s, True, turn=1),
    "loop": lambda s, n: loop(s),
    "agent": lambda s, n: agent_case(s),
    "agent_think": lambda s, n: agent_case(s, "high"),
    "refusal": lambda s, n: refusal(s),
    "chat": lambda s, n: split_turn(D.render([D.small_talk(s)], "none")),
    "needle_1k": lambda s, n: needle(s, n, 1000),
    "needle_4k": lambda s, n: needle(s, n, 4000),
    "needle_8k": lambda s, n: needle(s, n, 8000),
    "needle_16k": lambda s, n: needle(s, n, 16000),
    "think_needle_4k": lambda s, n: needle(s, n, 4000, "high"),
    "facts_4k": lambda s, n: needle(s, n, 4000, dense=0.3),
}


def make(kind, index, count, seed=1, new_phrases=True):
    prompt, expected = MAKERS[kind](source(kind, index, seed, new_phrases), count)
    return {"id": f"{kind}-{seed}-{index}", "kind": kind, "prompt": prompt, "expected": expected}
