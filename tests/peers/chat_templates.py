#!/usr/bin/env python3
"""Our evaluator of chat templates against Jinja2 itself, in the environment that transformers renders them in.

    chat_templates.py --smelt PROGRAM [--shared DIR] [--count 2000] [--seed 1]
    chat_templates.py --record testdata/chat_templates/cases.json      # what Jinja2 makes of every case below

Small templates that together use every filter, test and method we know, then COUNT random ones put together of the same parts. Where both
render, texts are equal; where Jinja2 raises, smelt says so, and the other way round. Needs jinja2 (PyPI).
"""
import argparse
import copy
import datetime
import json
import pathlib
import random
import subprocess
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2025, 1, 15, 10, 30, 0)

# What every case may use.
VARIABLES = {
    "n": 7, "neg": -3, "zero": 0, "x": 2.5, "big": 1e16, "tiny": 1e-7, "t": True, "f": False, "none_": None, "s": "Hello, World",
    "u": "Zürich ß İ 日本 🎉", "empty": "", "spaces": "  a  b\tc \n", "lines": "one\ntwo\r\n\n  three", "html": "<b>\"x\" & 'y'</b>",
    "list": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"], "nested": [[1, 2], [3], []], "mixed": [1, "a", None, 2.0, True, [1], {"k": 1}],
    "d": {"b": 1, "a": 2, "items": "no method", "C": 3}, "deep": {"x": {"y": [10, {"z": "end"}]}}, "emptylist": [], "emptydict": {},
    "people": [{"name": "Ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 25}, {"name": "Cid", "age": 30, "tags": []}],
}

TEXT_EXPRESSIONS = ["s", "u", "empty", "spaces", "lines", "html", "'%s-%s'", "'a,b,,c'", "'x' * 3", "s ~ n", "'-12'", "'0x1F'", "' 3.5e2 '", "'Ünï'", "'tEsT it'"]
NUMBERS = ["n", "neg", "zero", "x", "big", "tiny", "t", "2", "-7", "0.1", "1000000", "7 // 2", "-7 // 2", "-7 % 3", "7 % -3", "2 ** 10", "7 / 2", "3.0"]
LISTS = ["list", "words", "nested", "mixed", "emptylist", "people", "range(5)", "range(2, 9, 3)", "range(5, 0, -2)", "d.keys()", "d.values()", "(1, 2, 3)", "'abc'|list"]
DICTS = ["d", "deep", "emptydict", "{'a': 1, 2: 'b', none: 3.0}", "dict(a=1, b='c')"]
ODD = ["none_", "nothing", "nothing2", "d.nokey", "list[10]", "d['items']", "d.items", "loopless"]
VALUES = TEXT_EXPRESSIONS + NUMBERS + LISTS + DICTS + ODD
FILTERS = ["abs", "attr('name')", "batch(2)|list", "batch(2, 'z')|list", "capitalize", "center(20)", "count", "default('D')", "default('D', true)", "d('q')", "dictsort",
           "dictsort(true)", "dictsort(by='value')", "dictsort(false, 'key', true)", "e", "escape", "first", "float", "float(9.5)", "forceescape", "indent", "indent(2)", "indent(2, true)",
           "indent('> ', blank=true)", "int", "int(5)", "int(base=16)", "items|list", "join", "join(', ')", "join('|', 'name')", "join(', ', attribute='age')", "last", "length", "list", "lower",
           "map('upper')|list", "map(attribute='name')|list", "map(attribute='name', default='?')|join(',')", "map('length')|list", "max", "min", "max(attribute='age')", "min(attribute='age')",
           "reject('odd')|list", "rejectattr('tags')|list", "rejectattr('age', 'equalto', 30)|list", "replace('a', 'b')", "replace('l', 'L', 1)", "reverse|list", "reverse", "round", "round(1)", "round(2, 'ceil')",
           "round(method='floor')", "safe", "select|list", "select('string')|list", "select('in', [1, 2])|list", "selectattr('tags')|list", "selectattr('age', 'gt', 26)|map(attribute='name')|list", "slice(2)|list", "sort",
           "sort(reverse=true)", "sort(attribute='age')", "sort(case_sensitive=true)", "string", "sum", "sum(attribute='age')", "title", "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)",
           "tojson(sort_keys=true)", "tojson(separators=(',', ':'))", "trim", "trim('H')", "truncate(8)", "truncate(8, true)", "truncate(5, true, '', 0)", "unique|list", "unique(attribute='age')|list", "upper",
           "urlencode", "wordcount", "format('a', 'b')", "groupby('age')", "groupby('age')|list", "nofilter", "safe ~ '<'", "string|length"]
TESTS = ["boolean", "callable", "defined", "undefined", "divisibleby 3", "divisibleby(2)", "eq 7", "equalto('a')", "even", "odd", "false", "true", "float", "integer", "number", "ge 2", "gt 2", "le 2", "lt 2", "in [7, 'a']",
         "iterable", "lower", "upper", "mapping", "none", "ne 1", "sameas none", "sequence", "string", "escaped", "filter", "test", "not defined", "not none", "not string", "sameas true", "notest"]
METHODS = ["strip()", "strip('Hd')", "lstrip()", "rstrip()", "rstrip('d')", "startswith('He')", "startswith(('x', 'H'))", "endswith('d')", "endswith('lo', 0, 5)", "replace('o', '0')", "replace('', '-')", "replace('o', '0', 1)", "split()",
           "split(',')", "split(',', 1)", "split(None, 1)", "rsplit(None, 1)", "rsplit(',', 1)", "split('')", "splitlines()", "splitlines(true)", "partition(',')", "rpartition('o')", "find('o')", "find('o', 5)", "rfind('o')", "index('o')",
           "rindex('zz')", "count('o')", "count('')", "join(['a', 'b'])", "join(list)", "lower()", "upper()", "capitalize()", "title()", "swapcase()", "ljust(15, '.')", "rjust(15)", "center(15, '*')", "center(16, '*')", "zfill(15)", "removeprefix('He')",
           "removesuffix('ld')", "expandtabs(4)", "isspace()", "isdigit()", "isalpha()", "isalnum()", "isupper()", "islower()", "isnumeric()", "isdecimal()", "isascii()", "format(1, 2)", "get('a')", "get('zz', 5)", "get('zz')", "items()", "items()|list", "keys()|list", "values()|list", "copy()",
           "append(1)", "update({})", "pop()", "index(1)", "count(1)", "__class__", "__class__.__mro__", "nomethod()", "a", "x.y", "x.y[1].z", "0", "name"]
SUBSCRIPTS = ["[0]", "[-1]", "[1:]", "[:-1]", "[::-1]", "[1:3]", "[::2]", "[-2:]", "[5:1:-2]", "['a']", "['items']", "['x']['y'][0]", "[10]", "[none]", "['__class__']", "[true]", "[:0]", "[1.5]"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]

STATEMENTS = [
    "{% for i in range(3) %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for p in people %}{{ loop.index }}/{{ loop.length }} {{ loop.first }} {{ loop.revindex0 }} {{ p.name }}\n{% endfor %}",
    "{% for p in people if p.age == 30 %}{{ loop.index0 }}{{ p.name }}{% else %}none{% endfor %}",
    "{% for p in people if p.age == 99 %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, b in nested %}{{ a }}{% endfor %}",
    "{% for i in list %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}",
    "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }} {% endfor %}",
    "{% for i in nothing %}x{% else %}empty{% endfor %}",
    "{% for i in none_ %}x{% endfor %}",
    "{% for i in n %}x{% endfor %}",
    "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% set a = 1 %}{% for i in list %}{% set a = a + i %}{{ a }} {% endfor %}{{ a }}",
    "{% set ns = namespace(a=1) %}{% for i in list %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% set a, b = 1, 'two' %}{{ b }}{{ a }}",
    "{% set (a, (b, c)) = (1, (2, 3)) %}{{ a + b + c }}",
    "{% set a, b = [1] %}{{ a }}",
    "{% set x.y = 1 %}",
    "{% if t %}{% set q = 5 %}{% endif %}{{ q }}",
    "{% if f %}{% set q = 5 %}{% endif %}[{{ q }}]",
    "{% set c %}  in {{ n }}  {% endset %}[{{ c }}]",
    "{% set c | upper | trim %}  in {{ n }}  {% endset %}[{{ c }}]",
    "{% macro m(a, b=2, c=none) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c='x') }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, k=4) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, k=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m(a) %}{% if a > 0 %}{{ a }}{{ m(a - 1) }}{% endif %}{% endmacro %}{{ m(5) }}",
    "{% macro m(a) %}{{ a }}{{ m(a + 1) }}{% endmacro %}{{ m(5) }}",
    "{% macro m() %}{{ outer }}{% endmacro %}{% set outer = 3 %}{{ m() }}",
    "{% macro m() %}{% set inner = 4 %}{{ inner }}{% endmacro %}{{ m() }}[{{ inner }}]",
    "{% macro m(x) %}<{{ caller(x) }}>{% endmacro %}{% call(y) m(5) %}got {{ y }}{% endcall %}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{{ n }}{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}in{{ n }}{% endcall %}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}abc {{ s }}{% endfilter %}",
    "{% with a = 1, b = n %}{{ a + b }}{% endwith %}[{{ a }}]",
    "{% raw %}{{ not }} {% this %}{% endraw %}",
    "  {% raw -%}  x  {%- endraw %}  y",
    "a {# comment {{ x }} #} b",
    "a {#- comment -#} b",
    "a\n  {# comment #}\nb",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%- if t -%}\n  b\n  {%- endif -%}\nc\n",
    "a\n  {%+ if t +%}\n  b\n  {%+ endif %}\nc\n",
    "a\n  {{ n }}\n  {{- n -}}\n  b\n\n",
    "x{% if t %}\n\ny{% endif %}\n\nz",
    "{% if n == 7 and x > 2 or f %}yes{% else %}no{% endif %}",
    "{% if n is odd and s is string %}yes{% elif 1 %}other{% else %}no{% endif %}",
    "{% if not n in list %}A{% endif %}{% if n not in list %}B{% endif %}{% if 1 < 2 < 3 %}C{% endif %}{% if 3 > 2 > 2 %}D{% endif %}",
    "{{ 'a' if t else 'b' }}{{ 'c' if f }}{{ 'd' if f else 'e' if f else 'g' }}",
    "{{ raise_exception('stop ' ~ n) }}",
    "{{ strftime_now('%Y-%m-%d %d %b %B %a %A %H:%M:%S %j %-d %y') }}",
    "{% generation %}{% set z = 1 %}{{ n }}{% endgeneration %}[{{ z }}]",
    "{% for row in nested recursive %}{% if row is iterable %}[{{ loop(row) }}]{% else %}{{ row }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "{% for row in nested %}{{ loop(row) }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}",
    "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }}",
    "{{ 'a' 'b' \"c\" }}{{ '\\n\\t\\x41\\u00e9\\\\' }}{{ '\\d' }}{{ \"it's\" }}{{ 'say \"x\"' }}",
    "{{ 1_000 }}{{ 0x1f }}{{ 0b101 }}{{ 0o17 }}{{ 1e3 }}{{ 1.5e-3 }}{{ 12.0 }}",
    "{{ [1, 'a', none, true, 2.5, {'k': [1]}, (1,), (), (1, 2)] }}", "{{ {'a': 'it\\'s', 'b': \"q\"} }}", "{{ mixed }}", "{{ people }}", "{{ u | list }}",
    "{{ '{} {1}'.format(1, 2) }}", "{{ '{} {}'.format('a', n) }}", "{{ '{a} {b!r} {{}}'.format(a=1, b='x') }}", "{{ '{:>8}|{:<8}|{:^8}|{:*^9}'.format('a', 'b', 'c', 'd') }}",
    "{{ '{:05d} {:+} {:,} {:x} {:#x} {:b} {:.2f} {:10.3f}| {:e} {:%} {:g}'.format(42, 5, 1234567, 255, 255, 5, 3.14159, 2.5, 12345.678, 0.25, 0.0001) }}",
    "{{ '{0[a]} {1.x}'.format(d, deep) }}", "{{ '{0.__class__}'.format(n) }}", "{{ '{:>{}}'.format('a', 5) }}", "{{ '{'.format(1) }}", "{{ '{nokey}'.format(a=1) }}", "{{ '{:d}'.format('a') }}",
    "{{ '%s is %d and %.3f %5s|%-5s|%05d %x %%' % ('a', 3, 2.5, 'b', 'c', 42, 255) }}", "{{ '%(a)s %(b)s' % d }}", "{{ '%s' % list }}", "{{ '%s %s' % (1,) }}", "{{ 'x' % 1 }}", "{{ '%d' % 'a' }}", "{{ '%r %c %i' % ('a', 'b', 3) }}",
    "{{ d.items }}|{{ d['items'] }}|{{ people[0].items is mapping }}|{{ people[0]['items'] is defined }}", "{{ deep.x.y.1.z }}", "{{ list.0 }}{{ list.5 }}", "{{ nothing.a }}", "{{ nothing['a'] }}", "{{ d.q.r }}", "{{ nothing() }}", "{{ s() }}", "{{ n.x }}",
    "{{ -n }}{{ +n }}{{ -x }}{{ - 3 ** 2 }}{{ 2 ** 3 ** 2 }}", "{{ not n }}{{ not not n }}", "{{ n is divisibleby 7 is true }}", "{{ 5 | string ~ 'a' }}", "{{ -5 | abs }}", "{{ (1, 2) + (3,) }}{{ [1] + [2] }}{{ [0] * 3 }}{{ 3 * 'ab' }}",
    "{{ [1, 2] == [1, 2] }}{{ (1, 2) == [1, 2] }}{{ {'a': 1} == {'a': 1.0} }}{{ 1 == true }}{{ '1' == 1 }}{{ nothing == nothing2 }}", "{{ [1, 3] < [2] }}{{ 'b' > 'a' }}{{ 'a' < 1 }}",
    "{{ 7 / 0 }}", "{{ 7 % 0 }}", "{{ 7.5 // 2 }}{{ -7.5 % 2 }}{{ 1e300 * 1e10 }}", "{{ 0.1 + 0.2 }} {{ 1e22 }} {{ 1e15 }} {{ 1.0 }} {{ 1e-5 }} {{ 0.0001 }} {{ 123456789.123 }}",
    "{{ s | upper | lower | title }}", "{{ s | unknown }}", "{{ s is unknown }}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% do x %}", "{% if %}", "{% for x %}{% endfor %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{% if t %}", "{% endif %}", "{% else %}", "{{ 'a", "{# a", "{{ a b }}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{{ [1, 2 }}", "{{ {1: } }}", "{% macro %}{% endmacro %}", "{% break %}", "{{ s.__class__.__mro__ }}", "{{ s['__class__']['x'] }}", "{{ ''.__class__ }}",
    "{{ range(100001) }}", "{{ range(1000000000000)|length }}", "{{ x.is_integer }}", "{{ namespace(a=1).a }}{{ namespace({'b': 2}, c=3).b }}", "{{ dict([('a', 1)]) }}{{ dict(d, z=1)['z'] }}", "{{ [1,2,3]|select('odd') is iterable }}{{ [1]|select is sequence }}{% if []|select %}T{% endif %}",
    "{% set g = [1,2,3]|map('string') %}{{ g|join(',') }}|{{ g|join(',') }}", "{{ [3,1]|sort|first }}{{ ''|first }}{{ ['b','A']|sort }}{{ [1,'a']|sort }}", "{{ caller }}", "{{ loop }}",
    "{{ d | tojson }} {{ u | tojson }} {{ html | tojson }} {{ [1.0, 1e20, 0.1, none, true] | tojson }} {{ {'a': {'b': []}, 'c': {}} | tojson(indent=4) }}", "{{ nothing | tojson }}", "{{ {1: 2, none: 3, true: 4, 1.5: 6} | tojson }}", "{{ {(1, 2): 3} | tojson }}",
]


def environment():
    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

        def _render(self, caller):
            return caller()

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return env


# Texts in which Jinja2 prints addresses or names of Python's own types.
UNSTABLE = ("<generator object", "<bound method", "<built-in", "<function", "<Macro", "<class", " object at 0x", "set()", "<Namespace", "<Cycler", "<jinja2", "Undefined")


def reference(env, source):
    """{"result"}, {"error"}, or None where the text is Python's own business."""
    try:
        text = env.from_string(source).render(messages=[], tools=None, documents=None, add_generation_prompt=True, bos_token="<s>", eos_token="</s>", **copy.deepcopy(VARIABLES))
    except RecursionError:
        return {"error": "RecursionError"}
    except Exception as e:  # whatever Python raises is an error for us
        return {"error": f"{type(e).__name__}: {e}"}
    return None if any(u.lower() in text.lower() for u in UNSTABLE) else {"result": text}


def fixed_cases():
    cases = list(STATEMENTS)
    for value in VALUES:
        cases.append("{{ %s }}" % value)
        cases += ["{{ (%s) | %s }}" % (value, f) for f in FILTERS]
        cases += ["{{ (%s) is %s }}" % (value, t) for t in TESTS]
        cases += ["{{ (%s).%s }}" % (value, m) for m in METHODS if not (value in ODD and m == "__class__")]  # Jinja2 sees its own class there
        constant = value in NUMBERS and value not in VARIABLES  # Jinja2 computes those when it compiles, and takes an error there for an undefined value
        cases += ["{{ (%s)%s }}" % (value, s) for s in SUBSCRIPTS if not ((constant or value.startswith(("range", "{"))) and ":" in s)]
    for op in OPERATORS:
        cases += ["{{ (%s) %s (%s) }}" % (a, op, b) for a in VALUES[::2] for b in VALUES[::3] if not (op == "-" and "d.keys()" in a + b)]  # sets
    return cases


class Random:
    """Templates put together at random."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def expression(self, depth):
        r = self.r
        if depth == 0:
            return r.choice(VALUES)
        a = lambda: self.expression(r.randrange(depth))
        return r.choice([lambda: "(%s)|%s" % (a(), r.choice(FILTERS)), lambda: "(%s) is %s" % (a(), r.choice(TESTS)), lambda: "(%s).%s" % (a(), r.choice(METHODS)),
                         lambda: "(%s)%s" % (a(), r.choice(SUBSCRIPTS)), lambda: "(%s) %s (%s)" % (a(), r.choice(OPERATORS), a()), lambda: "(%s if %s else %s)" % (a(), a(), a()),
                         lambda: "[%s, %s]" % (a(), a()), lambda: "{'k': %s}" % a(), lambda: "not (%s)" % a(), a, a])()

    def block(self, depth):
        r = self.r
        sign = lambda: r.choice(["", "", "-", "+"])
        end = lambda: r.choice(["", "", "-"])
        space = lambda: r.choice(["", " ", "\n", "  \n  ", "text", "\n\n", "\t"])
        e = lambda: self.expression(r.randrange(3))
        if depth == 0:
            return space() + r.choice(["{{%s %s %s}}" % (end(), e(), end()), "{#%s c %s#}" % (end(), end()), space()]) + space()
        b = lambda: "".join(self.block(r.randrange(depth)) for _ in range(r.randrange(1, 3)))
        tag = lambda text: "{%%%s %s %s%%}" % (sign(), text, end())
        return space() + r.choice([
            lambda: tag("if " + e()) + b() + tag("else") + b() + tag("endif"), lambda: tag("for i in " + e()) + b() + "{{ loop.index }}{{ i }}" + tag("endfor"),
            lambda: tag("for a, c in (%s)|items" % e()) + b() + tag("endfor"), lambda: tag("set v = " + e()) + "{{ v }}" + b(), lambda: tag("set v") + b() + tag("endset") + "[{{ v }}]",
            lambda: tag("macro m(q, w=%s)" % e()) + b() + "{{ q }}{{ w }}" + tag("endmacro") + "{{ m(%s) }}" % e(), lambda: tag("filter upper") + b() + tag("endfilter"),
            lambda: tag("with y = " + e()) + "{{ y }}" + b() + tag("endwith"), b])() + space()


def render_all(smelt, work, sources):
    """Each template by the program: one process a template would take minutes, so the cases travel as one template's variables cannot; a file each."""
    line = json.dumps({"messages": [], "kwargs": VARIABLES, "now": NOW.isoformat()})
    for source in sources:
        work.write_bytes(source.encode())
        p = subprocess.run([smelt, "template", str(work), "--jsonl", "--bos", "<s>", "--eos", "</s>"], input=line + "\n", capture_output=True, text=True)
        if p.returncode == 1 and p.stderr.startswith("smelt: "):
            yield {"error": p.stderr}
        elif p.returncode == 0:
            yield json.loads(p.stdout)
        else:
            yield {"crash": f"exit {p.returncode}: {p.stderr[-200:]}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smelt")
    parser.add_argument("--shared")
    parser.add_argument("--work", default="/tmp")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--fixed", type=int, default=1, help="every how many-th of the fixed cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record")
    a = parser.parse_args()
    env = environment()
    fixed = fixed_cases()
    if a.record:
        chosen = STATEMENTS + random.Random(0).sample(fixed[len(STATEMENTS):], 1500)
        cases = [{"template": s, **r} for s in chosen if (r := reference(env, s)) is not None]
        with open(a.record, "w", encoding="utf-8") as f:
            json.dump({"made_with": "jinja2 " + jinja2.__version__, "now": NOW.isoformat(), "variables": VARIABLES, "cases": cases}, f, ensure_ascii=False, indent=0)
        print(f"{len(cases)} cases")
        return 0
    r = Random(a.seed)
    sources = fixed[::a.fixed] + [r.block(3) for _ in range(a.count)]
    work = pathlib.Path(a.work) / "template.jinja"
    wanted = [(s, reference(env, s)) for s in sources]
    wanted = [(s, w) for s, w in wanted if w is not None]
    passed = failed = 0
    for (source, want), got in zip(wanted, render_all(a.smelt, work, (s for s, _ in wanted))):
        same = "crash" not in got and (got["result"] == want["result"] if "result" in want and "result" in got else ("error" in want and "error" in got))
        passed, failed = passed + same, failed + (not same)
        if not same:
            print(f"FAIL {source!r}\n     jinja2: {str(want)[:300]}\n     smelt:  {str(got)[:300]}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
