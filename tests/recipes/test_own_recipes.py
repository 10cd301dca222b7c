"""Recipes from a user's file: found, isolated from one another, and every mistake told in words."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from priorwise.config import DataConfig, OwnCodeError, Run, VAEConfig
from priorwise.recipes import UnknownRecipeError, recipe
from priorwise.recipes.result import result_record

HEAD = "from priorwise.config import DataConfig, Run, VAEConfig\n"
RECIPE = """
def mine(latent=3):
    return Run(name="mine", data=DataConfig(name="digits"), model=VAEConfig(latent=latent))

ready = mine(5)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file below the working directory."""
    monkeypatch.chdir(tmp_path)

    def file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return file


def test_a_function_or_a_run_of_a_file(write):
    """Fault: a recipe that is not the user's own."""
    path = write("recipes.py", HEAD + RECIPE)
    expected = Run(name="mine", data=DataConfig(name="digits"), model=VAEConfig(latent=3))
    assert recipe("recipes.py:mine") == recipe(f"{path}:mine") == expected
    assert recipe("./recipes.py:ready").model.latent == 5


def test_a_module(write, monkeypatch, tmp_path):
    write("own_package/__init__.py", "")
    write("own_package/recipes.py", HEAD + RECIPE)
    monkeypatch.syspath_prepend(tmp_path)
    assert recipe("own_package.recipes:mine").model.latent == 3


def test_files_and_neighbours_of_one_name_do_not_meet(write):
    """Fault: the second folder is given the first one's modules, without a word."""
    text = HEAD + "from own_neighbour import LATENT\nimport own_folder.inner\n"
    text += RECIPE.replace("latent=latent", "latent=LATENT + own_folder.inner.MORE")
    for folder, latent in (("a", 7), ("b", 11)):
        write(f"{folder}/recipes.py", text)
        write(f"{folder}/own_neighbour.py", f"LATENT = {latent}\n")
        write(f"{folder}/own_folder/__init__.py", "")
        write(f"{folder}/own_folder/inner.py", "MORE = 1\n")
    before, modules = list(sys.path), set(sys.modules)
    assert recipe("a/recipes.py:mine").model.latent == 8
    assert recipe("b/recipes.py:mine").model.latent == 12
    assert recipe("a/recipes.py:mine").model.latent == 8
    assert sys.path == before
    left = {name for name in set(sys.modules) - modules if "own" in name}
    assert all(name.startswith("own_code_recipes_") for name in left)
    assert len(left) == 2


def test_what_a_function_imports_when_it_is_called(write):
    """Fault: a folder that is importable while the file is read and no more when it is called."""
    write("recipes.py", HEAD + RECIPE.replace("return", "import own_late\n    return", 1))
    write("own_late.py", "")
    assert recipe("recipes.py:mine").name == "mine"
    assert "own_late" not in sys.modules


def test_modules_of_elsewhere_stay_where_they_are(write, monkeypatch, tmp_path):
    """Fault: a library that a user's file is the first to import, and that nobody else has then."""
    for folder in (tmp_path, tmp_path / "library"):
        name = f"own_library_{folder.name[:7]}".replace("-", "_")
        write(str(folder / f"{name}.py"), "")
        write("recipes.py", f"import {name}\n" + HEAD + RECIPE)
        monkeypatch.syspath_prepend(folder)
        recipe("recipes.py:mine")
        assert sys.modules.pop(name)


def test_a_changed_file_is_executed_again(write):
    """Fault: a cache that a user who edits a file does not see through; one size, one second."""
    for latent in (3, 4):
        write("recipes.py", HEAD + RECIPE.replace("latent=3", f"latent={latent}"))
        assert recipe("recipes.py:mine").model.latent == latent
    assert not list(Path().glob("**/__pycache__"))


