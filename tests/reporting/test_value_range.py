"""Pictures and pseudo-inputs follow the range of the data, and pictures show a random part."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.distributions import Independent, Normal

from priorwise import wrap
from priorwise.config import DataConfig, Run, TrainingConfig, VAEConfig, VampDataConfig
from priorwise.config import VampPriorConfig as Vamp
from priorwise.data import DataSpec, from_arrays, load
from priorwise.priors import VampPrior
from priorwise.reporting import bands, comparison, save_comparison, save_traversal, sections
from priorwise.reporting.pictures import save_samples
from priorwise.training import runner

SHAPE = (1, 2, 2)


def mirror():
    """Encodings are the pixels, and the decoder gives them back."""
    return wrap(
        encode=lambda x: Independent(Normal(x.flatten(1), 1e-3), 1),
        decode=lambda z: Independent(Normal(z.unflatten(-1, SHAPE), 1e-3), 3),
        latent=4,
        modules=(),
    )


def images(count, values):
    """Images of one value each, sorted by their values."""
    x = torch.tensor(values).repeat_interleave(count // len(values))
    return x[:, None, None, None].expand(-1, *SHAPE).contiguous()


def data(count=60, values=(-1.0, 0.0, 1.0)):
    x = images(count, values)
    return from_arrays(x, validation=x[:3], test=x)


@pytest.fixture
def shown(monkeypatch):
    """The tensors that were drawn."""
    drawn = []

    def record(x, *arguments):
        drawn.append(x)

    for module in (bands, comparison):
        inner = module.draw_images
        monkeypatch.setattr(
            module, "draw_images", lambda axes, x, n, inner=inner: (record(x), inner(axes, x, n))
        )
    inner_uri = sections.images_uri
    monkeypatch.setattr(sections, "images_uri", lambda x, n: (record(x), inner_uri(x, n))[1])
    return drawn


# -- pictures --------------------------------------------------------------------------------------


def test_the_page_maps_the_range_and_shows_many_classes(shown):
    """Fault: half of the pixels black; of a sorted test set, the first class alone."""
    splits = data(600, tuple(np.linspace(-1, 1, 10).tolist()))
    x = splits.evaluation("test")
    sections.picture_sections({"model": mirror()}, splits, x, {}, 0, progress=False)
    test_images, samples, *_, reconstructions = shown
    for part in (test_images, reconstructions):
        values = part[:, 0, 0, 0]
        assert len((9 * values).round().unique()) >= 6
        assert 0.3 < float(values.mean()) < 0.7
    assert 0.3 < float(samples.mean()) < 0.7
    assert all(0 <= float(part.min()) <= float(part.max()) <= 1 for part in shown)


def test_traversals_and_comparisons_map_the_range(shown, tmp_path):
    picture = save_traversal(mirror(), data(), tmp_path / "a.png", pairs=[(0, 25), (25, 59)])
    walks = shown[0].unflatten(0, (2, -1))[:, :, 0, 0, 0]
    assert walks[:, [0, -1]].tolist() == [[0.0, 0.5], [0.5, 1.0]]
    assert walks[0, 1:-1].tolist() == pytest.approx(np.linspace(0, 0.5, 10).tolist(), abs=1e-5)
    assert picture.pairs == [(0, 25), (25, 59)]
    shown.clear()
    row = save_comparison({"m": mirror()}, data(), tmp_path / "b.png", draws=50)["m"]
    assert torch.equal(shown[0], ((row.samples + 1) / 2).clamp(0, 1))
    assert torch.equal(shown[1], ((row.low.x + 1) / 2).clamp(0, 1))


def test_a_walk_without_pairs_starts_at_a_random_image(shown, tmp_path):
    """Fault: the first test image, whatever the seed."""
    starts = set()
    for seed in range(4):
        shown.clear()
        save_traversal(mirror(), data(), tmp_path / "a.png", pairs=0, dimensions=1, seed=seed)
        starts.add(float(shown[0][0, 0, 0, 0]))
    assert len(starts) > 1


@pytest.mark.parametrize(
    ("values", "value_range", "grey"),
    [
        ((-1.0, 0.0, 1.0), (-1.0, 1.0), (0, 128, 255)),
        ((-1.0, 0.0, 1.0), None, (0, 128, 255)),
        ((-1.1, 0.0, 1.05), None, (0, 128, 255)),
        ((-0.1, 0.5, 1.1), None, (0, 128, 255)),
        ((0.0, 0.5, 1.0), None, (0, 128, 255)),
        ((0.0, 8.0, 16.0), None, (0, 128, 255)),
        ((0.0, 0.0, 1.0), (-1.0, 1.0), (128, 128, 255)),
    ],
)
def test_saved_samples(values, value_range, grey, tmp_path):
    path = save_samples(images(3, values), tmp_path / "a.png", value_range=value_range)
    pixels = np.asarray(Image.open(path))
    height, width = pixels.shape
    centres = [pixels[height // 4, width // 4], pixels[height // 4, 3 * width // 4]]
    centres.append(pixels[3 * height // 4, width // 4])
    assert tuple(int(value) for value in centres) == grey


# -- pseudo-inputs ---------------------------------------------------------------------------------


def test_pseudo_inputs_start_in_the_range_and_are_clamped_to_it():
    prior = VampPrior.random(200, (3,), mean=0.5, std=0.1, value_range=(-10.0, 30.0))
    start = prior.pseudo_inputs.detach()
    assert float(start.mean()) == pytest.approx(10, abs=1)
    assert float(start.std()) == pytest.approx(4, abs=0.5)
    with torch.no_grad():
        prior.pseudo_inputs.fill_(1e6)
    seen = []

    def encode(u):
        seen.append(u)
        return Independent(Normal(u, 1.0), 1)

    prior(encode)
    assert float(seen[0].detach().min()) == 30.0
    with pytest.raises(ValueError, match=r"in \[0, 1\]; .*Pass the range of the data as `value_r"):
        VampPrior(-torch.ones(2, 3))
    x = 5 * torch.randn(50, 3)
    kept = VampPrior.from_data(x, 50)
    assert sorted(kept.pseudo_inputs.flatten().tolist()) == sorted(x.flatten().tolist())
    assert "value_range" in repr(kept)


@pytest.mark.parametrize("kind", [Vamp, VampDataConfig])
def test_a_run_keeps_the_range(kind, tmp_path):
    """Fault: latents of data with a standard deviation of 5 from pseudo-inputs in [0, 1]."""
    rows = 5 * np.random.RandomState(0).randn(60, 3)
    np.save(tmp_path / "rows.npy", rows)
    run = Run(
        name="own/vamp",
        data=DataConfig(name=str(tmp_path / "rows.npy")),
        model=VAEConfig(prior=kind(components=20), latent=2, hidden=8),
        training=TrainingConfig(epochs=1),
    )
    fitted = runner.train_run(run, tmp_path / "run", progress=False).model.prior
    loaded = runner.load(tmp_path / "run").prior
    expected = load(tmp_path / "rows.npy").value_range
    assert fitted.value_range == loaded.value_range == expected
    assert torch.equal(fitted.pseudo_inputs, loaded.pseudo_inputs)
    assert float(loaded.pseudo_inputs.detach().std()) > 2


def test_images_in_the_usual_range_start_as_in_the_paper():
    spec = DataSpec("bits", (1, 2, 2), 2, "bernoulli", "none", "unit")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = Vamp(components=5).for_data(spec).build(2, spec.shape, None)
        torch.manual_seed(0)
        noise = torch.randn(5, 1, 2, 2)
    assert torch.equal(built.pseudo_inputs, (0.05 + 0.01 * noise).clamp(1e-3, 1 - 1e-3))
    assert isinstance(built.pseudo_inputs, nn.Parameter)
