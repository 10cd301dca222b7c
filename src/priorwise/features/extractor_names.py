"""The extractors that an evaluation takes by name; none is imported before it is built."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from priorwise.refusals import UnavailableError

if TYPE_CHECKING:
    import priorwise.features

__all__ = ["EXTRACTORS", "ExtractorName", "check_extractor", "named_extractor"]

ExtractorName: TypeAlias = Literal["auto", "raw", "classifier", "efficientnet", "inception"]
EXTRACTORS: tuple[str, ...] = get_args(ExtractorName)

_SMALLEST = 8  # pixels on a side of an image that a classifier can be trained on


def named_extractor(
    name: str,
    shape: tuple[int, ...],
    classifier: "Callable[[], priorwise.features.AbstractExtractor]",
) -> "priorwise.features.AbstractExtractor":
    """The extractor of a name.

    Arguments:
        name: A name of ``EXTRACTORS``; "auto" is the classifier for images that are large enough
            for it, else "raw".
        shape: Shape of one observation.
        classifier: Gives the classifier that is trained on the data.

    Raises:
        ValueError: for an unknown name.
        UnavailableError: for an extractor of images if the observations are vectors.
    """
    from priorwise import features

    if name not in EXTRACTORS:
        raise ValueError(
            f"expected {', '.join(map(repr, EXTRACTORS))} as the features; got {name!r}."
        )
    vectors = len(shape) == 1
    if name == "raw" or (name == "auto" and (vectors or min(shape[1:]) < _SMALLEST)):
        return features.Raw()
    if vectors:
        raise UnavailableError(
            f"expected images for the features {name!r}; the data are vectors. Use 'raw'."
        )
    match name:
        case "efficientnet":
            return features.EfficientNetLite()
        case "inception":
            return features.Inception()
        case _:  # "auto" and "classifier"
            return classifier()


def _no_classifier() -> "priorwise.features.AbstractExtractor":
    raise AssertionError("a pretrained extractor needs no classifier")


def check_extractor(name: str, shape: tuple[int, ...]) -> None:
    """Build a pretrained extractor and forget it, so that what it lacks is known at once.

    Arguments:
        name: A name of ``EXTRACTORS``.
        shape: Shape of one observation.

    Raises:
        MissingExtraError: if it needs a package that is not installed.
        FileNotFoundError: if it needs weights that are not there.
    """
    if name in ("efficientnet", "inception") and len(shape) > 1:
        named_extractor(name, shape, _no_classifier)
