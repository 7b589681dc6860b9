"""Messages to text in the V4 chat format (preview generation), as segments (text, kind).

kind 0: context, 1: written by the assistant, 2: the part of an answer that can only be recalled.  The literal strings are data
(chat-templates.json): the family was trained on these bytes.  Input messages are already merged: a tool result is user text."""
import json
import os

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "chat-templates.json"), encoding="utf-8") as _f:
    T = json.load(_f)
BOS, EOS, USER, ASSISTANT = (T["tokens"][k] for k in ("bos", "eos", "user", "assistant"))
THINK, END_THINK, DSML = (T["tokens"][k] for k in ("think_open", "think_close", "dsml"))


def schema(name, description, parameters, style=0):
    """parameters: list of (name, type, description or "", required).  Two spellings that clients use."""
    props = {p: ({"type": t, "description": d} if d else {"type": t}) for p, t, d, _ in parameters}
    body = {"type": "object", "properties": props, "required": [p for p, _, _, need in parameters if need]}
    if style:
        body["additionalProperties"] = False
    return json.dumps({"name": name, "description": description, "parameters": body}, ensure_ascii=False)


def tools_block(schemas, brief=False):
    """brief: only the schemas and the closing line, a training short cut that leaves out the constant instruction"""
    t = T["v4"]["tools"]
    prefix = t["prefix"][t["prefix"].index("### Available"):] if brief else t["prefix"]
    return prefix + T["tool_schema_separator"].join(schemas) + t["suffix"]


def calls_block(calls):
    """calls: list of (name, [(parameter, value)])"""
    d = T["v4"]["dsml"]
    out = []
    for name, args in calls:
        params = []
        for k, v in args:
            a, b, c, e = d["parameter"]
            is_text = isinstance(v, str)
            params.append(a + k + b + d["string_flag"]["string" if is_text else "json"] + c + (v if is_text else json.dumps(v, ensure_ascii=False)) + e)
        out.append(d["invoke_open"][0] + name + d["invoke_open"][1] + d["parameter_separator"].join(params) + d["invoke_close"])
    return d["block_lead"] + d["block_open"] + d["invoke_separator"].join(out) + d["block_close"]


def result(text):
    return T["tool_result"][0] + text + T["tool_result"][1]


def render(messages, thinking=False, effort_max=False, brief=False):
    """messages: {"role": system/user/assistant, "content", "schemas", "reasoning", "calls"}; an assistant's content may be a list of segments.

    With tools declared every turn keeps its reasoning; without, only the turns after the last user message do (chat format 3.1, 3.3)."""
    keep = any(m.get("schemas") for m in messages)
    last_user = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    out = [(BOS + (T["effort_max"] if thinking and effort_max else ""), 0)]
    for i, m in enumerate(messages):
        if m["role"] == "system":
            text = m.get("content", "")
            if m.get("schemas"):
                text += T["tools_lead"] + tools_block(m["schemas"], brief)
            out.append((text, 0))
        elif m["role"] == "user":
            out.append((USER + m["content"], 0))
            if i + 1 == len(messages) or messages[i + 1]["role"] == "assistant":
                out.append((ASSISTANT + (THINK if thinking and (keep or i >= last_user) else END_THINK), 0))
        else:
            if thinking and (keep or i > last_user):
                out += segments(m.get("reasoning", "")) + [(END_THINK, 1)]
            out += segments(m.get("content", ""))
            if m.get("calls"):
                out.append((calls_block(m["calls"]), 1))
            out.append((EOS, 1))
    return out


def segments(content):
    return ([(content, 1)] if content else []) if isinstance(content, str) else list(content)
