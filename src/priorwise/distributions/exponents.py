"""The log densities of many Gaussians at many points, by a matrix product where it is exact enough.

Letters: ``M`` components, ``D`` dimensions, ``*`` any leading shape of points.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from priorwise.compilation import untraced

__all__ = ["TOLERANCE", "GaussianExponents", "log_sum_exp_"]

# In nats: how large the error bound of a product may be. Measured errors are below a tenth of it.
TOLERANCE = 0.03
# Elements of the array of differences that is held at once, 16 MB in float32.
_ELEMENTS = 2**22
# In nats: next to a term of 1, a billion terms of exp(-80) are below the rounding of float64.
_NEGLIGIBLE = -80.0


def log_sum_exp_(exponents: Tensor) -> Tensor:
    """``logsumexp`` over the last dimension, ``(*, M) -> (*)``; overwrites its argument.

    Most components are hundreds of nats away from a point. On a CPU an exponential takes about ten
    times as long where it underflows, so exponents that cannot change the sum are raised to where
    it does not.
    """
    peak = exponents.detach().amax(-1, keepdim=True)
    lowest = torch.finfo(exponents.dtype).min  # so that infinity is not subtracted from itself
    lifted = exponents.sub_(peak.clamp(min=lowest)).clamp_(min=_NEGLIGIBLE)
    return lifted.exp_().sum(-1).log() + peak.squeeze(-1)


_Key: TypeAlias = tuple[torch.dtype, bool, bool, tuple[int, ...]]


@dataclass(frozen=True)
class _Product:
    """The exponents as one product of ``(a^2, a)`` with a matrix, where a = z - centre.

    Attributes:
        centre: ``(D,)``.
        matrix: ``(M, 2D)``, from -1/2 sigma^-2 and (mu - centre) sigma^-2.
        constant: ``(M,)``.
        bound: By how many nats an exponent can be off; beyond D nats below the peak the error grows
            with the distance.
    """

    centre: Tensor
    matrix: Tensor
    constant: Tensor
    bound: float

    def __call__(self, z: Tensor) -> Tensor:
        centred = z.to(self.matrix.dtype) - self.centre
        return F.linear(torch.cat([centred.square(), centred], -1), self.matrix, self.constant)


class GaussianExponents:
    r"""``log w_m + log N(z; mu_m, diag sigma_m^2)`` of all components, in one of three ways.

    Expanding :math:`(z - \mu)^2 / \sigma^2` around a centre c gives a matrix product, which is
    fast, and which cancels where :math:`|\mu - c|` is many :math:`\sigma`. In a precision of unit
    roundoff u, every exponent that lies at most D nats below the component's peak is off by at most

    .. math:: (3D + 8)\, u \, \max_m \Big( \tfrac{9}{4} P_m + L_m + \tfrac{11}{2} D \Big), \qquad
              P_m = \tfrac{1}{2} \sum_d \frac{(\mu_{md} - c_d)^2}{\sigma_{md}^2}, \qquad
              L_m = \sum_d |\log \sigma_{md}| + \tfrac{D}{2} \log 2\pi + |\log w_m|

    and further away by :math:`\tfrac{11}{2} (3D + 8) u` of the distance in addition:
    ``docs/derivations/mixture_precision.md``. The product is taken in the precision of the points
    where this is at most ``TOLERANCE``, else in float64, and where that is too coarse as well, or
    the device lacks it, the differences are squared as they stand.

    A float32 product is never taken while the user lets torch compute it in TF32 or bfloat16: the
    float64 product replaces it, forwards and backwards, and no setting is touched. Coefficients and
    their bound are formed once. On a GPU reading the bound waits for the device, once in the life
    of the components.

    Arguments:
        loc: Means, ``(M, D)``.
        scale: Standard deviations, ``(M, D)``.
        log_weights: Log weights, ``(M,)``; equal ones if None.
    """

    def __init__(self, loc: Tensor, scale: Tensor, log_weights: Tensor | None) -> None:
        self.loc = loc
        self.scale = scale
        self.log_weights = log_weights
        self._products: dict[_Key, _Product] = {}

    def __call__(self, z: Tensor) -> Tensor:
        """``(*, D) -> (*, M)`` in nats, in the wider of the dtypes of points and components."""
        dtype = torch.promote_types(z.dtype, self.loc.dtype)
        product = self._exact_product(dtype)
        return self._differences(z.to(dtype)) if product is None else product(z).to(dtype)

    @untraced
    def _exact_product(self, dtype: torch.dtype) -> _Product | None:
        """The product in the lowest precision that is exact enough; None if there is none."""
        for each in (dtype, torch.float64):
            if _is_whole(each, self.loc.device):
                product = self._product(each)
                if product.bound <= TOLERANCE:  # false for NaN
                    return product
        return None

    def _product(self, dtype: torch.dtype) -> _Product:
        parts = (self.loc, self.scale, self.log_weights)
        learned = torch.is_grad_enabled() and any(
            part is not None and part.requires_grad for part in parts
        )
        # what was formed of other values, or is unfit for gradients, is not used again
        versions = tuple(
            -1 if part is None or part.is_inference() else part._version for part in parts
        )
        key = (dtype, learned, torch.is_inference_mode_enabled(), versions)
        if key not in self._products:
            self._products = {
                kept: old for kept, old in self._products.items() if kept[3] == versions
            }
            self._products[key] = self._form(dtype)
        return self._products[key]

    def _form(self, dtype: torch.dtype) -> _Product:
        loc, scale = self.loc.to(dtype), self.scale.to(dtype)
        centre = loc.detach().mean(0)
        offset, log_scale = loc - centre, scale.log()
        precision = scale.square().reciprocal()
        weighted = offset * precision
        reach = 0.5 * (offset * weighted).sum(1)
        matrix = torch.cat([-0.5 * precision, weighted], 1)
        with torch.no_grad():
            bound = self._bound(reach, log_scale)
        return _Product(centre, matrix, self._peak(log_scale) - reach, bound)

    def _bound(self, reach: Tensor, log_scale: Tensor) -> float:
        features = self.loc.shape[1]
        log_weights = self._log_weights(log_scale)
        log_weights = log_weights.where(
            log_weights.isfinite(), 0.0
        )  # a weight of zero has no rounding error
        logs = log_scale.abs().sum(1) + 0.5 * features * math.log(2 * math.pi) + log_weights.abs()
        rounding = (3 * features + 8) * 0.5 * torch.finfo(reach.dtype).eps
        return rounding * float((2.25 * reach + logs + 5.5 * features).amax())

    def _peak(self, log_scale: Tensor) -> Tensor:
        """The log density of each component at its mean, with its log weight, ``(M,)``."""
        log_norm = log_scale.sum(1) + 0.5 * self.loc.shape[1] * math.log(2 * math.pi)
        return self._log_weights(log_scale) - log_norm

    def _log_weights(self, like: Tensor) -> Tensor:
        if self.log_weights is None:
            return like.new_tensor(-math.log(len(self.loc)))
        return self.log_weights.to(like.dtype)

    def _differences(self, z: Tensor) -> Tensor:
        """Without a product, ``(*, D) -> (*, M)``; a few points at a time, to bound the memory."""
        loc, scale = self.loc.to(z.dtype), self.scale.to(z.dtype)
        blocks = z.reshape(-1, z.shape[-1]).split(max(1, _ELEMENTS // loc.numel()))
        squares = torch.cat([((block[:, None] - loc) / scale).square().sum(-1) for block in blocks])
        return (self._peak(scale.log()) - 0.5 * squares).reshape(*z.shape[:-1], len(loc))


def _is_whole(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the device takes products in this precision, and takes them in all of it."""
    if dtype == torch.float64:
        return _has_float64(device)
    return not _float32_is_cut(device)


def _float32_is_cut(device: torch.device) -> bool:
    """Whether torch may compute float32 products in TF32 or bfloat16 on this device."""
    if device.type == "mps":
        return False
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    precision = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    if precision is None:  # torch before 2.9 has one setting for all
        return torch.get_float32_matmul_precision() != "highest"
    return precision not in ("ieee", "none")


def _has_float64(device: torch.device) -> bool:
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type != "mps"
