"""Folders of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from priorwise.data import DataError, from_folder, load
from priorwise.data import images as images_module

RANDOM = np.random.RandomState(0)


def save(path: Path, mode: str = "L", size: tuple[int, int] = (5, 6)) -> np.ndarray:
    """A random image of a width and height, and its values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
    x = RANDOM.randint(0, 256, (size[1], size[0], *channels)).astype(np.uint8)
    if mode in ("RGBA", "LA"):
        x[..., -1] = 255
    Image.fromarray(x, mode=None).save(path)
    return x


def whole(data) -> set[bytes]:
    return {x.numpy().tobytes() for part in (data.train, data.validation, data.test) for x in part}


def test_grey_images_are_read_from_all_folders_below(tmp_path):
    expected = {save(tmp_path / "faces" / f"{i % 3}" / f"{i}.PNG").tobytes() for i in range(12)}
    data = load(tmp_path / "faces")
    assert data.spec.name == "faces"
    assert data.spec.shape == (1, 6, 5)
    assert (data.spec.levels, data.spec.likelihood) == (256, "discretized_logistic")
    assert whole(data) == expected
    assert load(str(tmp_path / "faces")).fingerprint() == data.fingerprint()


def test_coloured_images_have_three_channels(tmp_path):
    expected = {save(tmp_path / f"{i}.png", "RGB").transpose(2, 0, 1).tobytes() for i in range(5)}
    data = from_folder(tmp_path)
    assert data.spec.shape == (3, 6, 5)
    assert whole(data) == expected


def test_grey_images_among_coloured_ones_become_coloured(tmp_path):
    grey = save(tmp_path / "0.png")
    for i in range(1, 5):
        save(tmp_path / f"{i}.png", "RGB")
    data = from_folder(tmp_path)
    assert data.spec.shape == (3, 6, 5)
    assert np.stack([grey] * 3).tobytes() in whole(data)


def test_opaque_alpha_channels_are_dropped(tmp_path):
    expected = {
        save(tmp_path / f"{i}.png", "RGBA")[..., :3].transpose(2, 0, 1).tobytes() for i in range(4)
    }
    assert whole(from_folder(tmp_path)) == expected
    save(tmp_path / "grey" / "0.png", "LA")
    for i in range(1, 4):
        save(tmp_path / "grey" / f"{i}.png")
    assert from_folder(tmp_path / "grey").spec.shape == (1, 6, 5)


def test_palettes_become_colours(tmp_path):
    for i in range(4):
        Image.fromarray(RANDOM.randint(0, 3, (6, 5)).astype(np.uint8)).convert("P").save(
            tmp_path / f"{i}.png"
        )
    assert from_folder(tmp_path).spec.shape == (3, 6, 5)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_images_of_black_and_white_are_binary(tmp_path, mode):
    bits = [RANDOM.rand(6, 5) < 0.5 for _ in range(6)]
    for i, x in enumerate(bits):
        Image.fromarray(np.where(x, 255, 0).astype(np.uint8)).convert(mode).save(
            tmp_path / f"{i}.png"
        )
    data = from_folder(tmp_path)
    assert (data.spec.levels, data.spec.likelihood) == (2, "bernoulli")
    assert whole(data) == {x.astype(np.uint8).tobytes() for x in bits}


