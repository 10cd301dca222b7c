"""Disentanglement scores of codes whose scores are known by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from priorwise import wrap
from priorwise.data import Sprites
from priorwise.estimators import dci, disentanglement_scores, factor_vae_score, mig
from priorwise.estimators.disentanglement import relative_importance as importance
from priorwise.testing import standard_errors
from priorwise.testing.significance import ALPHA, Z_LIMIT


def grid(*sizes: int, copies: int = 1) -> Tensor:
    """Every combination of factors, several times."""
    return torch.cartesian_prod(*(torch.arange(size) for size in sizes)).repeat(copies, 1)


def within_chance(estimate, truth: float) -> bool:
    return abs(standard_errors(estimate.value, truth, estimate.stderr)) < Z_LIMIT


def triangle_entropy(n: int) -> float:
    """The entropy in nats of the sum of two uniform numbers from 0 to n - 1."""
    p = [(n - abs(total - n + 1)) / n**2 for total in range(2 * n - 1)]
    return -sum(share * math.log(share) for share in p)


def mixed(N: int) -> tuple[Tensor, Tensor]:
    """Codes between perfect and none, and their factors."""
    factors = torch.randint(4, (N, 2))
    noise = 0.7 * torch.randn(N, 3)
    x, y = factors.T
    return torch.stack([x + noise[:, 0], y + 0.5 * x + noise[:, 1], noise[:, 2]], 1), factors


# -- perfect codes ---------------------------------------------------------------------------------

PERFECT = {
    "as they are": lambda z: z,
    "in another order": lambda z: z[:, [2, 0, 1]],
    "shifted, scaled, mirrored": lambda z: (
        z * torch.tensor([3.0, -0.5, 20.0]) + torch.tensor([5.0, -9.0, 0.3])
    ),
    "in single precision": lambda z: z.float(),
    "beside a constant": lambda z: torch.cat([z, torch.full_like(z[:, :1], 7.0)], 1),
}


@pytest.mark.parametrize("name", PERFECT)
def test_perfect_codes_score_one(name):
    """Fault: entropies in bits or not divided by; bins that merge values; rows for columns; 0 / 0
    of a constant dimension.
    """
    factors = grid(3, 5, 4, copies=20)
    codes = PERFECT[name](factors.double())
    assert mig(codes, factors).value == pytest.approx(1, abs=1e-12)
    scores = dci(codes, factors, trees=5, repeats=2)
    for estimate in (scores.disentanglement, scores.completeness, scores.informativeness):
        assert estimate.value == pytest.approx(1, abs=1e-12)
    score = factor_vae_score(codes, factors, votes=300, batch=32)
    assert score.value == 1
    assert score.diagnostics["live dimensions"] == 3


def test_values_are_labels():
    """Fault: factors counted by their numbers instead of their values, which negative or large
    numbers break.
    """
    codes, factors = mixed(300)
    renamed = torch.tensor([-7, 10**12, 0, 3])[factors]
    assert mig(codes, renamed).value == pytest.approx(mig(codes, factors).value, rel=1e-12)
    assert factor_vae_score(codes, renamed).value > 0.6


# -- noise -----------------------------------------------------------------------------------------


def test_the_gap_of_noise_is_within_its_bias():
    """Fault: an information without one of its entropies, or cells shared between dimensions, both
    far above.

    2 N I is chi-squared of (bins - 1)(values - 1) = d degrees, so I has mean d / 2N, the stated
    bias, and with probability 1 - e^-t is below (d + 2 sqrt(d t) + 2 t) / 2N (Laurent & Massart,
    2000). The gap is below the largest of 8 x 2 of them.
    """
    N, D, values, bins = 20_000, 8, 4, 20
    factors = torch.randint(values, (N, 2))
    scores = mig(torch.rand(N, D), factors, bins=bins)
    degrees, t = (bins - 1) * (values - 1), math.log(2 * D / ALPHA)
    limit = (degrees + 2 * math.sqrt(degrees * t) + 2 * t) / (2 * N * math.log(values))
    assert limit < 0.003
    assert 0 <= scores.value < limit
    assert scores.diagnostics["noise_floor"] == pytest.approx(
        degrees / (2 * N * math.log(values)), rel=1e-3
    )
    assert scores.warnings == ()


def test_votes_of_noise_are_right_by_chance():
    """Fault: votes that decide are also judged: of 4 votes a dimension, the majority is right by
    itself (0.56 here).
    """
    N, F = 20_000, 3
    factors = torch.randint(3, (N, F))
    score = factor_vae_score(torch.randn(N, 100), factors, votes=400)
    assert within_chance(score, 1 / F)
    assert score.stderr == pytest.approx(math.sqrt(1 / 3 * 2 / 3 / 400), rel=0.1)
    assert score.diagnostics["chance"] == 1 / F


def test_forests_find_nothing_in_noise():
    """Fault: rows and columns exchanged in the sums, or importances that are not shares.

    Over 100 seeds D and C had mean 0.003 and 0.004, and never exceeded 0.011; I is a share of
    answers.
    """
    factors = torch.randint(4, (1000, 2))
    scores = dci(torch.randn(1000, 3), factors, trees=10, repeats=2)
    assert 0 <= scores.disentanglement.value < 0.03
    assert 0 <= scores.completeness.value < 0.03
    torch.testing.assert_close(scores.importance.sum(0), torch.ones(2, dtype=torch.float64))
    # two factors on 500 examples, twice on halves that overlap: no less than 1000 independent
    # answers
    assert abs(scores.informativeness.value - 0.25) < Z_LIMIT * math.sqrt(0.25 * 0.75 / 1000)
    assert scores.informativeness.diagnostics["chance"] == pytest.approx(0.25, abs=0.06)


# -- codes between ---------------------------------------------------------------------------------


def test_the_gap_of_a_sum_is_worked_out():
    """z = (x + y, y): the sum tells H(x + y) - log n of either, y tells log n of y, so the gaps add
    to log n.

    Fault: an information of the wrong pair, the gap to the last instead of the second, a mean over
    dimensions.
    """
    n = 8
    x, y = grid(n, n).T
    scores = mig(torch.stack([x + y, y, 0 * x], 1).double(), grid(n, n), bins=200, names=("x", "y"))
    told = triangle_entropy(n) - math.log(n)
    assert scores.diagnostics["x"] == pytest.approx(told / math.log(n), abs=1e-12)
    assert scores.diagnostics["y"] == pytest.approx(1 - told / math.log(n), abs=1e-12)
    assert scores.value == pytest.approx(0.5, abs=1e-12)


def test_a_rotation_by_45_degrees_is_entangled():
    """Both dimensions tell the same of both factors, and together all: only the informativeness is
    left.

    Fault: the gap to zero instead of the second best; completeness over factors instead of
    dimensions. With 19 bins no value is on an edge (2 (n - 1) is no multiple of 19), so that the
    mirror image of a code falls into the mirror images of its bins.
    """
    n = 8
    factors = grid(n, n, copies=30)
    x, y = factors.T.double()
    codes = torch.stack([x + y, x - y], 1) / math.sqrt(2)
    gap = mig(codes, factors, bins=19)
    assert gap.value == pytest.approx(0, abs=1e-12)
    scores = dci(codes, factors)
    assert scores.informativeness.value == pytest.approx(1, abs=0.01)
    assert scores.disentanglement.value < 0.02
    assert scores.completeness.value < 0.02
    score = factor_vae_score(codes, factors)
    assert within_chance(score, 0.5)


def test_copies_cost_completeness_and_nothing_else():
    """Every dimension twice: MIG 0, and completeness 1 - log 2 / log D, as two of the D share a
    factor alike.

    Fault: entropies to the base of F, or shares over the factors. The forest shares between copies
    by tossing coins, which can only raise the completeness (it is convex): over 50 seeds by 0.001
    to 0.011 here.
    """
    factors = grid(4, 5, copies=40)
    codes = factors.double()[:, [0, 1, 0, 1]]
    assert mig(codes, factors).value == pytest.approx(0, abs=1e-12)
    scores = dci(codes, factors)
    assert scores.disentanglement.value == pytest.approx(1, abs=1e-12)
    assert 0 <= scores.completeness.value - (1 - math.log(2) / math.log(4)) < 0.05
    assert factor_vae_score(codes, factors).value == 1


def test_an_uneven_copy():
    """Three dimensions, one of the factors twice: completeness is the mean over factors, to the
    base of three dimensions.
    """
    factors = grid(4, 5, copies=40)
    scores = dci(factors.double()[:, [0, 0, 1]], factors)
    exact = (1 - math.log(2) / math.log(3) + 1) / 2
    assert 0 <= scores.completeness.value - exact < 0.05
    assert mig(factors.double()[:, [0, 0, 1]], factors).value == pytest.approx(0.5, abs=1e-12)


def test_one_dimension_for_all_is_complete_and_not_disentangled():
    """z_1 tells both factors, one of them with rare errors, and z_2 a little of that one: D is near
    0 and C near 1.

    Fault: a mean over dimensions without weights, by which the crumbs of z_2, all for one factor,
    make D 0.5; D and C exchanged.
    """
    factors = grid(3, 3, copies=100)
    x, y = factors.T
    seen = torch.where(torch.rand(len(y)) < 0.05, torch.randint(3, (len(y),)), y)
    scores = dci(torch.stack([3 * x + seen, y + 2 * torch.randn(len(y))], 1), factors)
    assert float(scores.importance[1, 1]) > 0.005
    assert scores.informativeness.value > 0.9
    assert scores.disentanglement.value < 0.15
    assert scores.completeness.value > 0.7


# -- dimensions that the model ignores -------------------------------------------------------------


def test_dead_dimensions_do_not_vote():
    """Fault: a dimension of variance 1e-7 that stands still in most batches of either factor, and
    so wins their votes (0.63);
    variances that are not divided by those over all examples, of which the second dimension has
    always the smaller (0.5).
    """
    factors = grid(4, 4, copies=100)
    noise = 0.3 * torch.randn(len(factors), 2, dtype=torch.float64)
    codes = (factors + noise) * torch.tensor([20.0, 1.0], dtype=torch.float64)
    dead = 1e-3 * (factors == 0).all(1).double()
    with_dead = torch.cat([codes, dead[:, None]], 1)
    assert factor_vae_score(with_dead, factors).value == 1
    assert factor_vae_score(with_dead, factors).diagnostics["live dimensions"] == 2
    assert factor_vae_score(with_dead, factors, threshold=0.0).value < 0.8


def test_a_collapsed_code_scores_nothing():
    """Fault: 0 / 0, a perfect score for a variance of zero, or a crash in the middle of a sweep."""
    factors = grid(3, 4, copies=100)
    codes = torch.full((len(factors), 5), 0.1)
    assert mig(codes, factors).value == 0
    scores = dci(codes, factors, trees=2, repeats=2)
    assert scores.disentanglement.value == scores.completeness.value == 0
    score = factor_vae_score(codes, factors)
    assert within_chance(score, 0.5)
    assert "ignores its latents" in score.warnings[0]


# -- errors ----------------------------------------------------------------------------------------


def test_the_error_of_the_gap_is_its_spread():
    """Fault: examples not drawn again (0), an error of the mean of the resamplings (a sixth), a
    root of two.

    The spread of 100 scores has a relative error of 1 / sqrt(200); their errors' own is smaller.
    """
    scores = [mig(*mixed(1000), bootstrap=30, seed=seed) for seed in range(100)]
    spread = torch.tensor([estimate.value for estimate in scores]).std()
    claimed = torch.tensor([estimate.stderr_data for estimate in scores]).mean()
    assert abs(float(claimed / spread) - 1) < Z_LIMIT / math.sqrt(200)
    assert mig(*mixed(100), bootstrap=0).stderr_data is None


def test_the_error_of_the_votes_is_their_spread():
    """Fault: the error of all votes of both sets; a seed that does not reach the votes."""
    codes, factors = mixed(2000)
    codes += torch.randn_like(codes)
    scores = [
        factor_vae_score(codes, factors, votes=200, batch=4, seed=seed) for seed in range(100)
    ]
    values = torch.tensor([estimate.value for estimate in scores])
    claimed = torch.tensor([estimate.stderr for estimate in scores]).mean()
    assert 0.6 < float(values.mean()) < 0.95
    assert abs(float(claimed / values.std()) - 1) < Z_LIMIT / math.sqrt(200)


@pytest.mark.parametrize("repeats", [2, 3, 5, 10, 11, 20])
def test_few_repeats_have_an_error_that_still_covers(repeats):
    """Fault: the plain spread of five repeats, whose 1.96 contain the mean in 88 %; the degrees of
    freedom off by one.
    """
    values = torch.randn(200_000, repeats, dtype=torch.float64)
    errors = values.std(1) / math.sqrt(repeats) * importance._widened(repeats)
    covered = float((values.mean(1).abs() < 1.96 * errors).double().mean())
    assert abs(covered - 0.95) < Z_LIMIT * math.sqrt(0.95 * 0.05 / 200_000) + 0.001


def test_the_errors_of_the_forest_cover_its_spread():
    """Fault: the error of the mean over repeats given as that of the data (half of it here), or the
    other way round.

    The forest's own randomness counts in, and four repeats are widened by 1.6, so the errors are
    rather too large.
    """
    scores = [dci(*mixed(400), trees=5, repeats=4, seed=seed) for seed in range(20)]
    ratios = []
    for name in ("disentanglement", "completeness", "informativeness"):
        estimates = [getattr(item, name) for item in scores]
        spread = float(torch.tensor([estimate.value for estimate in estimates]).std())
        claimed = float(torch.tensor([estimate.stderr_data for estimate in estimates]).mean())
        ratios.append(claimed / spread)
        assert 0.85 < ratios[-1] < 5
        assert all(
            estimate.stderr == pytest.approx(estimate.stderr_data / 2) for estimate in estimates
        )
    assert sum(ratios) / 3 > 1.4  # 1.2 without the widening


@pytest.mark.parametrize(
    "score",
    [mig, lambda *given, **options: dci(*given, **options).disentanglement, factor_vae_score],
)
def test_scores_are_repeatable_and_leave_the_stream_alone(score):
    """Fault: a draw outside of ``seeded``, a seed that is not used."""
    codes, factors = mixed(500)
    before = torch.get_rng_state()
    first, again, other = (
        score(codes, factors),
        score(codes, factors),
        score(codes, factors, seed=1),
    )
    assert torch.equal(before, torch.get_rng_state())
    assert first == again
    assert (first.value, first.stderr, first.stderr_data) != (
        other.value,
        other.stderr,
        other.stderr_data,
    )
    assert first.to_json()["protocol"]["seed"] == 0


# -- refusals --------------------------------------------------------------------------------------

FACTORS = grid(3, 4, copies=5)
CODES = FACTORS.double()
REFUSED = {
    "one dimension": (
        CODES[:, :1],
        FACTORS,
        r"`codes` of shape \(N, D\) with at least 2 dimensions; got \(60, 1\)",
    ),
    "exchanged": (FACTORS, FACTORS, "`codes` as floating-point numbers; got torch.int64"),
    "not finite": (CODES / 0, FACTORS, "expected finite `codes`; got NaN or infinity"),
    "no factors": (
        CODES,
        FACTORS[:, 0],
        r"`factors` of shape \(N, F\) with at least 2 factors; got \(60,\)",
    ),
    "real factors": (CODES, CODES, "`factors` as integers; got torch.float64"),
    "other examples": (CODES, FACTORS[:9], "as many examples as there are codes, 60; got 9"),
    "constant factor": (
        CODES,
        FACTORS * torch.tensor([1, 0]),
        "at least 2 values of each factor; factor 1 never changes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("score", [mig, dci, factor_vae_score])
def test_what_cannot_be_scored_is_refused(score, name):
    codes, factors, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        score(codes, factors)


@pytest.mark.parametrize(
    ("score", "options", "message"),
    [
        (mig, {"bins": 1}, "expected `bins` of at least 2"),
        (mig, {"bootstrap": 1}, "`bootstrap` of 0 or at least 2"),
        (mig, {"names": ("x",)}, "expected 2 `names`, one for each factor; got 1"),
        (dci, {"repeats": 1}, "`repeats` of at least 2"),
        (factor_vae_score, {"batch": 1}, "`batch` of at least 2"),
        (factor_vae_score, {"threshold": math.nan}, "`threshold` of at least 0"),
    ],
)
def test_options_are_checked(score, options, message):
    with pytest.raises(ValueError, match=message):
        score(CODES, FACTORS, **options)


def test_too_few_examples_for_two_halves():
    with pytest.raises(ValueError, match="expected at least 20 examples, for two halves; got 12"):
        dci(CODES[:12], FACTORS[:12])


def test_reasons_for_doubt_are_said():
    codes, factors = grid(30, 2).double(), grid(30, 2)
    assert "factor 0 has 30 values but there are only 20 bins" in mig(codes, factors).warnings[0]
    assert "60 examples are few" in mig(codes, factors).warnings[1]
    assert (
        "the rarest value of a factor has only 2 examples"
        in factor_vae_score(codes, factors).warnings[0]
    )


# -- of a model ------------------------------------------------------------------------------------


class Centroid(nn.Module):
    """Encodes an image as the place of its pixels: x and y, perfectly, but for what is dropped in
    training mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dropout(x)
        places = torch.arange(x.shape[-1], dtype=x.dtype)
        mass = x.sum((1, 2, 3))
        mean = torch.stack([(x.sum((1, 2)) @ places) / mass, (x.sum((1, 3)) @ places) / mass], 1)
        return mean, torch.zeros_like(mean)


