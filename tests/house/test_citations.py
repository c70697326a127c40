"""Every rule of the planner, and every mistake of others, is cited by a test that holds it.

docs/scheduling.md is the list: its rules in §3 and its pitfalls in §4. A citation counts where
it is the name or the docstring of a test, or an argument of its decorators (a case's `id`);
what a comment or the head of a file says proves nothing.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs/scheduling.md").read_text()
RULES = [*range(1, 17), 19]
"""Those that the planner carries out; R17 and R18 are other rooms'."""

PITFALLS = CONTRACT.split("Pitfalls of other schedulers")[1].split("\n## ")[0]
SOURCE = re.compile(
    r"(?:Kueue|Volcano|kubernetes) (?:PR )?#\d+|#\d+(?=\))|Kueue TAS|Slurm's manual|HTCondor|FGD"
)


def sources() -> list[str]:
    """Where each pitfall was seen; `Kueue #6925, #15228` are two."""
    found = SOURCE.findall(PITFALLS)
    return [f"Kueue {name}" if name.startswith("#") else name for name in found]


def cited() -> list[str]:
    """What each test says of itself: its name, its docstring and its decorators' strings."""
    said = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.parent.name == "house":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("test_"):
                    said.append(_words(node))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                # A case that stands in a list of its own: `pytest.param(..., id="...")`.
                ids = [k.value for k in node.keywords if k.arg == "id"]
                said += [str(i.value) for i in ids if isinstance(i, ast.Constant)]
    return said


def _words(test: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    name = re.sub(r"_r(\d+)(?=_)", r" R\1 ", test.name)
    strings = [
        str(node.value)
        for decorator in test.decorator_list
        for node in ast.walk(decorator)
        if isinstance(node, ast.Constant)
    ]
    return " ".join([name, ast.get_docstring(test) or "", *strings])


SAID = "\n".join(cited())


def test_the_contract_names_the_rules_and_pitfalls_that_are_looked_for():
    assert all(f"**R{number} " in CONTRACT for number in RULES)
    assert len(sources()) == 18
    assert {"Kueue #14543", "Kueue #6925", "Kueue PR #10145", "FGD"} <= set(sources())


@pytest.mark.parametrize("number", RULES)
def test_each_rule_is_cited_by_a_test(number):
    assert re.search(rf"\bR{number}\b", SAID)


@pytest.mark.parametrize("source", sources())
def test_each_pitfall_is_cited_by_a_test(source):
    words = r"\s+".join(map(re.escape, source.split()))
    assert re.search(rf"{words}(?!\d)", SAID)
