"""What a data set is: its shape, its values, and how a model sees them."""

import math
from dataclasses import dataclass, replace
from typing import get_args

from priorwise.choices import Binarize, Likelihood, Scaling

__all__ = ["DataError", "DataSpec", "MissingDataError"]

_SCALING: dict[str, Scaling] = {
    "bernoulli": "unit",
    "gaussian": "dequantize",
    "discretized_logistic": "midpoint",
}


class DataError(ValueError):
    """Data that cannot be used; the message says what was expected and what to do."""


class MissingDataError(DataError):
    """A data set that is not on this machine and cannot be downloaded."""


@dataclass(frozen=True)
class DataSpec:
    r"""The description of a data set.

    What a model sees of a raw integer r in 0..L-1:

    .. math:: \text{unit: } \frac{r}{L - 1} \qquad \text{midpoint: } \frac{r + 1/2}{L} \qquad
              \text{dequantize: } \frac{r + u}{L},\ u \sim U[0, 1) \text{ afresh each time}

    The density of a Gaussian fitted to integers is unbounded, so the integers are dequantised: the
    mean log density of (r + u) / L, less D log L, is a lower bound on the log probability of r.
    Binarised data are zeros and ones. With "dynamic" a pixel is a one with probability r / (L - 1),
    drawn afresh each time; with "threshold" it is a one if that is above one half.

    References:
        Dequantisation: A note on the evaluation of generative models (Theis et al., 2016), section
        3.1. https://arxiv.org/abs/1511.01844

        Binarisation: On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov & Murray,
        2008). https://homepages.inf.ed.ac.uk/imurray2/pub/08dbn_ais/

    Arguments:
        name: Name of the set.
        shape: Shape of one observation: (C, H, W) for an image, (D,) for a vector.
        levels: Number L of values of a pixel; 2 for binary data, None for real values.
        likelihood: The likelihood that recipes use by default.
        binarize: Whether and how grey values become zeros and ones.
        scaling: How integers become numbers; "none" for real values.
        citation: Whom to cite.
        note: What to know before comparing numbers on this set.
        value_range: The lowest and the highest value that a model sees, which pictures and
            pseudo-inputs follow: [0, 1] for data with levels, and what was observed for real
            values; None if nothing was observed.

    Raises:
        DataError: if the parts do not fit each other.
    """

    name: str
    shape: tuple[int, ...]
    levels: int | None
    likelihood: Likelihood
    binarize: Binarize
    scaling: Scaling
    citation: str = ""
    note: str = ""
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.value_range is not None:
            object.__setattr__(self, "value_range", tuple(self.value_range))
            if not self.value_range[0] < self.value_range[1]:
                raise DataError(
                    f"expected `value_range` as (lowest, highest); got {self.value_range}."
                )
        for field, allowed in (
            ("likelihood", Likelihood),
            ("binarize", Binarize),
            ("scaling", Scaling),
        ):
            if getattr(self, field) not in get_args(allowed):
                raise DataError(
                    f"expected `{field}` as one of {get_args(allowed)}; got "
                    f"{getattr(self, field)!r}."
                )
        if not self.shape or any(size < 1 for size in self.shape):
            raise DataError(
                f"expected a `shape` of positive sizes, (C, H, W) or (D,); got {self.shape}."
            )
        if self.levels is not None and not 2 <= self.levels <= 256:
            raise DataError(
                f"expected `levels` from 2 to 256, or None for real values; got {self.levels}."
            )
        if (self.levels is None) != (self.scaling == "none"):
            raise DataError(
                "expected `scaling` 'none' for real values, and only for them; got "
                f"{self.scaling!r} with {self.levels} levels."
            )
        self._check_likelihood()

    def _check_likelihood(self) -> None:
        binary = self.levels == 2 or self.binarize != "none"
        if self.likelihood == "bernoulli" and not binary:
            raise DataError(
                f"expected zeros and ones for the Bernoulli likelihood; {self.name} has "
                f"{'real values' if self.levels is None else f'{self.levels} levels'}. Set "
                "`binarize` to 'dynamic' or 'threshold', or take another likelihood."
            )
        if self.likelihood != "bernoulli" and self.binarize != "none":
            raise DataError(
                "expected the Bernoulli likelihood for data that are binarised; got "
                f"{self.likelihood!r}. Set `binarize` to 'none', or `likelihood` to 'bernoulli'."
            )
        if self.likelihood == "discretized_logistic" and self.levels is None:
            raise DataError(
                f"expected integers for the discretised logistic likelihood; {self.name} has real "
                "values. Give the pixels as integers 0..255, or take the Gaussian likelihood."
            )

    @property
    def known_range(self) -> tuple[float, float] | None:
        """The lowest and the highest value that a model sees; None if nothing was observed."""
        if self.value_range is None and (self.levels is not None or self.binarize != "none"):
            return (0.0, 1.0)
        return self.value_range

    @property
    def features(self) -> int:
        """How many numbers one observation has."""
        return math.prod(self.shape)

    def overridden(
        self, *, binarize: Binarize | None = None, likelihood: Likelihood | None = None
    ) -> "DataSpec":
        """The description with another binarisation or likelihood.

        If you give only one of the two, the other follows from it. Binarised data take the
        Bernoulli likelihood, and grey data that are no longer binarised take the discretised
        logistic. The Bernoulli likelihood of grey data binarises dynamically. The scaling follows
        from the likelihood.

        Raises:
            DataError: if the two do not fit each other or the data.
        """
        if binarize is None and likelihood is None:
            return self
        if likelihood is None:
            likelihood = self._likelihood_for(binarize)
        if binarize is None:
            grey = likelihood == "bernoulli" and self.levels != 2
            method = self.binarize if self.binarize != "none" else "dynamic"
            binarize = method if grey else "none"
        scaling = "none" if self.levels is None else _SCALING.get(likelihood, "unit")
        return replace(self, binarize=binarize, likelihood=likelihood, scaling=scaling)

    def _likelihood_for(self, binarize: Binarize | None) -> Likelihood:
        if binarize != "none" or self.levels == 2:
            return "bernoulli"
        if self.likelihood != "bernoulli":
            return self.likelihood
        return "gaussian" if self.levels is None else "discretized_logistic"
