#!/usr/bin/env python3
"""Our Go templates for Ollama (formats/ollama/chat_formats) against the Jinja templates of the formats, rendered by Ollama's own template package.

    chat_formats.py --smelt PROGRAM [--shared DIR] [--record]

For every format: Go's rendering of each probe conversation is the recorded one, and the same as the Jinja rendering by the format's reference
(testdata/chat_formats/NAME.jinja) or by the published templates that testdata/chat_formats/published.json says are of it. Then every recorded
rendering of those published templates that Ollama can ask for (a generation prompt, no tools) is the same by Go, and by the template layer that
`smelt import --chat-template` puts into a store. Formats with tools are compared on conversations with tools too, whose properties and arguments
are in the order of their names, the only one that Ollama keeps. `--record` writes what Go makes
of the probes into renderings.json: null where the Jinja template refuses the conversation. Needs go and DIR/tools/ollama, DIR/fixtures/chat_templates.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

OLD = "v0.6.5"  # the oldest Ollama whose renderings are compared
ROOT = pathlib.Path(__file__).resolve().parents[2]
FORMATS = ROOT / "formats" / "ollama" / "chat_formats"
REFERENCES = ROOT / "testdata" / "chat_formats"
JSON = (FORMATS / "json.gotmpl").read_text().rstrip("\n")  # how templates write values
DATES = {"%DATE%": "%Y-%m-%d", "%D_B_Y%": "%d %b %Y", "%D_MONTH_Y%": "%d %B %Y", "%MONTH_D_Y%": "%B %d, %Y"}  # as templates write them


def tools_text(base):
    """How templates write tools, as formats/CMakeLists.txt puts it together: in one line (None), or indented from `base` blanks on."""
    def blanks(mark):
        return {"IN": "", "ON": " ", "OUT": ""}[mark[1]] if base is None else "\n" + " " * (base + 4 * int(mark[2]))

    return re.sub(r"%(IN|ON|OUT)(\d)%", blanks, JSON + (FORMATS / "tool.gotmpl").read_text().rstrip("\n"))


def template_of(name):
    text = (FORMATS / f"{name}.modelfile").read_text()
    for mark, by in [("%JSON%", JSON), ("%TOOLS%", tools_text(None)), ("%INDENTED_TOOLS%", tools_text(0)), ("%MORE_INDENTED_TOOLS%", tools_text(4))]:
        text = text.replace(mark, by)
    return re.search(r'TEMPLATE """(.*?)"""', text, re.S).group(1)


class Go:
    def __init__(self, shared, folder, *version):
        program = os.path.join(folder, "render_template" + "".join(version))
        subprocess.run([str(shared / "tools" / "ollama" / "render_template" / "build.sh"), program, *version], check=True,
                       stdout=subprocess.DEVNULL)
        self.program = program

    def render(self, template, conversations):
        lines = [json.dumps({"id": i, "template": template, "messages": c["messages"], "tools": c.get("tools"), "think": c.get("think")})
                 for i, c in enumerate(conversations)]
        out = subprocess.run([self.program], input="\n".join(lines), capture_output=True, text=True, check=True).stdout
        answers = [json.loads(line) for line in out.splitlines()]
        texts = []
        for answer, conversation in zip(answers, conversations, strict=True):
            if "error" in answer:
                raise SystemExit(f"Go refuses: {answer['error']}\n{template}")
            text, now = answer["text"], datetime.datetime.fromisoformat(conversation.get("now", "2025-01-15T10:30:00"))
            for form in DATES.values():
                text = text.replace(datetime.datetime.now().strftime(form), now.strftime(form))
            texts.append(text)
        return texts


def jinja(smelt, file, bos, eos, conversations):
    """The renderings; None where the template refuses. A model's own tokens without `bos`."""
    lines = [json.dumps(c) for c in conversations]
    tokens = [] if bos is None else ["--bos", bos, "--eos", eos]
    out = subprocess.run([smelt, "template", str(file), "--jsonl", *tokens], input="\n".join(lines) + "\n", capture_output=True, text=True,
                         check=True).stdout
    return [json.loads(line).get("result") for line in out.splitlines()]


def default_system(text, mark, jinja_text):
    """What stands in the place of the mark in the Jinja rendering; None where it does not fit."""
    before, after = text.split(mark)
    if not (jinja_text.startswith(before) and jinja_text.endswith(after) and len(jinja_text) >= len(before) + len(after)):
        return None
    return jinja_text[len(before):len(jinja_text) - len(after)]


