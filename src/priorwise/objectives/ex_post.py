"""The prior alone, fitted to the codes of a frozen encoder."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from priorwise.models import AbstractModel, frozen, require_prior
from priorwise.objectives.base import AbstractObjective, Explanation, Terms, refuse_unnormalised
from priorwise.objectives.judging import ROWS, mean_over_blocks

__all__ = ["ExPostPrior"]

_OBSERVED = 10_000  # examples that pseudo-inputs may start from


class ExPostPrior(AbstractObjective):
    r"""Ex-post density estimation: the prior learns the codes, and nothing else changes.

    .. math:: -\mathbb{E}_{q(z|x)}[\log p(z)]

    The codes are drawn afresh at every step. All of the model except its prior is frozen: it is in
    eval mode, and its parameters get no gradients. Gradients do pass through the frozen encoder to
    what the prior feeds into it, such as the pseudo-inputs of a VampPrior. A deterministic encoder
    works: its codes are points. In a hierarchy, the top prior is fitted to draws from the top
    posterior.

    One term, ``cross_entropy``, in nats per example. Its minimum over all priors is the entropy of
    the aggregate posterior.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020), the section on ex-post
        density estimation, which uses mixtures of Gaussians and EM.
        https://arxiv.org/abs/1903.12436

    Arguments:
        model: A model with a ``prior``: VAE, HVAE, WrappedVAE, or your own.
        from_codes: Whether the fit sets the prior's starting values from the codes
            (``AbstractPrior.start_from``), and so replaces those that it has. A mixture with full
            covariances is then fitted by expectation maximisation alone.

    Raises:
        TypeError: if the model has no such prior, or one without a normalised density.
        ValueError: if the prior shares parameters with the rest of the model.
    """

    sees_only_codes = True

    def __init__(self, model: AbstractModel, *, from_codes: bool = False) -> None:
        super().__init__()
        self.from_codes = from_codes
        refuse_unnormalised(model, "cross-entropy")
        prior = require_prior(model)
        self.model = model
        inside = {id(parameter) for parameter in prior.parameters()}
        if any(id(parameter) in inside for part in self._rest() for parameter in part.parameters()):
            raise ValueError(
                "expected a prior with its own parameters; got one that shares parameters with the "
                "rest of the model, which stays frozen."
            )

    @property
    def trained(self) -> nn.Module:
        """The prior."""
        return require_prior(self.model)

    def _rest(self) -> list[nn.Module]:
        """The parts of the model other than the prior."""
        return [part for part in self.model.children() if part is not self.trained]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keeps everything except the prior frozen."""
        direct = [
            (parameter, parameter.requires_grad)
            for parameter in self.model.parameters(recurse=False)
        ]
        mode = self.model.training
        try:
            with ExitStack() as stack:
                for part in self._rest():
                    stack.enter_context(frozen(part))
                for parameter, _ in direct:
                    parameter.requires_grad = False
                self.model.training = False
                yield
        finally:
            self.model.training = mode
            for parameter, flag in direct:
                parameter.requires_grad = flag

    def start(self, batches: Iterator[Tensor], *, show: bool) -> Mapping[str, float] | None:
        """Let the prior start from one code of each example."""
        if not self.from_codes:
            return None
        codes: list[Tensor] = []
        observed: list[Tensor] = []
        with torch.no_grad():
            for x in batches:
                codes.append(self.model.infer(x)[0].z)
                if sum(len(part) for part in observed) < _OBSERVED:
                    observed.append(x)
            cross_entropy = require_prior(self.model).start_from(
                torch.cat(codes), torch.cat(observed), show=show
            )
        return None if cross_entropy is None else {"cross_entropy": cross_entropy}

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One code of each example.

        Raises:
            ValueError: if the prior is over latents of another shape, or its normaliser is unknown.
        """
        top = self.model.infer(x)[0]
        if top.prior.event_shape != top.z.shape[1:]:
            raise ValueError(
                f"expected a prior over latents of shape {tuple(top.z.shape[1:])}; got one over "
                f"{tuple(top.prior.event_shape)}."
            )
        return Terms({"cross_entropy": -top.prior.log_prob(top.z.detach())})

    @property
    def metric(self) -> str:
        """The cross-entropy of the codes."""
        return "cross_entropy"

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float:
        """The mean over all examples, one code each, in nats; the batch size has no influence."""
        return mean_over_blocks(
            lambda batch: self(batch).per_example["cross_entropy"],
            x,
            block=ROWS,
            seed=seed,
            address="codes",
        )

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        start = "; the prior starts from the codes" if self.from_codes else ""
        return Explanation(
            minimised="cross_entropy",
            terms={
                "cross_entropy": "weight 1; -log p(z) at a draw from q(z|x) of the top group, nats"
                + start
            },
            is_bound=False,
            bound="it is the part of the negative ELBO that depends on the prior; the distortion "
            "and the entropy of q(z|x) are missing",
            remarks=("its minimum over all priors is the entropy of the aggregate posterior",),
        )
