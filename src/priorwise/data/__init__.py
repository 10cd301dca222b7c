"""Data: named sets, embedded ones and your own, as splits of tensors with a description."""

from typing import TYPE_CHECKING

from priorwise.lazy import lazy_names

if TYPE_CHECKING:
    from priorwise.data.account import reading, reading_doubts, reading_words
    from priorwise.data.caltech import caltech_from_mat
    from priorwise.data.catalogue import as_splits, as_training_data, load
    from priorwise.data.embedded import gaussians25_log_prob
    from priorwise.data.histopathology import histopathology_from_pickle
    from priorwise.data.known_sets import availability, names
    from priorwise.data.labels import training_labels
    from priorwise.data.omniglot import omniglot_from_mat
    from priorwise.data.own_data import from_arrays, from_file, from_folder
    from priorwise.data.spec import DataError, DataSpec, MissingDataError
    from priorwise.data.splits import Splits
    from priorwise.data.sprites import Sprites
    from priorwise.data.stream import Stream, from_dataset
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "DataError",
    "DataSpec",
    "MissingDataError",
    "Splits",
    "Sprites",
    "Stream",
    "as_splits",
    "as_training_data",
    "availability",
    "caltech_from_mat",
    "from_arrays",
    "from_dataset",
    "from_file",
    "from_folder",
    "gaussians25_log_prob",
    "histopathology_from_pickle",
    "load",
    "names",
    "omniglot_from_mat",
    "reading",
    "reading_doubts",
    "reading_words",
    "training_labels",
]