def with_dates(text, now):
    for mark, form in DATES.items():
        text = text.replace(mark, now.strftime(form))
    return text


def without_dates(text, now):
    for mark, form in DATES.items():
        text = text.replace(now.strftime(form), mark)
    return text


class Model:
    """A Jinja template with its special tokens, and what it puts in place of a missing system prompt."""

    def __init__(self, name, file, bos, eos):
        self.name, self.file, self.bos, self.eos, self.systems = name, file, bos, eos, {}

    def difference(self, text, jinja_text, now="2025-01-15T10:30:00"):
        """'' where Go's text is the Jinja one without its BOS."""
        if text is None or jinja_text is None:
            return "" if text == jinja_text else f"one refuses\n  go    {text!r}\n  jinja {jinja_text!r}"
        day = datetime.datetime.fromisoformat(now)
        text = text.replace("%BOS%", self.bos).replace("%EOS%", self.eos)
        for front in dict.fromkeys(["", self.bos]):
            whole = front + text
            for mark in ["%SYSTEM%", "%TOOL_SYSTEM%"]:
                if mark in whole and self.systems.get(mark) is None:
                    found = default_system(whole, mark, jinja_text)
                    self.systems[mark] = None if found is None else without_dates(found, day)
                whole = whole.replace(mark, with_dates(self.systems.get(mark) or "", day))
            if whole == jinja_text:
                return ""
        return f"other texts\n  go    {text!r}\n  jinja {jinja_text!r}"


def trimmed(conversation, roles):
    return {"messages": [m | {"content": m["content"].strip()} if m["role"] in roles else m for m in conversation["messages"]]}


# Jinja templates that treat empty contents in ways that no Go template can or need tell.
EMPTY_IS_OTHER = ["ByteDance-Seed-OSS", "CohereForAI-c4ai-command-r7b-12-2024-tool_use", "LFM2-8B-A1B",
                  "ibm-granite-granite-3.3-2B-Instruct", "llama-2-chat"]


def askable(case):
    roles = [m["role"] for m in case["messages"]]
    return (case["add_generation_prompt"] and "result" in case and not case["tools"] and not case.get("kwargs")
            and all(isinstance(m["content"], str) and set(m) == {"role", "content"} for m in case["messages"])
            and all(a != b for a, b in zip(roles, roles[1:])) and "</think>" not in json.dumps(case["messages"]))


def without_ids(conversation):
    """As Ollama's oldest conversations are: calls have no names, nor do results."""
    messages = []
    for message in conversation["messages"]:
        message = {k: v for k, v in message.items() if k in ("role", "content", "tool_calls")}
        if "tool_calls" in message:
            message["tool_calls"] = [{"type": "function", "function": call["function"]} for call in message["tool_calls"]]
        messages.append(message)
    return {"messages": messages, "tools": conversation["tools"], "now": "2025-01-15T10:30:00"}


def askable_with_tools(case):
    calls = [call for m in case["messages"] for call in m.get("tool_calls", [])]
    return (case["add_generation_prompt"] and "result" in case and case["tools"] and not case.get("kwargs")
            and not any(isinstance(call["function"]["arguments"], str) for call in calls))


def thoughtful(ollama):
    """Conversations with thoughts, in Ollama's words or in those of Jinja templates."""
    thought = {"thinking" if ollama else "reasoning_content": "Let me\nthink."}
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    question = {"role": "user", "content": "How many?"}
    conversations = [
        [question, {"role": "assistant", "content": "", "tool_calls": [call], **thought}, {"role": "tool", "content": "2"}],
        [question, {"role": "assistant", "content": "Two.", **thought}, question],
    ]
    return [{"messages": messages, "now": "2025-01-15T10:30:00"} | ({"think": True} if ollama else {}) for messages in conversations]


