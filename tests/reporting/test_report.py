"""The report end to end, on a VAE too small to be good."""

import json
import math

import pytest
import torch
from pages import Page, picture
from torch import nn

from priorwise import NCP, data, likelihoods, priors, report, wrap
from priorwise.evaluation import QUANTITIES
from priorwise.models import VAE, gated_hvae, gated_vae

SHAPE = (1, 8, 8)
NASTY = "<script>alert('x')</script> & \"co\""


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").subset(train=120, validation=40, test=50)


def small_vae(prior: nn.Module | None = None) -> VAE:
    return gated_vae(SHAPE, prior=prior, likelihood=likelihoods.Gaussian, latent=3, hidden=8)


def small_ncp(base: VAE) -> NCP:
    return NCP(base, hidden_features=(8,))


def written(path):
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return Page(path.read_text(encoding="utf-8")), record


def options(**changes):
    defaults = {"samples": 40, "log_norm_samples": 500, "quality": "none", "progress": False}
    return defaults | changes


@pytest.fixture(scope="module")
def side_by_side(digits, tmp_path_factory):
    """A base, its NCP, and another VAE with a mixture,
    one of them with a name that is an attack.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        base = small_vae()
        models = {
            "base": base,
            "NCP": small_ncp(base),
            NASTY: small_vae(priors.GaussianMixture(3, 4)),
        }
    path = tmp_path_factory.mktemp("report") / "page.html"
    assert report(base, digits, path, models=models, **options()) == path
    return path


def test_names_are_escaped(side_by_side):
    """Planted fault: autoescape off, with which the name becomes a script element."""
    page, record = written(side_by_side)
    assert "script" not in page.tags
    assert NASTY in page.body()
    assert NASTY in record["models"]


def test_page_needs_nothing_beside_it(side_by_side):
    page, _ = written(side_by_side)
    assert "link" not in page.tags
    assert page.images
    assert all(source.startswith("data:image/png;base64,") for source in page.images)
    assert not [
        value
        for name, value in page.attributes
        if name in ("href", "src") and not value.startswith("data:")
    ]
    assert "url(" not in side_by_side.read_text(encoding="utf-8")


def test_every_picture_is_a_whole_png(side_by_side):
    page, _ = written(side_by_side)
    sizes = [picture(uri).size for uri in page.images]
    assert all(min(size) > 20 for size in sizes)
    assert (
        len(sizes) == 1 + 3 + 3 * 3 + 2
    )  # test images, samples, latents with two strips each, reconstructions


def test_json_says_what_the_table_shows(side_by_side):
    """Planted fault: a table that is rounded or ordered apart from the record."""
    page, record = written(side_by_side)
    shown = [row for row in page.tables[0] if row]
    assert len(shown) == len(record["table"]["rows"]) >= 8
    for row, stored in zip(shown, record["table"]["rows"], strict=True):
        texts = [" ".join([cell["text"], *cell["small"]]) for cell in stored["cells"]]
        assert row == [stored["title"], *texts]
    cells = {row["title"]: row["cells"] for row in record["table"]["rows"]}
    names = [column["model"] for column in record["table"]["columns"]]
    assert names == list(record["models"])
    for name, cell in zip(names, cells["NLL"], strict=True):
        nll = record["models"][name]["nll"]
        assert cell["text"].removesuffix(" (!)") == f"{nll['value']:.2f}"
        assert cell["small"][:2] == [
            f"± {nll['stderr']:.2f} MC",
            f"± {nll['stderr_data']:.2f} data",
        ]


def test_gain_is_the_base_less_the_other(side_by_side):
    """Planted fault: the sign."""
    _, record = written(side_by_side)
    base = record["models"]["base"]
    assert base["gain"] is None
    for name in ("NCP", NASTY):
        other = record["models"][name]
        assert other["gain"]["value"] == pytest.approx(base["nll"]["value"] - other["nll"]["value"])
        assert other["gain"]["stderr_total"] == pytest.approx(
            math.hypot(other["gain"]["stderr"], other["gain"]["stderr_data"])
        )


def test_all_words_and_warnings_are_on_the_page(side_by_side):
    page, record = written(side_by_side)
    body = page.body()
    assert record["warnings"]  # 40 samples of an untrained model cannot be trusted
    for sentence in (
        record["verdict"],
        *record["findings"],
        *record["warnings"],
        *record["glossary"].values(),
    ):
        assert " ".join(sentence.split()) in body
    for value in record["protocol"].values():
        assert str(value) in body
    assert record["protocol"]["data_fingerprint"]


def test_an_ncp_is_judged_as_the_same_vae(side_by_side):
    """Fault: an NCP's own classifiers, which judge the prior underneath,
    taken for a verdict on its own prior.
    """
    _, record = written(side_by_side)
    ncp, other = record["models"]["NCP"], record["models"][NASTY]
    assert ncp["same_vae"]
    assert not other["same_vae"]
    assert "two-sample test judges it" in ncp["hole"]["refused"]
    assert ncp["contrast"][0]["jsd"] != record["models"]["base"]["hole"][0]["jsd"]
    assert 0 < ncp["two_sample"]["accuracy"]["value"] <= 1
    assert "contrast" not in other


def test_everything_that_one_call_promises_is_there(digits, tmp_path):
    """Fault: a report without leakage, two-sample test or sample quality."""
    path = report(small_vae(), digits, tmp_path / "page.html", **options(quality="raw"))
    page, record = written(path)
    numbers = record["models"]["model"]
    for key in ("nll", "hole", "two_sample", "leakage", "symmetric_kl", "active_units", "quality"):
        assert "refused" not in numbers[key]
    titles = [row["title"] for row in record["table"]["rows"]]
    assert {"leakage", "two-sample test", "distance, samples", "distance, pockets"} <= set(titles)
    assert list(record["glossary"]) == titles
    assert "distance, samples" in page.body()


def test_a_second_report_measures_nothing(digits, tmp_path, monkeypatch):
    """Fault: a report that computes again what lies beside it;
    and one that shows what was measured of other weights.
    """
    calls: list[str] = []
    for quantity in QUANTITIES:
        compute = quantity.compute
        monkeypatch.setitem(
            vars(quantity),
            "compute",
            lambda subject, key=quantity.key, compute=compute: (
                calls.append(key) or compute(subject)
            ),
        )
    base = small_vae()
    models = {"base": base, "NCP": small_ncp(base)}
    path = tmp_path / "page.html"
    report(base, digits, path, models=models, **options())
    assert {"nll", "hole", "leakage", "log_norm", "contrast"} <= set(calls)
    first = written(path)[1]
    calls.clear()
    report(base, digits, path, models=models, **options())
    assert not calls
    assert written(path)[1] == first
    report(base, digits, path, models=models, **options(samples=41))
    assert calls == ["nll", "nll"]
    calls.clear()
    with torch.no_grad():
        next(base.parameters()).add_(0.1)
    report(base, digits, path, models=models, **options())
    assert calls.count("nll") == calls.count("symmetric_kl") == 2


def test_a_setting_that_no_tensor_tells_is_seen(digits, tmp_path):
    """Fault: numbers of another model with the same weights,
    here another bound of the classifier's logits.
    """
    base = small_vae()
    free, bounded = NCP(base, hidden_features=(8,)), NCP(base, hidden_features=(8,), max_logit=0.01)
    with torch.no_grad():
        for module in (free, bounded):
            for parameter in module.classifiers.parameters():
                parameter.fill_(0.5)
    path = tmp_path / "page.html"
    numbers = []
    for ncp in (free, bounded):
        report(base, digits, path, models={"base": base, "NCP": ncp}, **options())
        numbers.append(written(path)[1]["models"]["NCP"]["log_norm"]["value"])
    assert abs(numbers[1]) <= 0.011 < abs(numbers[0])


def test_an_ncp_over_equal_weights_is_the_same_vae(digits, tmp_path):
    """A model that was loaded twice is one model: what counts are the weights, not the object."""
    base, twin, stranger = small_vae(), small_vae(), small_vae()
    twin.load_state_dict(base.state_dict())
    models = {"base": base, "twin": small_ncp(twin), "stranger": small_ncp(stranger)}
    path = report(
        base, digits, tmp_path / "page.html", models=models, **options(hole_classifier=False)
    )
    _, record = written(path)
    assert [record["models"][name]["same_vae"] for name in models] == [False, True, False]


def test_same_seed_same_report_and_nothing_is_changed(digits, tmp_path):
    model = small_vae().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    first = report(model, digits, tmp_path / "one.html", **options())
    assert bool((torch.randn(3) == expected).all())
    second = report(model, digits, tmp_path / "two.html", **options())
    assert first.with_suffix(".json").read_bytes() == second.with_suffix(".json").read_bytes()
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(bool((tensor == before[name]).all()) for name, tensor in model.state_dict().items())


def test_what_is_refused_is_shown_with_its_reason(digits, tmp_path):
    """A deterministic encoder and decoder: no likelihood, and yet a verdict."""
    model = wrap(
        encode=nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
        decode=nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, SHAPE)),
        latent=2,
    )
    path = report(
        model,
        digits,
        tmp_path / "page.html",
        models={"codes": model, "again": small_vae()},
        **options(),
    )
    page, record = written(path)
    numbers = record["models"]["codes"]
    assert "has no density" in numbers["nll"]["refused"]
    assert numbers["nll"]["refused"] in page.body()
    assert "base has no likelihood" in record["models"]["again"]["gain"]["refused"]
    assert numbers["symmetric_kl"]["value"] == numbers["symmetric_kl"]["value"]
    assert numbers["hole"][0]["jsd"] > 0
    assert "Pockets are not marked" in page.body()


def test_without_a_classifier_there_is_no_verdict(digits, tmp_path):
    path = report(small_vae(), digits, tmp_path / "page.html", **options(hole_classifier=False))
    _, record = written(path)
    assert "not judged" in record["verdict"]
    assert record["contrast"]["rows"] == []


def test_an_ncp_alone_is_shown_beside_its_base(digits, tmp_path):
    ncp = small_ncp(small_vae())
    path = report(ncp, digits, tmp_path / "page.html", **options())
    _, record = written(path)
    assert list(record["models"]) == ["base", "NCP"]
    assert record["models"]["NCP"]["log_norm"]["count"] == 500
    assert ncp.known_log_norm() is not None
    kept = report(ncp, digits, tmp_path / "elsewhere" / "page.html", **options())
    assert written(kept)[1]["models"]["NCP"]["log_norm"]["protocol"] == {
        "estimator": "kept with the model"
    }


def test_a_hierarchy_is_judged_group_by_group(digits, tmp_path):
    model = gated_hvae(SHAPE, likelihood=likelihoods.Gaussian, latent=2, hidden=8)
    path = report(small_ncp(model), digits, tmp_path / "page.html", **options())
    page, record = written(path)
    assert len(record["models"]["base"]["hole"]) == 2
    assert len(record["contrast"]["columns"]) == 4
    assert "In group 2, a classifier" in page.body()


def test_observations_of_two_numbers_are_shown_as_points(tmp_path):
    moons = data.load("two_moons").subset(train=100, validation=30, test=30)
    model = gated_vae((2,), likelihood=likelihoods.Gaussian, latent=2, hidden=8)
    path = report(model, moons, tmp_path / "page.html", **options())
    page, _ = written(path)
    assert len(page.images) == 2  # samples and latents, no grids


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("page.txt", {}, "ends in .html"),
        ("page.html", {"samples": 0}, "`samples`: expected at least 1; got 0"),
        ("page.html", {"images": 0}, "`images`: expected at least 1; got 0"),
        ("page.html", {"sample": 5}, "unknown field 'sample'. Did you mean 'samples'"),
    ],
)
def test_bad_input_is_refused_before_any_work(digits, tmp_path, path, changes, message):
    with pytest.raises(ValueError, match=message):
        report(small_vae(), digits, tmp_path / path, **options(**changes))
    assert not list(tmp_path.iterdir())


def test_a_name_twice_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="without the name 'model'"):
        report(
            small_vae(), digits, tmp_path / "page.html", models={"model": small_vae()}, **options()
        )


def test_another_prior_on_the_same_networks_is_the_same_vae(digits, tmp_path):
    """Fault: a prior that was fitted afterwards, with "the networks have a part in it"."""
    base = small_vae()
    other = VAE(base.encoder, base.decoder, priors.GaussianMixture(3, 4))
    stranger = small_vae()
    models = {"base": base, "other": other, "stranger": stranger}
    path = report(base, digits, tmp_path / "page.html", models=models, **options())
    _, record = written(path)
    assert [record["models"][name]["same_vae"] for name in models] == [False, True, False]
