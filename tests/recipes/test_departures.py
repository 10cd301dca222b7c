"""What of a run departs from its recipe, as the tables say it."""

from dataclasses import replace

import pytest

from priorwise.config.overrides import override
from priorwise.data.known_sets import spec_of
from priorwise.recipes import recipe
from priorwise.recipes.departures import changed_settings, fewer_draws, other_data
from priorwise.recipes.published import known_fingerprints, published_beside_ours, with_runs
from priorwise.training.decision import decided

STATIC = recipe("vampprior/static_mnist_vae_standard")
KNOWN = min(known_fingerprints(STATIC.data))


@pytest.mark.parametrize(("side", "latent"), [(8, 40), (64, 128)])
def test_networks_that_the_data_decide_on_are_no_departure(side, latent):
    """Fault: every run of own/vae marked, since its recipe leaves the networks open."""
    spec = replace(spec_of("digits"), shape=(1, side, side))
    run = decided(recipe("own/vae"), spec)
    assert run.model.kind != "vae_by_size"
    assert changed_settings(run, spec) == {}
    changed = override(run, ["model.latent=7", "training.epochs=3"])
    expected = {"latent": f"7 for {latent}", "epochs": "3 for 200"}
    assert changed_settings(changed, spec) == expected


@pytest.mark.parametrize(
    ("name", "settings", "fingerprint", "words"),
    [
        (STATIC.name, [], KNOWN, ""),
        (STATIC.name, [], "0", f"other data: fingerprint 0 for {KNOWN}"),
        (
            STATIC.name,
            ["data.name=digits", "data.binarize=threshold", "data.likelihood=bernoulli"],
            "0",
            "other data: digits for mnist_static, binarize threshold for none",
        ),
        (
            "vampprior/dynamic_mnist_vae_standard",
            ["data.binarize=threshold"],
            "0",
            "other data: binarize threshold for dynamic",
        ),
        ("vampprior/caltech_vae_standard", [], "0", ""),
        ("own/vae", ["data.name=digits"], "0", ""),
    ],
)
def test_other_data_are_told(name, settings, fingerprint, words):
    """Fault: an NLL of other images, or of other binary values, beside a published one."""
    run = override(recipe(name), settings)
    spec = spec_of(run.data.name)
    spec = spec.overridden(binarize=run.data.binarize, likelihood=run.data.likelihood)
    assert other_data(run, spec, fingerprint) == words


def test_a_result_on_other_data_has_no_published_row():
    """Fault: 16.16 nats of digits beside 88.56 of MNIST."""
    rows = published_beside_ours("vampprior")
    result = {"recipe": STATIC.name, "nll": 16.16, "other_data": True}
    same, extra = with_runs(rows, [], {"mine": result})
    assert same == rows
    assert extra == [{**result, "run": "mine"}]
    filled, extra = with_runs(rows, [], {"mine": {**result, "other_data": False}})
    assert sum(len(row.ours) for row in filled) == sum(len(row.ours) for row in rows) + 1
    assert extra == []


@pytest.mark.parametrize(
    ("name", "asked", "count", "samples", "words"),
    [
        (STATIC.name, None, 10_000, 5000, []),
        (STATIC.name, 10_000, 10_000, 5000, []),
        (STATIC.name, 50, 50, 5000, ["likelihood of 50 random test images for 10000"]),
        (STATIC.name, None, 10_000, 10, ["10 importance samples for 5000"]),
        ("own/vae", 1000, 30, 1000, []),
        ("own/vae", 1000, 1000, 1000, []),
        ("own/vae", 30, 30, 1000, ["likelihood of 30 random test images for 1000"]),
        (
            "dpvae/two_moons_vae_flow",
            30,
            30,
            5000,
            ["likelihood of 30 random test images for all"],
        ),
    ],
)
def test_fewer_images_or_samples_are_told(name, asked, count, samples, words):
    """Fault: a likelihood of a few images beside one of all, without a mark."""
    nll = {"count": count, "protocol": {"samples": samples}}
    assert fewer_draws(recipe(name), nll, {"images": asked}) == words