@pytest.fixture(scope="module")
def moved() -> tuple[Tensor, Tensor]:
    """One heart at all places, and its factors x and y."""
    factors = grid(1, 1, 1, 16, 16, copies=20) + torch.tensor([2, 3, 4, 0, 0])
    return Sprites().draw(factors), factors[:, 3:]


def test_a_model_that_finds_the_places_scores_one(moved):
    """Fault: images and factors that part when examples are chosen; draws from q(z|x) instead of
    its mean; training mode.
    """
    model = wrap(encode=Centroid(), decode=nn.Identity(), latent=2).train()
    scores = disentanglement_scores(model, *moved, examples=4000, names=("x", "y"))
    assert scores.mig.value == pytest.approx(1, abs=0.01)  # 4000 of 5120 are not quite a grid
    assert set(scores.mig.diagnostics) == {"x", "y", "noise_floor"}
    assert scores.dci.disentanglement.value == pytest.approx(1, abs=1e-12)
    assert scores.dci.informativeness.value == 1
    assert scores.factor_vae_score.value == 1
    assert scores.mig.count == 4000
    assert model.training


class Faint(nn.Module):
    """Encodes two numbers, and once more with means of a thousandth under noise of one: no draw
    tells anything of these.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([x, 1e-3 * x], 1), torch.tensor([-20.0, -20.0, 0.0, 0.0]).expand(len(x), 4)


def test_draws_are_codes_of_their_own():
    """Fault: means in place of draws, by which a dimension that the model ignores is as good as
    another (MIG 0).
    """
    factors = grid(4, 4, copies=200)
    model = wrap(encode=Faint(), decode=nn.Identity(), latent=4)
    assert disentanglement_scores(model, factors.float(), factors).mig.value == pytest.approx(
        0, abs=1e-12
    )
    drawn = disentanglement_scores(model, factors.float(), factors, sample=True)
    assert drawn.mig.value == pytest.approx(1, abs=0.02)
    assert drawn.dci.completeness.value == pytest.approx(1, abs=0.01)


def test_a_model_needs_what_it_was_trained_on(moved):
    x, factors = moved
    model = wrap(encode=Centroid(), decode=nn.Identity(), latent=2)
    with pytest.raises(
        ValueError,
        match=r"expected `factors` for every observation; got .* factors of shape \(10, 2\)",
    ):
        disentanglement_scores(model, x, factors[:10])
    with pytest.raises(ValueError, match="as the model sees it; got integers up to 255"):
        disentanglement_scores(model, 255 * x, factors)
