"""PixelCNN decoders against what they stand for: masks, teacher forcing, sampling, total mass."""

import re
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from priorwise import likelihoods
from priorwise.backbones import LatentPlanes, PixelCNN
from priorwise.conditionals import PixelConditional
from priorwise.estimators import nll
from priorwise.estimators.blocks import TILE_BYTES, tile_rows
from priorwise.models import HVAE, conv_hvae, gated_vae, pixel_hvae
from priorwise.nn import GatedConv2d
from priorwise.objectives import ELBO
from priorwise.priors import VampPrior
from priorwise.randomness import seeded

FORMS = ["ordered", "published"]
Head = Callable[[int, tuple[int, ...]], nn.Module]


def network(form: str, channels: int, planes: int = 2, layers: int = 3) -> PixelCNN:
    """A network in evaluation with statistics that are not those of its start."""
    net = PixelCNN(
        channels, planes, features=2 * channels, layers=layers, published=form == "published"
    )
    with torch.no_grad():
        for part in net.norms:
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_()
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(std=0.3)
                part.running_var.uniform_(0.5, 2.0)
    return net.eval()


def conditional(form: str, shape: tuple[int, int, int], head: Head) -> PixelConditional:
    net = network(form, shape[0])
    return PixelConditional(nn.Identity(), net, head, shape).eval()


def logistic(features: int, shape: tuple[int, ...]) -> nn.Module:
    return likelihoods.DiscretizedLogistic(features, shape, levels=5)


# -- what a pixel sees -----------------------------------------------------------------------------


def influence(net: PixelCNN, channels: int, wrt: str) -> Tensor:
    """``(G, H, W, C or P, H, W)``: which inputs change the features of each group of channels."""
    x, planes = torch.rand(channels, 4, 5), torch.rand(2, 4, 5)

    def of(value: Tensor) -> Tensor:
        images = (value, planes) if wrt == "x" else (x, value)
        return net(images[0][None], images[1][None])[0].unflatten(0, (net.groups, -1))

    return (jacobian(of, x if wrt == "x" else planes) != 0).any(1)


def masks_alone(form: str, channels: int) -> PixelCNN:
    """Without norms, and with weights that never cancel or switch a feature off: all paths show."""
    net = network(form, channels)
    net.norms = nn.ModuleList(nn.Identity() for _ in net.norms)
    with torch.no_grad():
        for layer in net.convolutions:
            layer.weight.uniform_(0.5, 1.5)
    return net


