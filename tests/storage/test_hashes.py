"""Hashes of tensors and files: what they tell apart, and what leaves them as they are."""

import torch

from priorwise.storage import content_hash, file_hash, value_bytes

X = torch.arange(6.0).reshape(2, 3)


def test_hash_tells_apart():
    """Fault: a name, a shape, a type or a single bit that does not count."""
    others = [
        {"y": X},
        {"x": X.flatten()},
        {"x": X.double()},
        {"x": X.bfloat16()},
        {"x": X.T.reshape(2, 3)},
        {"x": X + torch.tensor([0.0, 0.0, 1e-6])},
        {"x": X * torch.tensor([-1.0, 1.0, 1.0])},  # -0
        {"x": X, "y": X},
        {"x": X[:0]},
        {"x": torch.tensor(0.0)},
        {"x": X > 0},
        {},
    ]
    hashes = [content_hash(tensors) for tensors in [{"x": X}, *others]]
    assert len(set(hashes)) == len(hashes)
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in hashes)


def test_hash_is_of_the_content():
    """Fault: the order of the names, strides or gradients that count."""
    assert content_hash({"a": X, "b": X + 1}) == content_hash({"b": X + 1, "a": X})
    assert content_hash({"x": X}) == content_hash({"x": X.T.contiguous().T.requires_grad_()})


def test_hash_stays():
    """Fault: another hash than that of numbers and extractors that were stored."""
    assert content_hash({"values": X}) == "dadf739b0430ab34"


def test_bytes_are_those_of_the_values():
    """Fault: the order in memory for that of the rows, a type that numpy does not know."""
    assert bytes(value_bytes(X.T)) == X.T.contiguous().numpy().tobytes()
    assert bytes(value_bytes(torch.tensor([1.0, -0.0]).bfloat16())) == b"\x80\x3f\x00\x80"
    assert bytes(value_bytes(torch.tensor(True))) == b"\x01"


def test_hash_of_a_file_is_the_published_one(tmp_path):
    """Fault: another function; the example "abc" of FIPS 180-4."""
    (tmp_path / "x").write_bytes(b"abc")
    assert file_hash(tmp_path / "x") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
