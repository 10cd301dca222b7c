"""Errors for arguments of the wrong kind, in a process without the type checker, which would speak
first.
"""

import json
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import json
import torch
from torch import nn
from priorwise import likelihoods, models, objectives, priors, randomness

vae = models.gated_vae((1, 2, 2), latent=2, hidden=4)
x = torch.zeros(3, 1, 2, 2)

def wrapped(encode=nn.Flatten(), decode=nn.Linear(4, 4)):
    return models.wrap(encode=encode, decode=decode, latent=4, modules=())

class Returns(nn.Module):
    def forward(self):
        return torch.zeros(2)

def seeded():
    with randomness.seeded(0, 1.5):
        pass

CASES = {
    "prior": lambda: priors.as_prior(torch.zeros(2)),
    "wrapped prior": lambda: priors.WrappedPrior(Returns())(),
    "base": lambda: models.NCP(nn.Linear(2, 2)),
    "ncp of ncp": lambda: models.NCP(models.NCP(vae)),
    "nce": lambda: objectives.NCE(vae),
    "kl": lambda: objectives.ELBO(vae, kl="exact"),
    "encode": lambda: models.wrap(encode=3, decode=nn.Linear(2, 2), latent=2),
    "listed modules": lambda: models.wrap(
        encode=abs, decode=abs, latent=2, modules=[torch.zeros(2)]
    ),
    "a number of modules": lambda: models.wrap(encode=abs, decode=abs, latent=2, modules=2),
    "encoded dictionary": lambda: wrapped(encode=lambda x: {"mean": x}).infer(x),
    "encoded triple": lambda: wrapped(encode=lambda x: (x, x, x)).infer(x),
    "decoded list": lambda: wrapped(decode=lambda z: [z]).sample(2),
    "scale": lambda: likelihoods.Gaussian(2, (3,), scale="each"),
    "fixed scale": lambda: likelihoods.Gaussian(2, (3,), scale=0.0),
    "mixture shape": lambda: likelihoods.DiscretizedLogisticMixture(2, (3,)),
    "address": seeded,
}

said = {}
for name, case in CASES.items():
    try:
        case()
        said[name] = ["nothing", ""]
    except Exception as error:
        said[name] = [type(error).__name__, str(error)]
print(json.dumps(said))
"""

EXPECTED = {
    "prior": (
        "TypeError",
        "as a module that returns a Distribution, such as priorwise.priors; got Tensor",
    ),
    "wrapped prior": (
        "TypeError",
        "expected `Returns()` to return a torch Distribution; got Tensor",
    ),
    "base": (
        "TypeError",
        "expected a priorwise model with `top_down` and `likelihood`; got Linear",
    ),
    "ncp of ncp": ("TypeError", "expected a model that is not an NCP itself"),
    "nce": ("TypeError", "expected a priorwise.NCP; got VAE. Wrap the model: priorwise.NCP(model)"),
    "kl": ("ValueError", "expected `kl` as 'sample', 'entropy' or 'analytic'; got 'exact'"),
    "encode": ("TypeError", "expected `encode` to be callable; got int"),
    "listed modules": ("TypeError", "expected `modules` as a list of torch modules; got Tensor"),
    "a number of modules": ("TypeError", "expected `modules` as a list of torch modules; got int"),
    "encoded dictionary": ("TypeError", "expected `encode(x)` to return a Distribution, a pair"),
    "encoded triple": ("TypeError", "expected `encode(x)` to return a Distribution, a pair"),
    "decoded list": (
        "TypeError",
        "expected `decode(z)` to return a Distribution or a tensor of means; got list",
    ),
    "scale": (
        "ValueError",
        "expected `scale` as a number, 'learned', 'per_output' or 'predicted'; got 'each'",
    ),
    "fixed scale": ("ValueError", "expected a positive `scale`; got 0.0"),
    "mixture shape": ("ValueError", "expected `shape` as (C, H, W); got (3,)"),
    "address": ("TypeError", "expected an address of integers and strings; got 1.5 of type float"),
}


@pytest.fixture(scope="module")
def said():
    program = textwrap.dedent(PROGRAM)
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout)


@pytest.mark.parametrize("case", EXPECTED)
def test_refusal(said, case):
    """Fault: an argument of the wrong kind that is taken, or refused without saying what was
    expected.
    """
    kind, message = said[case]
    assert kind == EXPECTED[case][0]
    assert EXPECTED[case][1] in message
