"""Agent episodes: small tasks in a made-up file tree with the fixed tools of agent_tools.json, in V4's chat format.

worlds.py simulates the tools, trees.py makes the files, errands.py has the tasks and episodes.py turns one into messages."""
import chat
import dialogues as D
from episodes import SCHEMAS, Episode, Skip
from errands import FAMILIES
from trees import Tree

SYSTEM = ["", "", "You are an agent. Use the tools to do the task.", *D.SYSTEM]
MODES = [0.45, 0.45, 0.10]                                        # none, high, max


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


def written(user, a, mode):
    """one step's text, all of its reasoning counted"""
    return user + (a["think"] if mode != "none" else "") + (a["more"] if mode == "max" else "") + a["content"] + (chat.calls_block(a["calls"]) if a["calls"] else "")


def agent_document(s, room, count_tokens, mode=None, brief=False):
    """one to three tasks, one after the other in the same world, as many as fit into about `room` tokens"""
    r = s.r
    mode, system = mode or r.choices(D.MODES, MODES)[0], r.choice(SYSTEM)
    used = count_tokens("".join(t for t, _ in D.render([], mode, system, SCHEMAS, brief)))
    size = lambda e: count_tokens("".join(written(user, a, mode) for user, a in e)) + 5 * len(e)
    for _ in range(6):                                            # a first task that is too long gives way to another one
        families, tree = draw(s, r.choice([1, 2, 2, 3, 3]))
        exchanges = [episode(s, tree, families[:1])]
        now = used + size(exchanges[0])
        if now <= room:
            break
    used = now
    for f in families[1:]:
        e = episode(s, tree, [f])
        used += size(e)
        if used > room:
            break
        exchanges.append(e)
        talk = D.small_talk(s) if r.random() < 0.06 else []       # not everything needs a tool
        if talk and used + size(talk) <= room:
            used += size(talk)
            exchanges.append(talk)
    return D.render(exchanges, mode, system, SCHEMAS, brief)


def single_task(s, mode):
    """-> a document of one task, and how many turns the assistant has in it"""
    families, tree = draw(s, 1)
    e = episode(s, tree, families)
    return D.render([e], mode, s.r.choice(SYSTEM), SCHEMAS), len(e)
