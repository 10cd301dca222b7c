"""Data: named sets, embedded ones and your own, as splits of tensors with a description."""

from priorwise.data.catalogue import as_splits, availability, load, names
from priorwise.data.embedded import gaussians25_log_prob
from priorwise.data.labels import training_labels
from priorwise.data.omniglot import omniglot_from_mat
from priorwise.data.own_data import from_arrays, from_file, from_folder
from priorwise.data.spec import DataError, DataSpec, MissingDataError
from priorwise.data.splits import Splits
from priorwise.data.sprites import Sprites

__all__ = [
    "DataError",
    "DataSpec",
    "MissingDataError",
    "Splits",
    "Sprites",
    "as_splits",
    "availability",
    "from_arrays",
    "from_file",
    "from_folder",
    "gaussians25_log_prob",
    "load",
    "names",
    "omniglot_from_mat",
    "training_labels",
]
