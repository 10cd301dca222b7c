"""Hostile words on the command line: settings, names of recipes, data, bases, code and runs."""

import json
import shutil
from pathlib import Path
from random import Random

from attack import Case, Maker
from mutations import DEEP, NASTY_WORDS, damaged, nasty_text, nasty_word
from targets import SMALL

_FIELDS = [
    "training.epochs", "training.lr", "training.batch_size", "training.warmup_epochs",
    "training.patience", "training.seed", "training.precision", "training.checkpoint_seconds",
    "training.schedule", "training.optimizer", "training.eps", "model.latent", "model.hidden",
    "model.kind", "model.prior", "model.prior.kind", "model.likelihood", "model.scale", "model",
    "objective.kind", "objective", "data.name", "data.binarize", "data.likelihood", "data", "name",
    "evaluation.samples", "evaluation.images", "evaluation.quality", "evaluation.seed", "",
    "training", "training..epochs", "nothing", "model.prior.components", ".", "a.b.c.d",
]  # fmt: skip
_VALUES = [
    "1", "0", "-1", "1e400", "1_000", "0x7fffffff", "9" * 30, "9" * 6000, ".nan", ".inf", "~", "",
    "true", "no", "2001-01-01", "2001-01-01 00:00:00 +99:99", "2001-99-99", "1:1:1", "{}", "[]",
    "{a: 1}", "[1, 2", "{", "}", "\"", "'", "*a", "&a [*a]", "!!timestamp x", "!!timestamp 2001",
    "!!int x", "!!int ''", "!!float x", "!!binary x", "!!set {a, b}", "!!omap [a]", "!!pairs [a]",
    "!!bool 3", "!!null x", "!!map [1]", "!!seq 1", "!!str {a: 1}", "!!int 9999999999:99",
    "!!python/object/apply:os.system ['touch ../executed']", "!!python/name:os.system",
    "%YAML 9.9", "--- 1\n--- 2", "? a\n: b", "{[1]: 2}", "{{}: 2}", "? [a]\n: 1", "<<: 3",
    "{<<: [1]}", "{<<: {a: 1}}", "@x", "`x", "\t1", "a: b: c", "- 1", "|", ">", "# no",
    "[" * DEEP, "{a: " * DEEP, "- " * 2000, "&a [" + "*a," * 3 + "]", "x" * 100_000,
    "&a [&b [&c [x,x,x,x,x,x,x,x,x],*c,*c,*c,*c,*c,*c,*c,*c],*b,*b,*b,*b,*b,*b,*b,*b]",
]  # fmt: skip


def _bomb(depth: int = 9) -> str:
    """Aliases of aliases: a billion entries in some hundred characters."""
    parts = ["&a0 [x,x,x,x,x,x,x,x,x]"]
    parts += [f"&a{k} [{','.join([f'*a{k - 1}'] * 9)}]" for k in range(1, depth)]
    return "{" + ", ".join(f"k{k}: {part}" for k, part in enumerate(parts)) + "}"


def _overrides(random: Random, work: Path) -> Case:
    names, settings = [], []
    for _ in range(random.choice([1, 1, 2])):
        field = random.choice([*_FIELDS, nasty_word(random)])
        value = random.choice([*_VALUES, *_VALUES, _bomb(), nasty_text(random)])
        if random.random() < 0.15:
            value = damaged(value.encode("utf-8", "replace"), random).decode("utf-8", "replace")
        setting = f"{field}={value}" if random.random() < 0.97 else value
        settings.append(setting.replace("\x00", ""))
        names += [field, field.rpartition(".")[2], field.partition(".")[0], value[:20], "override"]
    dry = ["--dry-run"]
    return Case(["train", "own/vae", *SMALL, "--data", "small.npz", *settings, *dry], tuple(names))


def _sizes(random: Random, work: Path) -> Case:
    """Models and batches that no machine holds, trained in earnest."""
    large = random.choice(["100000", "30000000", "1000000000", "99999999999", "9" * 19, "9" * 40])
    setting = random.choice(
        [
            "model.latent={}",
            "model.hidden={}",
            "training.batch_size={}",
            "training.seed={}",
            "training.lr_warmup_steps={}",
            "training.warmup_epochs={}",
            "objective.kind=iwae objective.samples={}",
            "model.prior.kind=mixture model.prior.components={}",
            "model.prior.kind=vamp model.prior.components={}",
            "training.validate_every={}",
        ]
    ).format(large)
    settings = [*SMALL, "--data", "small.npz", *setting.split(), "--out", "new"]
    names = (setting.split()[-1].partition("=")[0], setting.split()[-1].rpartition(".")[2], large)
    return Case(["train", "own/vae", *settings], names)


