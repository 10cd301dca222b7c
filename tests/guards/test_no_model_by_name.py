"""No file asks whether a model is an NCP but the one that defines it: models say how they are
drawn, judged and trained.
"""

import ast

import source

NAMED = {"NCP"}
OWN = {"models/ncp.py"}


def asked(text: str) -> list[int]:
    """The lines on which ``isinstance`` or ``issubclass`` names one of them."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in ("isinstance", "issubclass"):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            names |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
            lines += [node.lineno] if names & NAMED else []
    return lines


def test_no_file_asks_for_an_ncp():
    """Fault: an estimator, report or stage that treats an NCP apart, and the next tilted model not
    at all.
    """
    wrong = [
        f"{path.relative_to(source.ROOT)}:{line}"
        for path in sorted(source.ROOT.rglob("*.py"))
        if str(path.relative_to(source.ROOT)) not in OWN
        for line in asked(path.read_text())
    ]
    assert not wrong, (
        f"ask the model (`tilts`, `untilted`, `default_sampler`, ...) and not its class: {wrong}"
    )


def test_the_guard_catches():
    lines = [
        "isinstance(m, NCP)",
        "isinstance(m, (VAE, models.NCP))",
        "issubclass(t, NCP)",
        "isinstance(m, VAE)",
        "NCP(m)",
    ]
    assert asked("\n".join(lines)) == [1, 2, 3]
