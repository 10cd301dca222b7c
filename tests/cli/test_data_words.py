"""What the commands say of the data, and pictures of data in [-1, 1]."""

import sys

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def spoken(monkeypatch, capsys):
    """What a command says on standard error, run in this process."""

    def run(*arguments):
        from priorwise.cli import main

        monkeypatch.setattr(sys, "argv", ["priorwise", *[str(part) for part in arguments]])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        return capsys.readouterr().err

    return run


def test_data_are_named_first_and_pictures_follow_their_range(spoken, tmp_path):
    """Fault: nobody says what was read; all of a picture is black but for its bright pixels."""
    bright = np.linspace(-1, 1, 36).reshape(6, 6)
    noise = 0.01 * np.random.RandomState(0).randn(80, 6, 6)
    np.savez(
        tmp_path / "soft.npz", x_train=np.clip(bright + noise, -1, 1), y_train=np.arange(80) % 4
    )
    settings = ["model.hidden=8", "model.latent=2", "training.epochs=3"]
    data = ["--data", tmp_path / "soft.npz", "--out", tmp_path / "run"]
    words = spoken("train", "own/vae", *settings, *data)
    said = "data soft: 64 / 8 / 8 (train / validation / test) of 1x6x6, real values in [-1, 1]"
    assert -1 < words.index(said) < words.index("training: ")
    assert f"x_train of {tmp_path / 'soft.npz'}: float64 of shape (80, 6, 6)" in words
    assert "labels of 4 classes" in words
    for out in ("x.png", "x.npz"):
        spoken("sample", tmp_path / "run", "-n", 1, "--out", tmp_path / out)
    picture = np.asarray(Image.open(tmp_path / "x.png"))
    size = len(picture) // 8  # six pixels and the white lines around them
    means = np.load(tmp_path / "x.npz")["x"][0, 0]
    expected = (255 * (means.clip(-1, 1) + 1) / 2).round()
    assert (means < 0).any()
    assert (
        picture[size + size // 2 : -size : size, size + size // 2 : -size : size] == expected
    ).all()
    options = ["--samples", 2, "--images", 4, "--quality", "none"]
    words = spoken("evaluate", tmp_path / "run", *options)
    assert f"{tmp_path / 'run'} on soft: 64 / 8 / 8" in words