class Calls:
    """What Ollama finds of calls in a model's answer."""

    CALL = {"id": "abcDEF123", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2.5}}}

    def __init__(self, shared, folder):
        self.program = os.path.join(folder, "tool_calls")
        sources = pathlib.Path(folder, "tool_calls_sources")
        sources.mkdir()
        for file in [shared / "tools" / "ollama" / "render_template" / x for x in ("go.mod", "go.sum")] + [ROOT / "tests" / "peers" / "tool_calls.go"]:
            shutil.copy(file, sources)
        subprocess.run(["go", "build", "-buildvcs=false", "-o", self.program, "."], cwd=sources, check=True, env=dict(os.environ, CGO_ENABLED="0"))

    def wrong(self, template, answer, tools):
        query = json.dumps({"template": template, "answer": answer, "tools": tools})
        found = json.loads(subprocess.run([self.program], input=query + "\n", capture_output=True, text=True, check=True).stdout)
        return "" if found["calls"] == [self.CALL["function"]] else f"Ollama reads {found} in {answer!r}"

    def answer(self, smelt, model, tools):
        """What a model says that calls a function, by its Jinja template."""
        question = [{"role": "user", "content": "What is the sum?"}]
        said = [{"role": "assistant", "content": "", "tool_calls": [self.CALL]}]
        asked, whole = jinja(smelt, model.file, model.bos, model.eos,
                             [{"messages": question, "tools": tools, "add_generation_prompt": True},
                              {"messages": question + said, "tools": tools, "add_generation_prompt": False}])
        if self.CALL["function"]["name"] not in whole[len(asked):]:  # it writes nothing of calls
            return "<|tool_call|>" + json.dumps([self.CALL["function"]])
        return whole[len(asked):]


SMALL, SMALL_BOS = ROOT / "testdata" / "models" / "llama", "<|begin_of_text|>"


