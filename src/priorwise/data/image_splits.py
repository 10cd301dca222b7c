"""The splits and classes that the folders of an image folder stand for."""

from pathlib import Path

import torch
from torch import Tensor

from priorwise.data.images import image_files
from priorwise.data.spec import DataError

__all__ = ["folder_classes", "split_files"]

_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def split_files(folder: Path) -> dict[str, list[Path]]:
    """The images of each split that the user made; all as "train" if there is none.

    A split is a folder ``train``, ``val`` (``valid``, ``validation``) or ``test`` right below.

    Raises:
        DataError: if there are no images, a split has two folders, there is no ``train`` beside the
            others, or some images lie outside of the splits.
    """
    files = image_files(folder)
    folders = _split_folders(folder)
    if not folders:
        return {"train": files}
    if "train" not in folders:
        listed = " and ".join(f"{path.name}/" for path in folders.values())
        raise DataError(
            f"expected a folder train/ beside {listed} in {folder}; there is none. Add it, or "
            "rename the folders if they are no splits."
        )
    inside = {split: image_files(path) for split, path in folders.items()}
    outside = sorted(set(files).difference(*inside.values()))
    if outside:
        listed = ", ".join(f"{path.name}/" for path in folders.values())
        raise DataError(
            f"expected all images of {folder} inside {listed}; {len(outside)} lie outside, the "
            f"first is {outside[0]}. Move them, or rename the folders if they are no splits."
        )
    return inside


def _split_folders(folder: Path) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        split = _NAMES.get(path.name.lower())
        if split in folders:
            raise DataError(
                f"expected one folder for the {split} images of {folder}; got "
                f"{folders[split].name}/ and {path.name}/. Join them."
            )
        if split is not None:
            folders[split] = path
    return folders


def folder_classes(files: list[Path], folder: Path) -> Tensor | None:
    """The class of each image, ``(N,)``: the folder right below ``folder`` in which it lies.

    Folders of splits count as ``folder`` itself. Classes are numbered in the order of their names.
    None if an image lies in no such folder, or all lie in the same one.
    """
    root = _split_folders(folder).get("train", folder)
    below = [path.relative_to(root).parts for path in files]
    names = sorted({parts[0] for parts in below})
    if len(names) < 2 or any(len(parts) < 2 for parts in below):
        return None
    return torch.tensor([names.index(parts[0]) for parts in below])
