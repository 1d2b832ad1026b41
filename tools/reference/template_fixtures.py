#!/usr/bin/env python3
"""Renders chat templates with transformers, for the tests in crates/laminar-server/tests/chat_templates.rs.

Needs: pip install transformers jinja2 gguf

    python tools/reference/template_fixtures.py [--smollm2 target/models/SmolLM2-135M-Instruct.Q4_1.gguf]

The templates are those in crates/laminar-server/tests/templates, and SmolLM2's own from its GGUF file. Writes
crates/laminar-server/tests/fixtures/chat_templates.json, and published_templates.json for those that their models' makers
published. `--templates DIR` renders other templates (DIR/*.jinja) with the second table instead and writes DIR/cases.json,
which the test reads where LAMINAR_TEST_TEMPLATES names the folder.
"""

import argparse
import datetime
import json
import pathlib

import jinja2
from gguf import GGUFReader
from transformers.utils.chat_template_utils import render_jinja_template

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = ROOT / "crates/laminar-server/tests"

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a place: it's \"now\" <b>&</b> nowhere else",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Zürich, 東京, …"},
                "days": {"type": "integer", "minimum": 0, "maximum": 1.5e3, "default": None},
                "unit": {"type": "string", "enum": ["°C", "°F"]},
            },
            "required": ["place"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
OTHER = {"type": "function", "function": {"name": "noop", "description": "", "parameters": {}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def call(name, arguments, id="abcdef123"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


CALLING = [
    user("Weather in Zürich?"),
    {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"place": "Zürich", "days": 2, "x": [1.0, None, True]})]},
    {"role": "tool", "content": "{\"temp\": 3}", "tool_call_id": "abcdef123", "name": "get_weather"},
    assistant("Three degrees."),
    user("And tomorrow?"),
]

CONVERSATIONS = {
    "one": [user("Hi")],
    "system": [system("  Be brief.\n"), user("Hi")],
    "turns": [user(" Hi \n"), assistant(" Hello! 👋\n"), user("Who are you?")],
    "system_turns": [system("You are ünïcode."), user("a"), assistant("b"), user("c"), assistant("d"), user("<|im_end|> & <b>\"q\"</b> \\ {{ x }}")],
    "ends_with_assistant": [user("Hi"), assistant("Hello")],
    "wrong_order": [user("a"), user("b")],
    "starts_with_assistant": [assistant("b"), user("a")],
    "calling": CALLING,
    "two_calls": [user("x"), {"role": "assistant", "content": "so:", "tool_calls": [call("noop", {}), call("noop", {"a": "b"}, "123456789")]},
                  {"role": "tool", "content": "1", "tool_call_id": "abcdef123"}, {"role": "tool", "content": "2", "tool_call_id": "123456789"}],
    "bad_call_id": [user("x"), {"role": "assistant", "content": None, "tool_calls": [call("noop", {}, "short")]}],
    "thinking": [user("a"), assistant("<think>\nhm\n</think>\n\nb"), user("c"), assistant("<think>\nhm hm\n</think>\n\nd")],
    "reasoning_field": [user("a"), {"role": "assistant", "content": "d", "reasoning_content": "\nbecause\n"}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": " look "}, {"type": "image"}, {"type": "text", "text": "there"}]}],
    "null_content": [{"role": "user", "content": None}],
    "kinds": [user("s"), {"role": "user", "content": 1}, {"role": "x", "content": 2.0}, {"role": "y", "content": True},
              {"role": "z", "content": {"a": [1, None, "it's"]}}, {"role": "w", "content": [1, "é"], "stop": True}, user("never")],
    "empty": [],
}

WITH_REASONING = {"role": "assistant", "content": "", "reasoning_content": "I look it up.", "thinking": "I look it up.",
                  "tool_calls": [call("get_weather", {"place": "東京"})]}

# For the published templates: fewer conversations, more options.
PUBLISHED = {name: CONVERSATIONS[name] for name in
             ["one", "system", "turns", "system_turns", "wrong_order", "calling", "two_calls", "thinking", "reasoning_field"]} | {
    "developer": [{"role": "developer", "content": "Speak Latin."}, user("Hi")],
    "empty_content": [system(""), user(""), assistant(""), user("x")],
    "text_arguments": [user("x"), {"role": "assistant", "content": "", "tool_calls": [call("get_weather", "{\"place\": \"é\"}")]},
                       {"role": "tool", "content": "3", "tool_call_id": "abcdef123"}],
    "reasoning_call": [user("x"), WITH_REASONING, {"role": "tool", "content": "3", "tool_call_id": "abcdef123"}],
    "tools_in_system": [system("Be brief.") | {"tools": json.dumps([TOOL["function"]])}, user("Hi")],
}
OPEN = {"add_generation_prompt": True}
PUBLISHED_CASES = [(name, OPEN) for name in PUBLISHED] + [
    ("turns", {}),
    ("calling", OPEN | {"tools": [TOOL, OTHER]}),
    ("system", OPEN | {"tools": [TOOL]}),
    ("two_calls", {"tools": [TOOL, OTHER]}),
    ("system", OPEN | {"enable_thinking": False}),
    ("turns", OPEN | {"enable_thinking": True, "thinking": True}),
    ("one", OPEN | {"reasoning_effort": "high", "builtin_tools": ["browser", "python"], "model_identity": "You are ünnamed."}),
    ("one", OPEN | {"documents": [{"doc_id": 1, "title": "é", "text": "<b>"}], "controls": {"length": "short"}}),
]
# Today's date in any of these is written as its format.
DATES = ["%Y-%m-%d", "%B %d, %Y", "%d %b %Y"]

OPTIONS = [
    {},
    {"add_generation_prompt": True},
    {"add_generation_prompt": True, "tools": [TOOL, OTHER]},
    {"add_generation_prompt": True, "enable_thinking": False},
]


def render(name, template, conversation, messages, options, **variables):
    """One case: what transformers makes of it."""
    case = {"template": name, "conversation": conversation, "options": dict(options)}
    given = dict(options) | variables
    tools = given.pop("tools", None)
    try:
        [text], _ = render_jinja_template(
            conversations=[json.loads(json.dumps(messages))], tools=tools, chat_template=template,
            bos_token="<s>", eos_token="</s>", **given)
        case["text"] = text
    except jinja2.exceptions.TemplateError as error:
        if type(error) is jinja2.exceptions.TemplateError:
            case["raised"] = str(error)
        else:
            case["failed"] = f"{type(error).__name__}: {error}"
    except TypeError as error:
        case["failed"] = f"TypeError: {error}"
    if tools is not None:
        case["options"]["tools"] = True if len(tools) == 2 else len(tools)
    return case


def write(path, conversations, cases):
    lines = ["{", f'  "tools": {json.dumps([TOOL, OTHER], ensure_ascii=False)},', '  "conversations": {']
    lines.append(",\n".join(f"    {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in conversations.items()))
    lines += ["  },", '  "cases": [']
    lines.append(",\n".join("    " + json.dumps(case, ensure_ascii=False) for case in cases))
    lines += ["  ]", "}"]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    print(path.name, len(cases), "cases,", sum("raised" in c for c in cases), "raised,", sum("failed" in c for c in cases), "failed")
    for case in cases:
        if "failed" in case:
            print(case["template"], case["conversation"], case["failed"])


def published(folder, path):
    """The second table over the templates of a folder and those below it. A text that another case has already is told by its number."""
    cases, texts = [], {}
    today = datetime.datetime.now()
    for file in sorted(folder.glob("**/*.jinja"), key=lambda file: (file.parent, file.name)):
        for conversation, options in PUBLISHED_CASES:
            case = render(file.stem, file.read_text(), conversation, PUBLISHED[conversation], options)
            for form in DATES:
                if "text" in case:
                    case["text"] = case["text"].replace(today.strftime(form), form)
            if "text" in case:
                first = texts.setdefault(case["text"], len(cases))
                if first != len(cases):
                    del case["text"]
                    case["same_as"] = first
            cases.append(case)
    write(path, PUBLISHED, cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smollm2", default=ROOT / "target/models/SmolLM2-135M-Instruct.Q4_1.gguf", type=pathlib.Path)
    parser.add_argument("--templates", type=pathlib.Path)
    args = parser.parse_args()
    if args.templates:
        return published(args.templates, args.templates / "cases.json")
    published(TESTS / "templates/published", TESTS / "fixtures/published_templates.json")

    templates = {path.stem: path.read_text() for path in sorted((TESTS / "templates").glob("*.jinja"))}
    field = GGUFReader(args.smollm2).fields["tokenizer.chat_template"]
    templates["smollm2"] = bytes(field.parts[field.data[0]]).decode()
    cases = [
        render(name, template, conversation, messages, options, date_string="25 Nov 2026", null_value=None)
        for name, template in templates.items()
        for conversation, messages in CONVERSATIONS.items()
        for options in (OPTIONS[:1] if name == "python" else OPTIONS)
    ]
    write(TESTS / "fixtures/chat_templates.json", CONVERSATIONS, cases)


if __name__ == "__main__":
    main()