def imported(smelt, file, store):
    """A small model with the chat template of `file` in a store: its template layer, its GGUF."""
    subprocess.run([smelt, "import", str(SMALL), "m", "--store", str(store), "--chat-template", str(file), "--require-template",
                    "--type", "f16", "--validate", "off"],
                   capture_output=True, text=True, check=True)
    manifest = json.loads((store / "manifests/registry.ollama.ai/library/m/latest").read_text())
    blobs = {x["mediaType"].rsplit(".")[-1]: store / "blobs" / x["digest"].replace(":", "-") for x in manifest["layers"]}
    return blobs["template"].read_text(), blobs["model"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smelt", required=True)
    parser.add_argument("--shared", type=pathlib.Path, default=os.environ.get("SMELT_SHARED_DIR"))
    parser.add_argument("--work", help="not used")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if args.shared is None or not args.shared.is_dir() or shutil.which("go") is None:
        print("SKIPPED: chat_formats.py needs go and --shared with Ollama's render_template")
        return 77
    renderings = json.loads((args.shared / "fixtures" / "chat_templates" / "renderings.json").read_text())["templates"]
    published = json.loads((REFERENCES / "published.json").read_text())
    recorded = json.loads((FORMATS / "renderings.json").read_text())
    probes, tool_probes = recorded["probes"], recorded["tool_probes"]
    wrong, equal, trims = [], 0, set()
    with tempfile.TemporaryDirectory() as folder:
        go, old, calls = Go(args.shared, folder), Go(args.shared, folder, OLD), Calls(args.shared, folder)
        for path in sorted(FORMATS.glob("*.modelfile")):
            name, template = path.stem, template_of(path.stem)
            models = [Model(n, args.shared / "fixtures" / "chat_templates" / f"{n}.jinja", renderings[n]["bos"], renderings[n]["eos"])
                      for n, of in published.items() if of == name]
            if (REFERENCES / f"{name}.jinja").exists():
                models.append(Model(name, REFERENCES / f"{name}.jinja", "<s>", "</s>"))
            if not models:
                wrong.append(f"{name}: no Jinja template shows that it is right")
                continue
            by_jinja = {model: jinja(args.smelt, model.file, model.bos, model.eos, probes) for model in models}
            by_go = [text if first is not None else None for text, first in zip(go.render(template, probes), by_jinja[models[0]])]
            if "currentDate" not in template and any(a != b for a, b in zip(by_go, old.render(template, probes)) if a is not None):
                wrong.append(f"{name}: Ollama {OLD} renders it otherwise")
            if args.record:
                recorded["renderings"][name] = by_go
            elif recorded["renderings"].get(name) != by_go:
                wrong.append(f"{name}: the recorded renderings are others")
            if ".Tools" in template:
                with_tools = {model: jinja(args.smelt, model.file, model.bos, model.eos, tool_probes) for model in models}
                by_go_tools = [text if first is not None else None for text, first in zip(go.render(template, tool_probes), with_tools[models[0]])]
                if "currentDate" not in template and any(a != b for a, b in
                                                         zip(by_go_tools, old.render(template, tool_probes)) if a is not None):
                    wrong.append(f"{name}: Ollama {OLD} renders tools otherwise")
                if args.record:
                    recorded["tool_renderings"][name] = by_go_tools
                elif recorded["tool_renderings"].get(name) != by_go_tools:
                    wrong.append(f"{name}: the recorded renderings with tools are others")
            if ".Thinking" in template:
                if "currentDate" not in template:
                    old.render(template, thoughtful(False))  # which knows no such name
                for model in models:
                    for text, jinja_text in zip(go.render(template, thoughtful(True)), jinja(args.smelt, model.file, model.bos, model.eos, thoughtful(False))):
                        difference = "" if ".ToolCalls" not in template else model.difference(text, jinja_text)
                        equal += not difference
                        if difference:
                            wrong.append(f"{name}, {model.name}, thoughts: {difference}")
            for model in models if ".Tools" in template else []:
                tools = tool_probes[0]["tools"]
                difference = calls.wrong(template, calls.answer(args.smelt, model, tools), tools)
                equal += not difference
                if difference:
                    wrong.append(f"{name}, {model.name}: {difference}")
            for model in models:
                for probe, text, jinja_text in zip(tool_probes, by_go_tools, with_tools[model]) if ".Tools" in template else []:
                    difference = model.difference(text, jinja_text, probe["now"])
                    equal += not difference
                    if difference:
                        wrong.append(f"{name}, {model.name}, {probe['name']}: {difference}")
                if ".Tools" in template and model.name in renderings:
                    cases = [without_ids(c) for c in renderings[model.name]["cases"] if askable_with_tools(c)]
                    for case, text, jinja_text in zip(cases, go.render(template, cases), jinja(args.smelt, model.file, model.bos, model.eos, cases)):
                        difference = "" if jinja_text is None else model.difference(text, jinja_text)
                        equal += not difference
                        if difference:
                            wrong.append(f"{name}, {model.name}, recorded with tools: {difference}")
                for probe, text, jinja_text in zip(probes, by_go, by_jinja[model]):
                    difference = model.difference(text, jinja_text, probe["now"])
                    equal += not difference
                    if difference:
                        wrong.append(f"{name}, {model.name}, {probe['name']}: {difference}")
                layer, by_file = "", []
                # What is recorded is built into the program; and a template with its own BOS is of models with this token alone.
                if not args.record and (not model.bos or model.bos not in model.file.read_text()):
                    layer, gguf = imported(args.smelt, model.file, pathlib.Path(folder, "store"))
                    asked = probes + (tool_probes if ".Tools" in template else [])
                    by_file = jinja(args.smelt, gguf, None, None, asked)
                for probe, text, jinja_text in zip(asked, go.render(layer, asked), by_file) if layer else []:
                    same = jinja_text is None or jinja_text in (text, SMALL_BOS + text)
                    equal += same
                    if not same:
                        wrong.append(f"{name}, {model.name} imported, {probe['name']}: other texts\n  go    {text!r}\n  jinja {jinja_text!r}")
                if model.file.parent == REFERENCES:
                    continue
                cases = [c for c in renderings[model.name]["cases"] if askable(c)]
                if model.name in EMPTY_IS_OTHER:
                    cases = [c for c in cases if c["name"] != "empty contents"]
                stripped = [go.render(template, [trimmed(c, roles) for c in cases]) for roles in (["user"], ["assistant"], ["user", "assistant"])]
                for case, text, *of_stripped in zip(cases, go.render(template, cases), *stripped, strict=True):
                    difference = model.difference(text, case["result"])
                    if difference and not all(model.difference(t, case["result"]) for t in of_stripped):
                        trims.add(model.name)  # Go's templates cannot trim: equal for contents without outer blanks
                        difference = ""
                    equal += not difference
                    if difference:
                        wrong.append(f"{name}, {model.name}, case {case['name']}: {difference}")
    if args.record:
        for member in ["renderings", "tool_renderings"]:
            recorded[member] = dict(sorted(recorded[member].items()))
        (FORMATS / "renderings.json").write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n")
    print("\n".join(wrong))
    print("contents are trimmed by the Jinja templates alone of:", ", ".join(sorted(trims)))
    print(f"{equal} renderings equal, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
