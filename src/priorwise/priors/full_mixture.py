"""The mixture of Gaussians with full covariances, for a prior that is fitted afterwards.

Letters: ``M`` components, ``D`` latent dimensions, ``N`` codes.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.backbones import location_and_scale
from priorwise.distributions import FullCovarianceMixture, shaped, vector_size
from priorwise.priors.base import AbstractPrior
from priorwise.progress import progress_bar
from priorwise.typing import Encode, Shape

__all__ = ["FullGaussianMixture"]

_STRIDE = 5  # iterations between two looks at the progress bar
_RIDGE = 1e-4  # what is added to each variance, as a part of that of the codes


class FullGaussianMixture(AbstractPrior):
    r"""A mixture of Gaussians with full covariances.

    .. math:: p(z) = \sum_{m=1}^{M} w_m\, \mathcal{N}(z; \mu_m, \Sigma_m)

    Normalised; exact sampling; not reparameterised; latents of any shape, as vectors.
    ``priorwise.fit_prior`` fits it by expectation maximisation (scikit-learn's, started by k-means)
    on one code of each training example, standardised, without gradient steps. To keep a component
    from collapsing onto a few codes, 1e-4 of the codes' variance is added to each variance. It can
    also be trained with a model, by gradients; then nothing bounds the covariances.

    A component has D (D + 3) / 2 + 1 numbers, so a few of them do the work of many diagonal ones.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020), the section on ex-post
        density estimation, which takes 10 components. https://arxiv.org/abs/1903.12436

    Arguments:
        features: Number of latent dimensions, or the shape of the latents.
        components: Number of components M.
        iterations: Iterations of expectation maximisation, at most; it stops where the mean log
            density of the codes grows by less than 1e-3 nats.
        spread: Standard deviation of the initial means.
    """

    def __init__(
        self,
        features: int | Shape,
        components: int = 10,
        *,
        iterations: int = 100,
        spread: float = 0.5,
    ) -> None:
        super().__init__()
        self.shape, size = vector_size(features)
        if size < 1 or components < 1 or iterations < 1:
            raise ValueError(
                "expected `features`, `components` and `iterations` of at least 1; got "
                f"{features}, {components} and {iterations}."
            )
        self.iterations = iterations
        self.loc = nn.Parameter(spread * torch.randn(components, size))
        self.log_diagonal = nn.Parameter(torch.zeros(components, size))
        self.lower = nn.Parameter(torch.zeros(components, size, size))
        self.logits = nn.Parameter(torch.zeros(components))

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        scale_tril = self.lower.tril(-1) + torch.diag_embed(self.log_diagonal.exp())
        vectors = FullCovarianceMixture(self.loc, scale_tril, self.logits.log_softmax(0))
        return shaped(vectors, self.shape)

    def extra_repr(self) -> str:
        """The sizes that repr shows."""
        return f"components={len(self.loc)}, features={self.loc.shape[1]}"

    def start_from(self, codes: Tensor, x: Tensor, *, show: bool = False) -> float:
        """Fit the mixture to codes ``(N, *shape)``, and return their cross-entropy in nats.

        Raises:
            ValueError: if there are fewer codes than components.
        """
        vectors = codes.flatten(1).double().cpu()
        loc, scale = location_and_scale(vectors)
        points = ((vectors - loc) / scale).numpy()
        components = len(self.loc)
        if len(points) < components:
            raise ValueError(
                f"expected at least as many codes as components; got {len(points)} codes and "
                f"{components} components. Use fewer `components`."
            )
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        mixture = GaussianMixture(
            components,
            reg_covar=_RIDGE,
            max_iter=_STRIDE,
            warm_start=True,
            random_state=int(torch.randint(2**31 - 1, ())),
        )
        with (
            progress_bar("expectation maximisation", self.iterations, show=show) as advance,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", ConvergenceWarning)  # each stride ends before the last
            for _ in range(0, self.iterations, _STRIDE):
                mixture.fit(points)
                advance(_STRIDE)
                if mixture.converged_:
                    break
        factors = torch.linalg.cholesky(torch.from_numpy(mixture.covariances_))
        factors = scale[:, None] * factors
        with torch.no_grad():
            self.loc.copy_(loc + scale * torch.from_numpy(mixture.means_))
            self.log_diagonal.copy_(factors.diagonal(dim1=-2, dim2=-1).log())
            self.lower.copy_(factors.tril(-1))
            self.logits.copy_(torch.from_numpy(mixture.weights_).log())
        return float(scale.log().sum()) - float(mixture.score(points))
