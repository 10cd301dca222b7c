"""Walks through the latent space against closed forms, and their pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.distributions import Independent, Normal

from priorwise import NCP, wrap
from priorwise.data import as_splits
from priorwise.distributions import AbstractBijection
from priorwise.models import (
    along,
    between,
    encodings,
    flow_prior,
    gated_hvae,
    gated_vae,
    in_space,
    latent_range,
)
from priorwise.priors import FlowPrior
from priorwise.reporting import save_traversal


class Banana(AbstractBijection):
    """z0 = (z[0], z[1] - z[0]^2): a line in z0 is a parabola in z."""

    features = 2

    def __init__(self):
        super().__init__()
        self.bend = nn.Parameter(torch.ones(()))

    def forward(self, z):
        return torch.stack([z[..., 0], z[..., 1] - self.bend * z[..., 0] ** 2], -1), torch.zeros(
            z.shape[:-1]
        )

    def inverse(self, z0):
        return torch.stack([z0[..., 0], z0[..., 1] + self.bend * z0[..., 0] ** 2], -1)


def identity_flow(features=2):
    """Couplings whose networks are zero."""
    prior = FlowPrior(features)
    for parameter in prior.parameters():
        nn.init.zeros_(parameter)
    return prior


def plain(prior=None, latent=2):
    """Encodings are the observations, and the decoder gives them back."""
    return wrap(
        encode=lambda x: Independent(Normal(x, 0.1, validate_args=False), 1, validate_args=False),
        decode=lambda z: z,
        latent=latent,
        prior=prior,
        modules=(),
    )


def image_vae(latent=3, shape=(1, 4, 4), prior=None):
    return gated_vae(shape, latent=latent, hidden=6, prior=prior)


def bend(path):
    """The largest distance from the chord, over the length of the chord: ``(T, 2)`` to a number."""
    path = path.detach()
    chord = path[-1] - path[0]
    away = path - path[0]
    return float((chord[0] * away[:, 1] - chord[1] * away[:, 0]).abs().max() / chord.square().sum())


PRIORS = {
    "standard": lambda: None,
    "couplings": lambda: FlowPrior(2),
    "banana": lambda: FlowPrior(Banana()),
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("space", [None, "representation"])
def test_ends_are_the_encodings_exactly(prior, space):
    """Fault: ends that went through the flow and back, so that they are rounded; weights that stop
    before 1.
    """
    first, second = torch.randn(3, 2), torch.randn(3, 2)
    walk = between(plain(PRIORS[prior]()), first, second, steps=7, space=space)
    assert torch.equal(walk.z[:, 0], first)
    assert torch.equal(walk.z[:, -1], second)
    assert torch.equal(walk.x, walk.z)
    assert walk.at[1].tolist() == pytest.approx(np.linspace(0, 1, 7).tolist())


def test_a_line_in_z0_is_the_parabola_that_it_must_be():
    """Fault: the two directions of the flow exchanged, which bends the parabola the other way."""
    first, second = torch.tensor([[-1.0, 3.0]]), torch.tensor([[1.0, 2.0]])
    walk = between(plain(FlowPrior(Banana())), first, second, steps=11)
    t = torch.linspace(0, 1, 11)
    assert walk.space == "generation"
    assert torch.allclose(walk.z[0, :, 0], 2 * t - 1, atol=1e-6)
    assert torch.allclose(walk.z[0, :, 1], (1 - t) * 2 + t + (2 * t - 1) ** 2, atol=1e-6)
    assert torch.allclose(walk.u[0, :, 1], 2 - t, atol=1e-6)


def test_straight_in_z0_and_curved_in_z():
    """Fault: a walk that is straight in z whatever the prior."""
    model = plain(FlowPrior(2))
    first, second = torch.tensor([[-1.0, -0.5]]), torch.tensor([[1.0, 1.5]])
    walk = between(model, first, second)
    assert bend(in_space(model, walk.z, "generation")[0]) < 1e-4
    assert bend(walk.z[0]) > 1e-3
    forced = between(model, first, second, space="representation")
    assert bend(forced.z[0]) < 1e-6
    assert torch.equal(forced.u, forced.z)


def test_identity_flow_walks_as_no_flow():
    first, second = torch.randn(4, 2), torch.randn(4, 2)
    flowing, still = between(plain(identity_flow()), first, second), between(plain(), first, second)
    assert (flowing.space, still.space) == ("generation", "representation")
    assert torch.equal(flowing.z, still.z)


def test_along_leaves_the_others_exactly_as_they_are():
    """Fault: a walk that shares its row with another, values in another order, others that were
    rounded.
    """
    z, values = torch.randn(5), torch.randn(2, 6)
    walk = along(plain(latent=5), z, [3, 0], values)
    for row, dimension in enumerate([3, 0]):
        others = [index for index in range(5) if index != dimension]
        assert torch.equal(walk.z[row][:, dimension], values[row])
        assert torch.equal(walk.z[row][:, others], z[others].expand(6, 4))
    assert torch.equal(walk.at, values)
    shared = along(plain(latent=5), z, [3, 0], values[0])
    assert torch.equal(shared.z[1][:, 0], values[0])


def test_along_a_dimension_of_z0():
    """In z0 the others stand still exactly; in z they follow the parabola. Fault: the dimension of
    z in its place.
    """
    values = torch.linspace(-1, 1, 5)
    walk = along(
        plain(FlowPrior(Banana())), torch.tensor([0.5, 1.25]), [0], values, space="generation"
    )
    assert torch.equal(walk.u[0, :, 1], torch.ones(5))
    assert torch.allclose(walk.z[0], torch.stack([values, 1 + values**2], -1), atol=1e-6)


def test_range_is_that_of_the_draws():
    """Codes 0, 0.01, .. 1 and their doubles; the central 98 % end at the second and the last but
    one.
    """
    x = torch.stack([torch.linspace(0, 1, 101), torch.linspace(0, 2, 101)], 1)
    codes = wrap(encode=lambda x: x, decode=lambda z: z, latent=2, modules=())
    ends = latent_range(codes, x[torch.randperm(101)])
    assert ends.tolist() == [pytest.approx([0.01, 0.02]), pytest.approx([0.99, 1.98])]


def test_range_of_z0():
    """Fault: the range of z where that of z0 is asked for:
    z[1] runs from 0 to 1, and z0[1] is 0.
    """
    line = torch.linspace(0, 1, 101)
    codes = wrap(
        encode=lambda x: x, decode=lambda z: z, latent=2, prior=FlowPrior(Banana()), modules=()
    )
    ends = latent_range(codes, torch.stack([line, line**2], 1), space="generation")
    assert ends[:, 1].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_range_is_of_draws_and_not_of_means():
    """Equal means and deviation 0.1: the range is +-2.326 x 0.1. 1e-6 false alarms: s.e. of a 1 %
    quantile of 4000 is 0.0059.
    """
    ends = latent_range(plain(), torch.zeros(4000, 2))
    assert torch.allclose(ends, torch.tensor([[-0.2326], [0.2326]]).expand(2, 2), atol=5.2 * 0.0059)


@pytest.mark.parametrize(
    "build", [gated_hvae, lambda *a, **k: NCP(gated_hvae(*a, **k), hidden_features=(4,))]
)
def test_groups_below_the_top_keep_their_noise(build):
    """From an image to itself nothing may change, although the lower group is drawn. Fault: a draw
    of its own each step.
    """
    model = build((1, 4, 4), latent=3, hidden=6)
    x = torch.rand(2, 1, 4, 4)
    still = between(model, x, x, steps=4, seed=1)
    assert torch.equal(still.x, still.x[:, :1].expand_as(still.x))
    assert not torch.equal(still.x, between(model, x, x, steps=4, seed=2).x)
    state = torch.get_rng_state()
    assert torch.equal(still.x, between(model, x, x, steps=4, seed=1).x)
    assert torch.equal(state, torch.get_rng_state())


def test_the_flow_is_found_under_a_tilt():
    model = image_vae(prior=FlowPrior(3))
    assert flow_prior(NCP(model, hidden_features=(4,))) is model.prior
    assert flow_prior(image_vae()) is None


def test_a_walk_leaves_the_model_alone():
    model = image_vae(prior=FlowPrior(3)).train()
    walk = between(model, torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4))
    assert not walk.x.requires_grad
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


POINTS = torch.zeros(2, 2)
REFUSED = {
    "shapes": (
        lambda m: between(m, POINTS, POINTS[:1]),
        "expected `first` and `second` of one shape",
    ),
    "steps": (
        lambda m: between(m, POINTS, POINTS, steps=1),
        "at least 2 `steps`, both ends included; got 1",
    ),
    "space": (
        lambda m: between(m, POINTS, POINTS, space="generation"),
        "no generation space. Choose 'representation'",
    ),
    "dimension": (
        lambda m: along(m, POINTS[0], [0, 2], torch.zeros(3)),
        "`dimensions` from 0 to 1; got 2",
    ),
    "no dimension": (
        lambda m: along(m, POINTS[0], [], torch.zeros(3)),
        "at least one of `dimensions`",
    ),
    "values": (
        lambda m: along(m, POINTS[0], [0], torch.zeros(2, 3)),
        "`values` of shape (T,) or (1, T)",
    ),
    "point": (
        lambda m: along(m, torch.zeros(3), [0], torch.zeros(3)),
        "`z` as one point of shape (2,); got (3,)",
    ),
    "mass": (lambda m: latent_range(m, POINTS, mass=1.0), "`mass` between 0 and 1; got 1.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_walks_that_cannot_be_are_refused(name):
    call, words = REFUSED[name]
    with pytest.raises(ValueError, match="expected") as refusal:
        call(plain())
    assert words in str(refusal.value)


def test_two_flows_are_refused():
    model = plain(FlowPrior(2))
    model.another = FlowPrior(2)
    with pytest.raises(ValueError, match="expected one FlowPrior in the model; got 2"):
        between(model, POINTS, POINTS)
    assert between(model, POINTS, POINTS, space="representation").space == "representation"


# -- pictures --------------------------------------------------------------------------------------

DPI = 130
CELL, LEFT, RIGHT, ABOVE, BELOW = 0.6, 1.25, 1.15, 0.64, 0.25  # inches of a band of small images


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def shades(count=60):
    """Images of one shade each, brighter and brighter."""
    return torch.linspace(0, 1, count).view(-1, 1, 1, 1).expand(count, 1, 4, 4).clone()


def test_image_rows_begin_and_end_with_the_images(tmp_path):
    """Fault: labels that name one image and cells that show another;
    a size that cuts the picture.
    """
    data = shades()
    made = save_traversal(
        image_vae(), data, tmp_path / "walk.png", pairs=[(1, 4), (2, 0)], dimensions=0, steps=5
    )
    picture = pixels(made.path)
    height, width = (
        round(DPI * inches) for inches in (ABOVE + 2 * CELL + BELOW, LEFT + 7 * CELL + RIGHT)
    )
    assert picture.shape[:2] == pytest.approx((height, width), abs=1)
    test = as_splits(data).evaluation("test")
    for row, pair in enumerate([(1, 4), (2, 0)]):
        for column, place in ((0, pair[0]), (6, pair[1])):
            middle = [
                round(DPI * (start + (index + 0.5) * CELL))
                for start, index in ((ABOVE, row), (LEFT, column))
            ]
            assert picture[middle[0], middle[1], 0] == pytest.approx(
                255 * float(test[place].mean()), abs=2
            )
    assert (made.pairs, made.between, made.dimensions, made.along) == (
        [(1, 4), (2, 0)],
        "representation",
        [],
        None,
    )


def test_defaults_choose_pairs_at_random_and_active_dimensions_first(tmp_path):
    """Fault: an image in two pairs, the least active first, a seed without effect."""
    model = image_vae(latent=12)
    options = {"steps": 3}
    first, again = (
        save_traversal(model, shades(), tmp_path / name, **options) for name in ("a.png", "b.png")
    )
    assert (
        len({place for pair in first.pairs for place in pair}) == 6
    )  # half of the 6 test images are begun from
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert first.pairs == again.pairs
    assert len(first.dimensions) == 10
    assert first.variances == sorted(first.variances, reverse=True)
    other = save_traversal(model, shades(), tmp_path / "c.png", seed=1, **options)
    assert other.pairs != first.pairs


def test_points_and_planes_are_plotted(tmp_path):
    """Observations, z and z0 side by side; walks along dimensions below. Fault: a plane that is
    left out.
    """
    model = plain(FlowPrior(2))
    made = save_traversal(model, torch.randn(80, 2), tmp_path / "walk.png", pairs=2, steps=4)
    picture = pixels(made.path)
    assert (made.between, made.along, sorted(made.dimensions)) == (
        "generation",
        "representation",
        [0, 1],
    )
    assert picture.shape[1] == round(DPI * (3 * (3.6 + 0.75) + 0.35))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    alone = save_traversal(plain(), torch.randn(80, 2), tmp_path / "plain.png", pairs=2, steps=4)
    assert pixels(alone.path).shape[1] == round(DPI * (2 * (3.6 + 0.75) + 0.35))


def test_latents_of_two_dimensions_get_a_plane_below_the_images(tmp_path):
    made = save_traversal(
        image_vae(2, prior=FlowPrior(2)), shades(), tmp_path / "walk.png", pairs=2, dimensions=0
    )
    rows_alone = DPI * (ABOVE + 2 * CELL + BELOW)
    assert pixels(made.path).shape[0] > rows_alone + DPI * 3.6


def test_colour_images(tmp_path):
    data = torch.rand(40, 3, 4, 6)
    made = save_traversal(image_vae(shape=(3, 4, 6)), data, tmp_path / "walk.png", pairs=1, steps=3)
    picture = pixels(made.path).astype(int)
    assert np.abs(picture[..., 0] - picture[..., 2]).max() > 50


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pairs": [(0, 6)]}, "`pairs` of test observations from 0 to 5; got 6"),
        ({"pairs": -1}, "`pairs` of at least 0; got -1"),
        ({"dimensions": [3]}, "`dimensions` from 0 to 2; got 3"),
        ({"dimensions": -2}, "`dimensions` of at least 0; got -2"),
        ({"pairs": 0, "dimensions": 0}, "something to draw; got no pairs and no dimensions"),
        ({"steps": 1}, "at least 2 `steps`"),
        ({"space": "generation"}, "no generation space"),
        ({"path": "walk.gif"}, "`path` as a picture that ends in .png; got 'walk.gif'"),
    ],
)
def test_pictures_that_cannot_be_are_refused(tmp_path, options, words):
    """Fault: a file that is made for nothing."""
    name = options.pop("path", "walk.png")
    with pytest.raises(ValueError, match="expected") as refusal:
        save_traversal(image_vae(), shades(), tmp_path / name, **options)
    assert words in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_vectors_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"observations of two numbers, to draw them; got shape \(5,\)"
    ):
        save_traversal(plain(latent=5), torch.randn(60, 5), tmp_path / "walk.png")


def test_encodings_come_in_blocks():
    """Fault: blocks in another order, or the last one lost."""
    x = torch.randn(1203, 2)
    assert torch.equal(encodings(plain(), x), x)