MISTAKES = {
    "nowhere.py:mine": ["expected a Python file; there is none at", "nowhere.py"],
    "bad.py:need": ["expected 'need' in bad.py", "Did you mean 'needs'?", "It defines needs,"],
    "bad.py:needs": ["bad.py:needs to take no arguments; it needs epochs, lr."],
    "bad.py:number": ["expected bad.py:number to be a function that returns a Run", "got int"],
    "bad.py:forgets": ["bad.py:forgets to be a function that returns a Run", "got NoneType"],
    "bad.py:fails": ["calling bad.py:fails failed:", 'bad.py", line 7, in fails', "KeyError: 'x'"],
    "bad.py:invalid": ["calling bad.py:invalid failed:", "in invalid", "latent"],
    "syntax.py:mine": ["executing syntax.py failed:", 'syntax.py", line 2', "SyntaxError"],
    "lacks.py:mine": ["executing lacks.py failed:", "line 1, in <module>", "'own_nothing'"],
    "exits.py:mine": ["executing exits.py failed:", "line 1, in <module>", "SystemExit: 3"],
    "own_nothing.at_all:mine": [
        "the module 'own_nothing.at_all'",
        "no 'own_nothing'",
        "PYTHONPATH",
    ],
    "bad.py:a-b": ["FILE.py:NAME or package.module:NAME", "'bad.py:a-b'"],
    "bad.py:": ["FILE.py:NAME or package.module:NAME", "'bad.py:'"],
    "bad.txt :x": ["neither a .py file nor a module"],
    "https://x.org/bad.py:mine": ["a file on this machine", "https://x.org/bad.py:mine"],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(write, name):
    """Fault: a traceback through our files, or a message without the user's own line."""
    bad = HEAD + "def needs(epochs, lr, *more, best=None): ...\nnumber = 3\ndef forgets(): ...\n"
    bad += "def fails():\n    return {}['x']\ndef invalid():\n    return VAEConfig(latent=0)\n"
    write("bad.py", bad.replace("\nnumber", "\n\nnumber"))
    write("syntax.py", "x = 1\ny = (\n")
    write("lacks.py", "import own_nothing\n")
    write("exits.py", "raise SystemExit(3)\n")
    with pytest.raises(OwnCodeError) as refusal:
        recipe(name)
    for words in MISTAKES[name]:
        assert words in str(refusal.value)
    assert "own_code.py" not in str(refusal.value)


def test_a_file_without_a_name(write):
    write("recipes.py", "raise SystemExit(3)\n")
    with pytest.raises(UnknownRecipeError, match=r"name its function too: recipes\.py:NAME"):
        recipe("recipes.py")


def test_a_failed_file_can_be_mended(write):
    """Fault: half a module that is found again."""
    write("recipes.py", HEAD + "helper = missing\n")
    for _ in range(2):
        with pytest.raises(OwnCodeError, match="name 'missing' is not defined"):
            recipe("recipes.py:mine")
    write("recipes.py", HEAD + RECIPE)
    assert recipe("recipes.py:mine").name == "mine"


@pytest.mark.filterwarnings("ignore:.*has no checksums")
def test_a_result_names_a_packaged_recipe(write, tmp_path):
    """Fault: the name of a run, which is data, executed as the file of a recipe."""
    write("evil.py", "open('executed', 'w')\n")
    run = Run(name="evil.py:mine", data=DataConfig(name="digits"), model=VAEConfig())
    spec = {"name": "digits", "shape": [1, 8, 8], "levels": 17, "likelihood": "gaussian"}
    spec |= {"binarize": "none", "scaling": "dequantize"}
    identity = {"run": run.model_dump(mode="json"), "spec": spec, "data_fingerprint": ""}
    write("run/run.json", json.dumps({"identity": identity}))
    numbers = {"subject": {"probe": []}, "config": {}, "settings": {}}
    nll = {"value": 1.0, "stderr": 0.1, "stderr_data": 0.1, "count": 1, "warnings": []}
    nll |= {"diagnostics": {"elbo": -2.0, "ess_median": 1.0, "ess_min": 1.0}}
    numbers["nll"] = nll | {"protocol": {"samples": 1}}
    write("run/evaluation.json", json.dumps(numbers))
    write("run/metrics.jsonl", "{}\n")
    with pytest.raises(UnknownRecipeError):
        result_record(tmp_path / "run", paper="vampprior")
    assert not (tmp_path / "executed").exists()


def test_names_of_code_need_no_torch():
    """Fault: a command that waits for torch before it says that there is no such file."""
    import priorwise.config.own_code as module

    folder = Path(module.__file__).parent
    program = f"""
import importlib.util, sys, types
package = types.ModuleType("priorwise"); package.__path__ = [{str(folder.parent)!r}]
sys.modules["priorwise"] = package
import priorwise.config.own_parts
print([name for name in ("torch", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
