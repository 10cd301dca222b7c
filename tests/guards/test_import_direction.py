"""Imports point one way: the design's rows, no cycle even through ``__init__``, priors that stand
alone.
"""

import pytest
import source


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return source.imports(root)


def test_imports_point_up_or_left():
    """Fault: a model that imports an estimator. The message is the offending line."""
    wrong = source.backwards(source.imports())
    assert not wrong, "imports against the rows of tests/guards/source.py:\n" + "\n".join(wrong)


def test_every_module_has_a_row():
    """Fault: a new module outside the layout."""
    units = {source.unit_of(module) for module in source.modules()} - source.FACADE
    homeless = sorted(unit for unit in units if source.place_of(unit) is None)
    assert not homeless, f"give these a row in tests/guards/source.py: {homeless}"


def test_there_is_no_cycle():
    """Fault: two files that need each other, perhaps through the package that holds them."""
    cycle = source.cycle(source.edges(source.imports()))
    assert not cycle, " -> ".join(name or "priorwise" for name in cycle)


def test_priors_stand_alone():
    """Fault: one prior built on another; what two share belongs to base."""
    wrong = [
        str(item)
        for item in source.imports()
        if item.importer.startswith("priors.")
        and item.imported.startswith("priors.")
        and item.imported != "priors.base"
    ]
    assert not wrong, "\n".join(wrong)


def test_the_guard_reads_the_source():
    """Fault: a guard that looks into an empty folder."""
    imports = source.imports()
    pairs = {(item.importer, item.imported) for item in imports}
    assert ("models.vae", "models.base") in pairs
    assert ("likelihoods", "distributions") in pairs  # from priorwise import distributions
    assert len(imports) > 60


FAULTS = {
    "down": (
        {"nn.py": "from priorwise.models import VAE"},
        "priorwise/nn.py:1: from priorwise.models import VAE",
    ),
    "right": (
        {"randomness.py": "import os\nfrom priorwise.nn import MLP"},
        "priorwise/randomness.py:2",
    ),
    "inside a function": (
        {"nn.py": "def f():\n    import priorwise.cli"},
        "priorwise/nn.py:2: import priorwise.cli",
    ),
    "relative": ({"nn.py": "from .models import VAE"}, "priorwise/nn.py:1"),
    "relative, of a package": (
        {"priors/base.py": "from ..models.vae import VAE"},
        "priorwise/priors/base.py:1",
    ),
    "submodule": (
        {"nn.py": "from priorwise import models", "models/__init__.py": ""},
        "priorwise/nn.py:1",
    ),
    "homeless": ({"models/vae.py": "from priorwise.helpers import f"}, "priorwise/models/vae.py:1"),
    "lazy": (
        {
            "priors/__init__.py": "if TYPE_CHECKING:\n    from priorwise.models import VAE\n"
            "else:\n    __getattr__, __dir__ = lazy_names(__name__)"
        },
        "priorwise/priors/__init__.py:2",
    ),
    "the package itself": (
        {"models/vae.py": "from priorwise import seeded"},
        "priorwise/models/vae.py:1",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_guard_catches(tmp_path, name):
    files, place = FAULTS[name]
    wrong = source.backwards(write(tmp_path / "priorwise", {"__init__.py": "", **files}))
    assert len(wrong) == 1
    assert place in wrong[0]


CYCLES = {
    "two files": {
        "models/__init__.py": "",
        "models/a.py": "from priorwise.models.b import B",
        "models/b.py": "from priorwise.models.a import A",
    },
    "through __init__": {
        "models/__init__.py": "from priorwise.models.a import A",
        "models/a.py": "from priorwise.models import B",
    },
    "through another package's __init__": {
        "models/__init__.py": "from priorwise.models.a import A",
        "models/a.py": "from priorwise.priors.p import P",
        "priors/__init__.py": "from priorwise.priors.q import Q",
        "priors/p.py": "",
        "priors/q.py": "from priorwise.models.b import B",
        "models/b.py": "",
    },
    "relative": {"models/__init__.py": "from .a import A", "models/a.py": "from . import A"},
    "lazy": {
        "models/__init__.py": "if TYPE_CHECKING:\n    from priorwise.models.a import A",
        "models/a.py": "from priorwise.models import A",
    },
}


@pytest.mark.parametrize("name", CYCLES)
def test_the_guard_catches_cycles(tmp_path, name):
    cycle = source.cycle(
        source.edges(write(tmp_path / "priorwise", {"__init__.py": "", **CYCLES[name]}))
    )
    assert cycle[0] == cycle[-1]
    assert len(cycle) > 1


def test_the_guard_accepts_what_is_sound(tmp_path):
    imports = write(
        tmp_path / "priorwise",
        {
            "__init__.py": "from priorwise.models import A",
            "nn.py": "",
            "models/__init__.py": "from priorwise.models.a import A\nfrom priorwise.models.b "
            "import B",
            "models/a.py": "from priorwise.nn import MLP\nimport torch",
            "models/b.py": "from .a import A",
        },
    )
    assert source.backwards(imports) == []
    assert source.cycle(source.edges(imports)) == []
