"""How large a measurement is: the full one, a quick look, and one for the tests."""

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "TINY", "Scale"]


@dataclass(frozen=True)
class Scale:
    """The sizes of all measurements; the VampPrior paper's networks unless it is tiny.

    Attributes:
        name: What the report calls it.
        hidden: Size of the hidden layers.
        latent: Number of latent dimensions.
        components: Components of the VampPrior.
        batch: Images a training step.
        rounds: Rounds of the step measurements, in which every contender has its turns.
        turns: Turns of each contender a round.
        pipeline_rounds: Rounds of the pipeline measurement.
        pipeline_images: Images a round; the full rounds together make one epoch of MNIST.
        fit_steps: Steps of training behind the models on which bf16 is judged.
        samples: Importance samples of an image.
        likelihood_rounds: Rounds of the likelihood measurement.
        likelihood_images: Images a round that ours evaluates; the peer evaluates the first of them.
        memory_samples: Numbers of samples at which the memory of the likelihood is measured.
        proposals: Numbers of SIR proposals at which memory is measured.
        density_points: Points at which the density of an aggregate posterior is evaluated.
        density_encodings: Encodings of which it is made.
        density_features: Their dimensions.
        density_rounds: Rounds of its measurement.
        density_memory_points: Numbers of points at which its memory is measured.
        precision_images: Images on which bf16 is compared with float32.
        precision_samples: Importance samples of those images.
    """

    name: str
    hidden: int = 300
    latent: int = 40
    components: int = 500
    batch: int = 100
    rounds: int = 30
    turns: int = 5
    pipeline_rounds: int = 10
    pipeline_images: int = 5000
    fit_steps: int = 500
    samples: int = 5000
    likelihood_rounds: int = 10
    likelihood_images: int = 10
    memory_samples: tuple[int, ...] = (500, 5000, 50_000)
    proposals: tuple[int, ...] = (10_000, 1_000_000)
    density_points: int = 5000
    density_encodings: int = 50_000
    density_features: int = 10
    density_rounds: int = 10
    density_memory_points: tuple[int, ...] = (500, 5000)
    precision_images: int = 200
    precision_samples: int = 1000


FULL = Scale("full")
QUICK = Scale(
    "quick",
    rounds=5,
    turns=2,
    pipeline_rounds=3,
    pipeline_images=2000,
    fit_steps=200,
    samples=500,
    likelihood_rounds=3,
    memory_samples=(500, 5000),
    proposals=(10_000, 200_000),
    density_points=1000,
    density_rounds=3,
    density_memory_points=(100, 1000),
    precision_images=50,
    precision_samples=200,
)
TINY = Scale(
    "tiny",
    hidden=8,
    latent=3,
    components=5,
    batch=10,
    rounds=2,
    turns=1,
    pipeline_rounds=1,
    pipeline_images=20,
    fit_steps=2,
    samples=20,
    likelihood_rounds=1,
    likelihood_images=2,
    memory_samples=(),
    proposals=(100, 1000),
    density_points=300,
    density_encodings=5000,
    density_features=3,
    density_rounds=1,
    density_memory_points=(),
    precision_images=4,
    precision_samples=20,
)