def _options(random: Random, work: Path) -> Case:
    """Numbers beyond all bounds as options."""
    number = random.choice(
        [
            "0",
            "-1",
            "1.5",
            "nan",
            "inf",
            "1e400",
            "10000000000",
            "9" * 19,
            "9" * 40,
            "9" * 5000,
            "",
            *NASTY_WORDS[:14],
        ]
    )
    run = random.choice(["vae", "ncp"])
    name, option = random.choice(
        [
            ("sample", "--count"), ("sample", "--seed"), ("sample", "--temperature"),
            ("sample", "--sampler"), ("evaluate", "--samples"), ("evaluate", "--images"),
            ("evaluate", "--seed"), ("evaluate", "--quality"), ("evaluate", "--log-norm"),
            ("evaluate", "--precision"), ("traverse", "--steps"), ("traverse", "--pairs"),
            ("traverse", "--dimension"), ("traverse", "--space"), ("compare", "--draws"),
            ("report", "--seed"), ("traverse", "--seed"), ("compare", "--seed"),
        ]
    )  # fmt: skip
    sampler = ["--sampler", "sir"] if option == "--temperature" else []
    written = ("evaluation*", "nll-*", "best.*", "report.*", "samples.png", "traversal.png")
    names = (option, option.strip("-").replace("-", "_"), number)
    return Case([name, run, *sampler, f"{option}={number}"], names, written)


def _recipes(random: Random, work: Path) -> Case:
    (work / "evil.py").write_text("raise SystemExit(7)\n")
    (work / "deep.py").write_text("def make(): return make()\n")
    (work / "binary.py").write_bytes(random.randbytes(50))
    (work / "loud.py").write_text("raise ValueError('\\x1b[31m' + 'x' * 100000)\n")
    (work / "bomb.py").write_text("(" * 5000)
    name = random.choice(
        [
            "evil.py:make",
            "deep.py:make",
            "binary.py:make",
            "loud.py:make",
            "bomb.py:make",
            "vae:x",
            "none.py:make",
            ":",
            "a:",
            ":b",
            "own/vae:",
            "os:getcwd",
            "/dev/zero.py:x",
            "work:vae",
            *NASTY_WORDS,
        ]
    )
    arguments = random.choice([["train", name, "--dry-run"], ["list", name], ["table", name]])
    return Case(arguments, (name.partition(":")[0], name, "RECIPE", repr(name)[1:40]))


def _data_names(random: Random, work: Path) -> Case:
    name = nasty_word(random)
    if random.random() < 0.5:
        name += random.choice([".npz", "/", ".png", "/../small.npz", "", "small.npz"])
    dry = random.choice([[], ["--dry-run"]])
    return Case(
        ["train", "own/vae", *SMALL, "--data", name, "--out", "new", *dry],
        (name[:40], name, repr(name)[1:40], "--data", name[:200]),
    )


def _bases(random: Random, work: Path) -> Case:
    kind = random.randrange(4)
    base = ["nowhere", "ncp", "small.npz", nasty_word(random)][kind]
    if random.random() < 0.5:
        base, path = "vae", work / "vae" / random.choice(["run.json", "best.safetensors"])
        path.write_bytes(damaged(path.read_bytes(), random))
    return Case(
        ["train", "ncp/posthoc", "training.epochs=1", "--base", base, "--out", "new"],
        (base or "at .", "vae", "--base"),
    )


def _code(random: Random, work: Path) -> Case:
    text = nasty_word(random)
    code = random.choice(["own.py", "none.py", "own.py:Replayed", "vae/run.json", "os", text])
    if random.random() < 0.4:
        path = work / "own.py"
        path.write_bytes(damaged(path.read_bytes(), random))
    arguments = random.choice([["sample", "buffered"], ["evaluate", "buffered"], ["sample", "vae"]])
    return Case(
        [*arguments, "--code", code],
        (code, "own.py", "--code"),
        ("evaluation*", "nll-*", "samples.png", "best.*"),
    )


def _run_names(random: Random, work: Path) -> Case:
    """Runs in folders with names that pictures and terminals do not take."""
    names = []
    for run in ("vae", "ncp"):
        name = nasty_word(random).replace("/", "_").strip()[:60] or "plain"
        name += random.choice(["", run])
        if not (work / name).exists():
            shutil.copytree(work / run, work / name)
        names.append(name)
    command = random.choice(["compare", "compare", "report", "sample", "evaluate", "traverse"])
    runs = names if command in ("compare", "report") else names[:1]
    draws = ["--draws", "50"] if command == "compare" else []
    written = ("evaluation*", "nll-*", "report.*", "traversal.png", "best.*")
    return Case([command, *draws, "--", *runs], (*names, repr(names)[2:20]), written)


def _record_words(random: Random, work: Path) -> Case:
    """Words of a record that reach the terminal, the page and the picture."""
    path = work / "vae" / "evaluation.json"
    record = json.loads(path.read_text())
    text = nasty_text(random)
    keys = [key for key, value in record.items() if isinstance(value, dict) and key != "config"]
    for key in random.sample(keys, 2):
        record[key] = {"refused": text}
    for value in record.values():
        if isinstance(value, dict) and "warnings" in value:
            value["warnings"] = [text, text]
    path.write_text(json.dumps(record))
    command = random.choice([["report", "vae"], ["compare", "vae"], ["evaluate", "vae"]])
    written = ("evaluation*", "nll-*", "report.*")
    return Case(command, ("evaluation.json",), written)


MAKERS: dict[str, Maker] = {
    "overrides": _overrides,
    "sizes": _sizes,
    "options": _options,
    "recipe names": _recipes,
    "data names": _data_names,
    "--base": _bases,
    "--code": _code,
    "run names": _run_names,
    "words of a record": _record_words,
}
