"""Every public estimator shows itself in an executed example, and every reference has a link."""

import ast
import doctest
import inspect
import re

import pytest
import source

from priorwise import estimators

LINK = re.compile(r"https?://\S+")


def functions():
    """The public estimators that are functions."""
    public = {name: getattr(estimators, name) for name in estimators.__all__}
    return {name: value for name, value in public.items() if inspect.isfunction(value)}


def examples(docstring):
    """The statements of a docstring that doctest executes and compares with printed results."""
    parsed = doctest.DocTestParser().get_examples(docstring)
    return [example for example in parsed if example.want and not example.options.get(doctest.SKIP)]


def section(docstring, title):
    """The lines of a section of a docstring; None without it."""
    lines = inspect.cleandoc(docstring).splitlines()
    if f"{title}:" not in lines:
        return None
    lines = lines[lines.index(f"{title}:") + 1 :]
    ends = [place for place, line in enumerate(lines) if line and not line.startswith(" ")]
    return "\n".join(lines[: ends[0]] if ends else lines)


def unlinked(text, module):
    """Definitions of a file, by dotted name, whose References block has no link."""

    def visit(node, name):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            references = section(ast.get_docstring(node) or "", "References")
            if references is not None and not LINK.search(references):
                yield name
        for child in ast.iter_child_nodes(node):
            suffix = f".{child.name}" if isinstance(child, (ast.ClassDef, ast.FunctionDef)) else ""
            yield from visit(child, name + suffix)

    return [*visit(ast.parse(text), module)]


@pytest.mark.parametrize("name", functions())
def test_estimator_has_an_executed_example(name):
    """Fault: an estimator that a reader meets without one line of use."""
    docstring = inspect.getdoc(functions()[name])
    assert section(docstring, "Example"), f"{name} has no section `Example:`"
    assert examples(docstring), f"the example of {name} prints nothing that doctest could compare"


def test_references_have_links():
    """Fault: a paper that a reader has to search for."""
    gaps = {
        name
        for module, path in source.modules().items()
        for name in unlinked(path.read_text(), module)
    }
    assert not gaps, f"expected a link in the References of {', '.join(sorted(gaps))}"


@pytest.mark.parametrize(
    ("docstring", "fails"),
    [
        ('"""A.\n\n    References:\n        B (C, 2020).\n    """', True),
        ('"""A.\n\n    References:\n        B (C, 2020). https://arxiv.org/abs/1\n    """', False),
        (
            '"""A.\n\n    References:\n        B.\n\n    Arguments:\n        x: https://c\n    """',
            True,
        ),
        ('"""A."""', False),
    ],
)
def test_guard_sees_missing_links(docstring, fails):
    """Fault: a guard that takes a link of another section, or sees none at all."""
    assert unlinked(f"class C:\n  def f():\n    {docstring}\n", "m") == (["m.C.f"] if fails else [])


def test_guard_sees_missing_examples():
    """Fault: an example that is skipped, or that has nothing to compare."""
    assert examples(">>> 1 + 1\n2\n")
    assert not examples(">>> x = 1\n")
    assert not examples(">>> 1 + 1  # doctest: +SKIP\n2\n")