PLACES = [(i, j) for i in range(4) for j in range(5)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_a_pixel_sees_those_before_it(form, channels):
    """Fault: a mask or a norm that lets a later pixel or channel through; a mask that hides an
    earlier one which is near.
    """
    seen = influence(network(form, channels), channels, "x")
    paths = influence(masks_alone(form, channels), channels, "x")
    groups = 1 if form == "published" else channels
    for g, here, c, there in product(range(groups), PLACES, range(channels), PLACES):
        earlier = there < here or (there == here and groups > 1 and c < g)
        near = 0 <= here[0] - there[0] <= 1 and abs(here[1] - there[1]) <= 1
        if not earlier:
            assert not seen[g, *here, c, *there], (g, here, c, there)
            assert not paths[g, *here, c, *there], (g, here, c, there)
        elif near:
            assert paths[g, *here, c, *there], (g, here, c, there)


@pytest.mark.parametrize("channels", [1, 3])
def test_conditioning_reaches_every_pixel(channels):
    """Fault: masks over the planes, too: then the first pixel, and each at its own place, know
    nothing of the latents. The published form has this fault, as its documentation says.
    """
    ordered = influence(masks_alone("ordered", channels), channels, "planes")
    published = influence(masks_alone("published", channels), channels, "planes")
    for here, there in product(PLACES, PLACES):
        if here == there:
            assert ordered[:, *here, :, *there].all()
        if there >= here:
            assert not published[:, *here, :, *there].any()
    assert published[:, 3, 2, :, 3, 1].all()


def test_masked_weights_are_never_changed():
    """Fault: masks written into the weights, which an average of weights would spread."""
    net = network("published", 1)
    before = [parameter.clone() for parameter in net.parameters()]
    net(torch.rand(2, 1, 4, 4), torch.rand(2, 2, 4, 4)).sum().backward()
    assert all(map(torch.equal, before, net.parameters()))
    for layer in net.convolutions:
        assert bool((layer.weight != 0).all())
        assert not layer.weight.grad[layer.mask == 0].any()


# -- one law, read in three ways -------------------------------------------------------------------


def naive(law: PixelConditional, planes: Tensor) -> tuple[Tensor, Tensor]:
    """A draw without a cache, and the sum of the conditionals that it was drawn from."""
    x = torch.zeros(len(planes), *law.event_shape)
    total = torch.zeros(len(planes))
    groups = len(law.heads)
    size = law.event_shape[0] // groups
    for i in range(law.event_shape[1]):
        for j in range(law.event_shape[2]):
            for g, head in enumerate(law.heads):
                h = law.network(x, planes)[:, :, i, j].chunk(groups, 1)[g]
                pixel = head(h)
                value = pixel.sample()
                total += pixel.log_prob(value)
                x[:, g * size : (g + 1) * size, i, j] = value.flatten(1)
    return x, total


@pytest.mark.parametrize("head", [likelihoods.Bernoulli, logistic])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_teacher_forcing_and_both_ways_of_sampling_agree(form, channels, head):
    """Fault: a cache that reads a pixel of another row or column, statistics of the batch, a
    channel out of order.
    """
    law = conditional(form, (channels, 4, 5), head)
    planes = torch.randn(6, 2, 4, 5)
    with torch.no_grad():
        with seeded(0):
            x, total = naive(law, planes)
        with seeded(0):
            cached = law(planes).sample()
        assert torch.equal(cached, x)
        torch.testing.assert_close(law(planes).log_prob(x), total, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("form", "shape"),
    [("ordered", (1, 4, 4)), ("published", (1, 4, 4)), ("ordered", (2, 2, 4))],
)
def test_mass_is_one(form, shape):
    """Fault: any dependence that is not a chain. All 2^16 images, in float64."""
    law = conditional(form, shape, likelihoods.Bernoulli).double()
    planes = torch.randn(2, *shape[1:], dtype=torch.float64)
    images = (torch.arange(2**16)[:, None] >> torch.arange(16)) & 1
    with torch.no_grad():
        log_p = law(planes).log_prob(images.double().unflatten(1, shape))
    assert float(log_p.logsumexp(0)) == pytest.approx(0.0, abs=1e-9)
    assert log_p.std() > 0.1


def test_batch_shapes():
    """Fault: images beside the wrong conditions. Every pair is computed alone, too."""
    law = conditional("ordered", (1, 3, 2), likelihoods.Bernoulli)
    planes, x = torch.randn(2, 3, 2, 3, 2), torch.bernoulli(torch.full((3, 1, 3, 2), 0.5))
    with torch.no_grad():
        log_p = law(planes).log_prob(x)
        assert log_p.shape == (2, 3)
        for s in range(2):
            for b in range(3):
                torch.testing.assert_close(log_p[s, b], law(planes[s, b]).log_prob(x[b]))
        assert law(planes[:, :1]).expand((2, 3)).log_prob(x).shape == (2, 3)
        assert law(planes).sample((4,)).shape == (4, 2, 3, 1, 3, 2)


@pytest.mark.parametrize("shape", [(4, 1, 3, 2), (4, 3, 1, 1), (3, 2), ()])
def test_events_of_another_shape_are_refused(shape):
    """Fault: a grey image that broadcasts, and gets the density of an image of greys in colour."""
    law = conditional("ordered", (3, 3, 2), likelihoods.Bernoulli)(torch.randn(4, 2, 3, 2))
    words = rf"event shape \(3, 3, 2\); got shape {re.escape(str(shape))}\. Reshape `x`"
    with pytest.raises(ValueError, match=words):
        law.log_prob(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_refused(dtype):
    """Fault: torch's own words about matrices, which do not say what to do."""
    words = r"GatedDense in the precision of its weights, .*float\(\)`, and take `precision='bf16'`"
    x = torch.zeros(2, 1, 6, 5)
    for make in (pixel_hvae, conv_hvae, gated_vae):
        model = make((1, 6, 5), latent=2, hidden=6).to(dtype)
        for use in (lambda model: nll(model, x, samples=2), lambda model: model.reconstruct(x)):
            with pytest.raises(ValueError, match=words):
                use(model)
        assert torch.isfinite(model.float().reconstruct(x)).all()
    law = conditional("published", (1, 6, 5), likelihoods.Bernoulli).to(dtype)
    planes = torch.randn(2, 2, 6, 5, dtype=dtype)
    with pytest.raises(ValueError, match="input of MaskedConv2d"):
        law(planes).log_prob(x)
    with pytest.raises(ValueError, match="input of PixelCNN"):
        law(planes).sample()


def test_densities_stay_in_single_precision():
    """Fault: logits in bfloat16, wrong by whole nats; a network that forgets, once autocast is
    closed, that it was to work in half precision.
    """
    law = conditional("published", (1, 6, 5), likelihoods.Bernoulli)
    planes, x = torch.randn(4, 2, 6, 5), torch.bernoulli(torch.full((4, 1, 6, 5), 0.5))
    inputs: list[torch.dtype] = []
    law.heads[0].register_forward_hook(lambda head, args, output: inputs.append(args[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        half = law(planes.bfloat16())
        with seeded(0):
            drawn = half.sample()
    log_p = half.log_prob(x)
    assert inputs == [*30 * [torch.float32], torch.bfloat16]
    assert log_p.dtype == torch.float32
    with seeded(0):
        assert torch.equal(law(planes.bfloat16().float()).sample(), drawn)
    torch.testing.assert_close(log_p, law(planes).log_prob(x), rtol=0.02, atol=0.2)


# -- the models ------------------------------------------------------------------------------------


def test_gated_convolution_is_a_product_with_a_gate():
    """Fault: a gate on the wrong half; a size that is not ceil(n / 2)."""
    layer, x = GatedConv2d(2, 3, 5, 2), torch.randn(4, 2, 7, 10)
    h, g = layer.conv(x).chunk(2, 1)
    torch.testing.assert_close(layer(x), h * torch.sigmoid(g))
    assert layer(x).shape == (4, 3, 4, 5)


@pytest.mark.parametrize("make", [conv_hvae, pixel_hvae])
@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 8, 6)])
def test_images_of_any_size(make, shape):
    """Fault: sizes that are those of MNIST alone; grey values under several numbers per pixel."""
    model = make(shape, latent=2, hidden=6, likelihood=logistic)
    x = model.sample(2, mean=False)
    assert x.shape == (2, *shape)
    assert model.log_joint(model.infer(x, (3,)), x).shape == (3, 2)
    with pytest.raises(ValueError, match=r"images of shape \(C, H, W\).*got \(6,\)"):
        make((6,))


def published_model() -> HVAE:
    prior = VampPrior.random(7, (1, 6, 5), mean=0.5, std=0.1)
    return pixel_hvae((1, 6, 5), prior=prior, latent=2, hidden=6, features=4, published=True)


def test_pseudo_inputs_meet_no_batch_statistics():
    """Fault: normalised encoders, whose statistics would be those of pseudo-inputs, too."""
    model, sizes = published_model().train(), []
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(lambda norm, inputs, output: sizes.append(len(inputs[0])))
    x = torch.bernoulli(torch.full((3, 1, 6, 5), 0.5))
    ELBO(model)(x, 0).loss().backward()
    assert sizes == 8 * [3]
    assert not any(isinstance(part, nn.BatchNorm2d) for part in model.encoder_top.modules())
    assert not any(isinstance(p, nn.BatchNorm2d) for p in pixel_hvae((1, 6, 5)).modules())


@pytest.mark.parametrize("features", [16, 256])
def test_tiles_count_the_network_of_the_decoder(features):
    """Fault: tiles as large as if the PixelCNN took nothing, since it works later than the call of
    ``likelihood``. Three outputs of F features at 195 pixels in float32 make most of a row.
    """
    model = pixel_hvae((1, 15, 13), latent=2, hidden=6, features=features)
    rows = tile_rows(model, 100_000)
    assert 0.9 < rows * 3 * features * 195 * 4 / TILE_BYTES <= 1


def test_sampling_uses_running_statistics():
    """Fault: in training mode, statistics of pixels that are not drawn yet; statistics moved."""
    law = conditional("published", (1, 3, 4), likelihoods.Bernoulli)
    planes = torch.randn(5, 2, 3, 4)
    with seeded(0):
        expected = law(planes).sample()
    before = {name: value.clone() for name, value in law.state_dict().items()}
    with seeded(0):
        assert torch.equal(law.train()(planes).sample(), expected)
    for name, value in law.state_dict().items():
        assert torch.equal(value, before[name])


def test_planes_of_latents():
    """Fault: an image of the wrong latents; samples that do not broadcast."""
    planes = LatentPlanes((2, 3), (1, 4, 5))
    first, second = torch.randn(6, 7, 2), torch.randn(7, 3)
    images = planes(first, second)
    assert images.shape == (6, 7, 2, 4, 5)
    torch.testing.assert_close(images[4, 5, 1], planes.maps[1](second[5]).view(4, 5))
