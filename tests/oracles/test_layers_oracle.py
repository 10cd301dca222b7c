"""Layers against what they stand for."""

import math

import pytest
import torch
from torch import nn

from priorwise.backbones import LatentClassifier, TwoBranch, gated_body, gated_image_body
from priorwise.conditionals import Conditional, GaussianHead
from priorwise.nn import (
    MLP,
    FlattenEvent,
    GatedDense,
    GatedMerge,
    at_least_float32,
    event_rows,
    he_normal_,
)


def test_gated_dense_is_a_product_with_a_gate():
    """Fault: a gate on the wrong half. h * sigmoid(g), with h and g from the two halves of the
    matrix.
    """
    layer, x = GatedDense(3, 4), torch.randn(2, 5, 3)
    h, g = (x @ layer.linear.weight.T + layer.linear.bias).split(4, -1)
    torch.testing.assert_close(layer(x), h * torch.sigmoid(g))


def test_gated_merge_equals_a_concatenation():
    """Fault: a bias twice, columns in the other order. One dense layer with stacked weights gives
    the same.
    """
    merge, dense = GatedMerge(3, 2, 4), GatedDense(5, 4)
    with torch.no_grad():
        dense.linear.weight.copy_(torch.cat([merge.first.weight, merge.second.weight], 1))
        dense.linear.bias.copy_(merge.first.bias)
    first, second = torch.randn(6, 3), torch.randn(7, 6, 2)
    together = torch.cat([first.expand(7, 6, 3), second], -1)
    torch.testing.assert_close(merge(first, second), dense(together))


def test_gated_merge_starts_as_the_concatenation_would():
    """Fault: an initialisation by each part's own fan-in. The bound of uniform weights is 1 /
    sqrt(first + second).
    """
    merge = GatedMerge(90, 10, 50)
    bound = 1 / math.sqrt(100)
    for parameter in merge.parameters():
        assert 0.9 * bound < float(parameter.detach().abs().max()) <= bound


def test_he_initialisation():
    """Fault: fan-out, a gain of one, or one part's fan-in in a merged layer. Standard deviation
    sqrt(2 / fan_in).
    """
    network = he_normal_(nn.Sequential(GatedDense(200, 300), GatedMerge(150, 50, 300)))
    for weight in (network[0].linear.weight, network[1].first.weight, network[1].second.weight):
        flat = weight.detach().flatten()
        expected = math.sqrt(2 / 200)
        assert abs(float(flat.std()) / expected - 1) < 5.03 / math.sqrt(2 * len(flat))
        assert abs(float(flat.mean())) < 5.03 * expected / math.sqrt(len(flat))


def test_he_initialisation_leaves_biases():
    """Fault: a bias that is set to zero or drawn anew."""
    layer = nn.Linear(3, 4)
    before = layer.bias.detach().clone()
    assert he_normal_(layer) is layer
    assert torch.equal(layer.bias, before)


def test_flatten_event():
    """Fault: batch dimensions that are flattened too."""
    assert FlattenEvent((3, 4))(torch.zeros(5, 2, 3, 4)).shape == (5, 2, 12)
    assert FlattenEvent((4,))(torch.zeros(5, 4)).shape == (5, 4)


def test_event_rows():
    """Fault: rows in another order than the batch."""
    x = torch.randn(2, 3, 4, 5)
    rows, batch_shape = event_rows(x, 2)
    assert (rows.shape, batch_shape) == ((6, 4, 5), (2, 3))
    assert torch.equal(rows.unflatten(0, batch_shape), x)


def test_mlp_ends_without_an_activation():
    """Fault: outputs that cannot be negative, a layer too few."""
    network = MLP(2, 3, (4, 5), nn.ReLU)
    assert [type(layer).__name__ for layer in network] == [
        "Linear",
        "ReLU",
        "Linear",
        "ReLU",
        "Linear",
    ]
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [4, 5, 3]
    assert len(MLP(2, 3, ())) == 1


def test_at_least_float32():
    """Fault: double precision that is lost."""
    for dtype, expected in [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        assert at_least_float32(torch.zeros(1, dtype=dtype)).dtype == expected


def test_two_branches_meet():
    """Fault: branches that are swapped."""
    body = TwoBranch(nn.Linear(3, 4), nn.Linear(2, 4), hidden=4)
    first, second = torch.randn(6, 3), torch.randn(5, 6, 2)
    torch.testing.assert_close(
        body(first, second), body.merge(body.first(first), body.second(second))
    )
    assert body(first, second).shape == (5, 6, 4)


def test_gated_bodies():
    """Fault: an event that is not flattened; another number of layers."""
    assert gated_image_body((1, 4, 4), 8)(torch.zeros(3, 1, 4, 4)).shape == (3, 8)
    assert len(gated_body(5, 8)) == 2


def test_gaussian_head():
    """Fault: the log-variance taken for a log standard deviation, means and variances swapped, no
    range.
    """
    head = GaussianHead(3, 2)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor([0.5, -1.0, 100.0, math.log(0.25)]))
    law = Conditional(nn.Identity(), head)(torch.zeros(4, 3))
    assert (law.batch_shape, law.event_shape) == ((4,), (2,))
    torch.testing.assert_close(law.mean[0], torch.tensor([0.5, -1.0]))
    torch.testing.assert_close(law.stddev[0], torch.tensor([math.e, 0.5]))
    free = GaussianHead(3, 2, log_var_range=None)
    free.load_state_dict(head.state_dict())
    assert float(free(torch.zeros(3)).stddev.detach()[0]) > 1e20


def test_classifier_bounds_its_logit():
    """Fault: a hard clip, whose gradient vanishes; a bound that is not kept. c tanh(l / c)."""
    free = LatentClassifier(2, 3, hidden_features=(8, 4))
    bounded = LatentClassifier(2, 3, hidden_features=(8, 4), max_logit=0.5)
    bounded.load_state_dict(free.state_dict())
    z, context = 30 * torch.randn(7, 5, 2), torch.randn(5, 3)
    encoded = free.encode_context(context)
    logit = free(z, encoded)
    assert logit.shape == (7, 5)
    torch.testing.assert_close(bounded(z, encoded), 0.5 * torch.tanh(logit / 0.5))


def test_classifier_adds_its_context_before_the_first_activation():
    """Fault: a context that is ignored, or joined by something else than a concatenation."""
    classifier = LatentClassifier(2, 3, hidden_features=(8,))
    z, context = torch.randn(5, 2), torch.randn(5, 3)
    joined = (
        torch.cat([z, context], -1)
        @ torch.cat([classifier.latent.weight, classifier.context.weight], 1).T
    )
    expected = classifier.rest(joined + classifier.latent.bias).squeeze(-1)
    torch.testing.assert_close(classifier(z, classifier.encode_context(context)), expected)


def test_classifier_asks_for_what_it_needs():
    with pytest.raises(ValueError, match="expected a `context`; got None"):
        LatentClassifier(2, 3)(torch.zeros(1, 2))
    with pytest.raises(
        ValueError, match="expected at least one hidden layer in `hidden_features`; got none"
    ):
        LatentClassifier(2, hidden_features=())