def test_other_files_are_passed_over(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png")
    (tmp_path / "README.txt").write_text("not an image")
    assert sum(len(part) for part in (from_folder(tmp_path).train, from_folder(tmp_path).test)) == 3


def test_many_images_show_a_bar_on_standard_error(tmp_path, monkeypatch, capsys):
    for i in range(4):
        save(tmp_path / f"{i}.png")
    from_folder(tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(images_module, "_MANY", 3)
    from_folder(tmp_path)
    shown = capsys.readouterr()
    assert "reading images" in shown.err
    assert shown.out == ""
    from_folder(tmp_path, show=False)
    assert capsys.readouterr().err == ""


def test_the_first_image_of_another_size_is_named(tmp_path):
    for i in range(5):
        save(tmp_path / f"{i}.png", size=(5, 6) if i < 3 else (6, 5))
    with pytest.raises(
        DataError, match=r"expected images of one size, 5x6 as .*0\.png; .*3\.png is 6x5"
    ):
        from_folder(tmp_path)


def transparent(path: Path) -> None:
    x = np.full((6, 5, 4), 200, np.uint8)
    Image.fromarray(x).save(path)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((6, 5), 1000, np.uint16)).save(path)


def cut_short(path: Path) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (transparent, r"expected images without transparency; .*9\.png has some"),
        (
            sixteen_bits,
            r"expected images of 8 bits per channel, grey or coloured; .*9\.png has mode I",
        ),
        (cut_short, r"expected an image; .*9\.png cannot be read"),
        (lambda path: path.write_bytes(b"no image"), r"expected an image; .*9\.png cannot be read"),
        (lambda path: path.write_bytes(b""), r"expected an image; .*9\.png cannot be read"),
    ],
)
def test_images_that_cannot_be_used_are_named(tmp_path, write, message):
    save(tmp_path / "0.png")
    write(tmp_path / "9.png")
    with pytest.raises(DataError, match=message):
        from_folder(tmp_path)


def test_folders_without_images_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(DataError, match=r"expected images .*there are none"):
        load(tmp_path)
    with pytest.raises(DataError, match="is not there"):
        from_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a folder"):
        from_folder(tmp_path / "notes.txt")


def test_too_few_images_are_refused_with_the_folders_name(tmp_path):
    save(tmp_path / "few" / "0.png")
    with pytest.raises(DataError, match="few: expected enough data to hold some out"):
        load(tmp_path / "few")


# -- folders that mean something -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folders", "sizes"),
    [
        (("train", "test"), (9, 1, 4)),
        (("Train", "val", "TEST"), (10, 4, 4)),
        (("training", "validation"), (9, 4, 1)),
    ],
)
def test_splits_of_the_user_are_kept(folders, sizes, tmp_path):
    """Fault: test images among the training images."""
    images = {}
    for folder in folders:
        count = 10 if folder.lower().startswith("train") else 4
        paths = [tmp_path / folder / "ab"[i % 2] / f"{i}.png" for i in range(count)]
        images[folder.lower()[:3]] = {save(path).tobytes() for path in paths}
    data = load(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    seen = {x.numpy().tobytes() for x in data.train}
    assert seen <= images["tra"]
    for name, part in (("val", data.validation), ("tes", data.test)):
        if name in images:
            assert {x.numpy().tobytes() for x in part} == images[name]
    assert "10 train images" in data.origin


@pytest.mark.parametrize("below", ["", "train"])
def test_folders_are_classes(below, tmp_path):
    """Fault: labels of other images; splits taken for classes."""
    classes = {}
    for i in range(20):
        x = save(tmp_path / below / ["cats", "ants", "bees"][i % 3] / f"{i}.png")
        classes[x.tobytes()] = [2, 0, 1][i % 3]  # in the order of the names
    data = load(tmp_path)
    assert [classes[x.numpy().tobytes()] for x in data.train] == data.labels.tolist()


def test_images_without_folders_have_no_classes(tmp_path):
    for i in range(6):
        save(tmp_path / ("some" if i else "") / f"{i}.png")
    assert load(tmp_path).labels is None


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (("test/0.png", "val/0.png"), r"expected a folder train/ beside test/ and val/ in "),
        (("train/0.png", "0.png", "more/1.png"), r"inside train/; 2 lie outside, the first is .*0"),
        (("train/0.png", "val/0.png", "valid/0.png"), r"one folder for the validation images"),
        (("train/0.png", "test/README"), r"expected images .* in .*test or below it"),
    ],
)
def test_mixed_folders_are_refused(places, words, tmp_path):
    for place in places:
        if place.endswith(".png"):
            save(tmp_path / place)
        else:
            (tmp_path / place).parent.mkdir()
            (tmp_path / place).write_text("")
    with pytest.raises(DataError, match=words):
        load(tmp_path)
