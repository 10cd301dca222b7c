"""The data sets that have a name: what each one is, whether it is here, and how to get it.

Nothing here reads an array, so the sets can be listed without numpy and torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from priorwise.data.sources import CACHE_VARIABLE, DATA_VARIABLE, Remote, find, places
from priorwise.data.spec import DataSpec

__all__ = [
    "ARRAYS",
    "EMBEDDED",
    "NAMED",
    "NamedSet",
    "State",
    "availability",
    "missing_message",
    "names",
    "spec_of",
    "state",
    "where_data_are",
]

State: TypeAlias = Literal["embedded", "at hand", "download", "missing"]

ARRAYS = ("x_train", "x_val", "x_test")


@dataclass(frozen=True)
class NamedSet:
    """One published data set.

    Attributes:
        spec: Description of its data.
        sizes: Number of training, validation and test images.
        how: How to get the file, for the error when it is missing.
        remotes: Training and test images as idx files, if they can be downloaded; else empty.
        probabilities: Whether the file may hold float32 values in [0, 1] instead of bytes.
    """

    spec: DataSpec
    sizes: tuple[int, int, int]
    how: str
    remotes: tuple[Remote, ...] = ()
    probabilities: bool = False

    @property
    def layout(self) -> str:
        """The arrays that the file must hold."""
        height, width = self.spec.shape[1:]
        arrays = ", ".join(
            f"{key} ({n}, {height}, {width})" for key, n in zip(ARRAYS, self.sizes, strict=True)
        )
        values = "0 and 1" if self.spec.levels == 2 else "0..255"
        return f"uint8 arrays {arrays} with values {values}"


_MNIST_CITATION = (
    "LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, 1998"
)
_OMNIGLOT_CITATION = (
    "Lake, Salakhutdinov & Tenenbaum, Human-level concept learning through probabilistic program "
    "induction, 2015"
)
_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_IDX_SPLIT = "the last 10,000 of the 60,000 training images are for validation"


def _idx_images(url: str, train: str, test: str) -> tuple[Remote, Remote]:
    stems = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
    first, second = (
        Remote(f"{url}/{stem}.gz", sha256, stem, "gzip")
        for stem, sha256 in zip(stems, (train, test), strict=True)
    )
    return first, second


_SETS = (
    NamedSet(
        DataSpec(
            "mnist", (1, 28, 28), 256, "bernoulli", "dynamic", "unit", _MNIST_CITATION,
            f"{_IDX_SPLIT}; validation and test set binarised once, as in the VampPrior code",
        ),
        (50_000, 10_000, 10_000),
        "It is made from the official images by a download; offline, make it from their idx files",
        _idx_images(
            _MNIST_URL,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
    ),
    NamedSet(
        DataSpec(
            "mnist_static", (1, 28, 28), 2, "bernoulli", "none", "unit",
            "Larochelle & Murray, The Neural Autoregressive Distribution Estimator, 2011",
            "one fixed binarisation; the test images are sorted by digit: shuffle before taking "
            "the first ones",
        ),
        (50_000, 10_000, 10_000),
        "Its source is Larochelle's binarized_mnist_{train,valid,test}.amat "
        "(www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist): "
        'numpy.loadtxt(file).reshape(-1, 28, 28).astype("uint8") for each of the three',
    ),
    NamedSet(
        DataSpec(
            "fashion_mnist", (1, 28, 28), 256, "discretized_logistic", "none", "midpoint",
            "Xiao, Rasul & Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking "
            "Machine Learning, 2017",
            _IDX_SPLIT,
        ),
        (50_000, 10_000, 10_000),
        "It is made from the official images by a download; offline, make it from their idx files",
        _idx_images(
            _FASHION_URL,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
    ),
    NamedSet(
        DataSpec(
            "omniglot", (1, 28, 28), 256, "bernoulli", "dynamic", "unit",
            _OMNIGLOT_CITATION,
            "the 24,345 + 8,070 images of the papers; which 1,345 they held out is not published",
        ),
        (23_000, 1_345, 8_070),
        "Get chardata.mat from the IWAE paper's repository (github.com/yburda/iwae) and call "
        'priorwise.data.omniglot_from_mat("chardata.mat")',
        probabilities=True,
    ),
    NamedSet(
        DataSpec(
            "omniglot_part", (1, 28, 28), 256, "bernoulli", "dynamic", "unit",
            _OMNIGLOT_CITATION,
            "30 of the 50 alphabets, scaled down by box averages: not the papers' set, numbers "
            "cannot be compared",
        ),
        (11_937, 698, 4_198),
        "Make it from the images of 105x105: box averages of ink, drawers 16-20 for the test set",
    ),
    NamedSet(
        DataSpec(
            "freyfaces", (1, 28, 20), 256, "discretized_logistic", "none", "midpoint",
            "Roweis, Saul & Hinton, Global Coordination of Local Linear Models, 2002",
            "split at random, as the papers do without a seed; neighbouring frames fall on both "
            "sides",
        ),
        (1_565, 200, 200),
        "Its source is the set of 1,965 frames of 20 wide by 28 high, as in the VampPrior code "
        "(github.com/jmtomczak/vae_vampprior)",
    ),
    NamedSet(
        DataSpec(
            "caltech_silhouettes", (1, 28, 28), 2, "bernoulli", "none", "unit",
            "Marlin, Swersky, Chen & de Freitas, Inductive Principles for Restricted Boltzmann "
            "Machine Learning, 2010",
            "outlines of the objects of Caltech 101, as ones on zeros; split 1 of its authors",
        ),
        (4_100, 2_264, 2_307),
        "Get caltech101_silhouettes_28_split1.mat (people.cs.umass.edu/~marlin/data) and call "
        'priorwise.data.caltech_from_mat("caltech101_silhouettes_28_split1.mat")',
    ),
    NamedSet(
        DataSpec(
            "histopathology", (1, 28, 28), 256, "discretized_logistic", "none", "midpoint",
            "Tomczak & Welling, Improving Variational Auto-Encoders using Householder Flow, 2016",
            "grey values in 256 bins, which is all that the paper's likelihood sees of them",
        ),
        (6_800, 2_000, 2_000),
        "Get histopathology.pkl.tar.gz from github.com/jmtomczak/vae_householder_flow (folder "
        "datasets/histopathologyGray), unpack it, and call "
        'priorwise.data.histopathology_from_pickle("histopathology.pkl")',
    ),
)  # fmt: skip
NAMED: dict[str, NamedSet] = {entry.spec.name: entry for entry in _SETS}

_EMBEDDED = (
    DataSpec(
        "digits", (1, 8, 8), 17, "gaussian", "none", "dequantize",
        "Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
        "Repository, 1998",
        "the 1,797 images of scikit-learn, split at random; no published split",
    ),
    DataSpec(
        "two_moons", (2,), None, "gaussian", "none", "none",
        note="drawn with noise 0.05",
    ),
    DataSpec(
        "gaussians25", (2,), None, "gaussian", "none", "none",
        "Aneja et al., A Contrastive Learning Approach for Training Variational Autoencoder "
        "Priors, 2021",
        "spacing 1, sigma 0.05: the paper prints neither, its log-likelihoods agree with these",
    ),
    DataSpec(
        "sprites", (1, 32, 32), 2, "bernoulli", "none", "unit",
        note="a set of our own, not dSprites; the factors: "
        "priorwise.data.Sprites().factors[part] for part in its parts()",
    ),
)  # fmt: skip
EMBEDDED: dict[str, DataSpec] = {spec.name: spec for spec in _EMBEDDED}


def names() -> list[str]:
    """The names that ``load`` knows."""
    return [*EMBEDDED, *NAMED]


def spec_of(name: str) -> DataSpec:
    """The description of the data set of a name."""
    return EMBEDDED[name] if name in EMBEDDED else NAMED[name].spec


def state(name: str) -> State:
    """Whether a set needs no file, has one, is downloaded when first used, or is missing."""
    if name in EMBEDDED:
        return "embedded"
    if find(name) is not None:
        return "at hand"
    return "download" if NAMED[name].remotes else "missing"


def where_data_are(name_or_path: str) -> str:
    """Where the data of a run are, without reading them: the file, or what is missing.

    Arguments:
        name_or_path: A name of a set, or the path of a file or folder; empty if none was given.
    """
    if not name_or_path:
        return "none named yet; give them with --data FILE_OR_FOLDER"
    if name_or_path in names():
        return f"{name_or_path}, {_where(name_or_path)}"
    is_there = Path(name_or_path).exists()
    return f"{name_or_path}, {'at hand' if is_there else 'which is not there yet'}"


def availability() -> dict[str, str]:
    """Where the data of each name are.

    The values are "embedded", the path of the file, "download", or "missing: " and what to do.
    """
    return {name: _where(name) for name in names()}


def _where(name: str) -> str:
    match state(name):
        case "at hand":
            return str(find(name))
        case "missing":
            return f"missing: {missing_message(NAMED[name])}"
        case other:
            return other


def missing_message(entry: NamedSet) -> str:
    """The file that is missing, where it was looked for, and how to get it."""
    name = entry.spec.name
    paths = " or ".join(str(path) for path in places(name))
    return (
        f"expected {name}.npz with {entry.layout}; there is none at {paths}. {entry.how}. Put the "
        f"file into a folder and set {DATA_VARIABLE} to that folder, or put it into the cache "
        f"({CACHE_VARIABLE})."
    )
