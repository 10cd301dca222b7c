"""A run folder is data: its run.json makes nothing run that the user did not name."""

import json
import subprocess
import sys

import pytest

from priorwise.config import DataConfig, Run, VAEConfig
from priorwise.training import train_run

# Each path, and what is said of it; the files are really there and write a mark when executed.
PATHS = {
    "evil.py:Prior": "was trained with code that is not part of priorwise",
    "evil_module:Prior": "was trained with code that is not part of priorwise",
    "os:system": "was trained with code that is not part of priorwise",
    "subprocess:run": "was trained with code that is not part of priorwise",
    "run/evil.py:Prior": "without a folder",
    "../evil.py:Prior": "without a folder",
    "{folder}/run/evil.py:Prior": "without a folder",
    "run/../good.py:Prior": "without a folder",
    "~/evil.py:Prior": "without a folder",
    "https://example.org/evil.py:Prior": "a file on this machine",
    "file:///{folder}/evil.py:Prior": "a file on this machine",
    "evil.py:__import__('os').system": "with the name of a class or function",
    "evil.py:Prior.method": "with the name of a class or function",
    "evil.py": "FILE.py:NAME",
    "evil/../../x:Prior": "neither a .py file nor a module",
    "..evil_module:Prior": "neither a .py file nor a module",
    "evil.pyc:Prior": "was trained with code",
    "evil.so:Prior": "was trained with code",
    "": "expected `path`",
    ":Prior": "FILE.py:NAME",
}
# With good.py named: what good.py only imports cannot be called, nor what it does not have.
NAMED = {
    "evil.py:Prior": "You named good.py",
    "os:system": "You named good.py",
    "good:Prior": "You named good.py",
    "evil/good.py:Prior": "without a folder",
    "good.py:system": "itself defines; system is from",
    "good.py:os": "itself defines; os is a module",
    "good.py:__builtins__": "itself defines",
}
EVIL = "open({mark!r}, 'a').write('evil ')\nPrior = print\n"
PROGRAM = """
import json, sys
from pathlib import Path
forbidden = []
def watch(event, arguments):
    if event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn"):
        forbidden.append(event)
    if event == "import" and "evil" in arguments[0]:
        forbidden.append(arguments[0])
sys.addaudithook(watch)
import priorwise as pw
from priorwise.recipes import recipe
from priorwise.reporting.comparison import compare_runs
from priorwise.evaluation import evaluate_run
from priorwise.training.run_record import read_run, resolve_base
readers = {
    "load": lambda code: pw.load("run", code),
    "read_run": lambda code: read_run("run", code),
    "resolve_base": lambda code: resolve_base(recipe("ncp/posthoc"), "run", code),
    "evaluate_run": lambda code: evaluate_run("run", code=code),
    "compare_runs": lambda code: compare_runs(["run"], "x.png", code=code),
}
record = json.loads(Path("run/run.json").read_text())
said = []
for part, path, code in json.load(sys.stdin):
    options = {"command": "touch mark", "args": ["touch", "mark"]}
    own = {"kind": "own", "path": path, "options": options}
    run = json.loads(json.dumps(record["identity"]["run"]))
    if part == "prior":
        run["model"]["prior"] = own
    elif part == "base":
        run["model"] = {"kind": "ncp", "base": own, "base_run": "run"}
    else:
        run[part] = own
    changed = {**record, "identity": {**record["identity"], "run": run}}
    Path("run/run.json").write_text(json.dumps(changed))
    for name, read in readers.items():
        builds = part != "objective" and name not in ("read_run", "resolve_base")
        if path.startswith("good.py") and not builds:
            continue  # named, and what stands in the file is seen when the model is built
        try:
            read(code)
        except ValueError as refusal:
            said.append([part, path, name, str(refusal)])
        else:
            said.append([part, path, name, "READ"])
print(json.dumps({"said": said, "forbidden": forbidden}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What every reader of runs says of every path, in a child process that watches itself."""
    folder = tmp_path_factory.mktemp("hostile")
    mark = folder / "mark"
    model = VAEConfig(latent=2, hidden=4)
    run = Run(name="x", data=DataConfig(name="digits"), model=model, training={"epochs": 1})
    train_run(run, folder / "run", progress=False)
    (folder / "evil").mkdir()
    for place in ("evil.py", "evil_module.py", "run/evil.py", "evil/good.py", "evil.pyc"):
        (folder / place).write_text(EVIL.format(mark=str(mark)))
    good = "import os\nfrom os import system\nclass Prior: ...\n"
    (folder / "good.py").write_text(good)
    cases = [
        [part, path.format(folder=folder), code]
        for paths, code in ((PATHS, None), (NAMED, ["good.py"]))
        for path in paths
        for part in ("prior", "model", "objective", "base")
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), mark


def test_nothing_is_executed(answers):
    """Fault: a run.json that says what is imported or called."""
    _, answer, mark = answers
    assert answer["forbidden"] == []
    assert not mark.exists()


def test_every_reader_says_what_it_asks_for(answers):
    """Fault: a reader of runs that does not ask, or a refusal without its reason."""
    folder, answer, _ = answers
    assert len(answer["said"]) > 400
    for part, path, reader, words in answer["said"]:
        plain = path.replace(str(folder), "{folder}")
        expected = [said[plain] for said in (PATHS, NAMED) if plain in said]
        assert any(text in words for text in expected), (part, path, reader, words)


def test_the_watch_sees(tmp_path):
    """Fault: marks and hooks that see nothing: the user's own word makes the file run."""
    mark = tmp_path / "mark"
    (tmp_path / "evil.py").write_text(EVIL.format(mark=str(mark)))
    program = (
        f"from priorwise.recipes import recipe\nrecipe({str(tmp_path / 'evil.py')!r} + ':Prior')"
    )
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert mark.read_text() == "evil "
