"""A model of 4 GiB in 12 shards, and a version of 10,000 small files."""

import hashlib
import os
import pathlib
import shutil
import time

import pytest
from conftest import SMALL, run, wait_until

SHARDS = 12
SHARD_BYTES = (64 << 20 if SMALL else 4 << 30) // SHARDS
SMALL_FILES = 500 if SMALL else 10_000


def write_shard(path: pathlib.Path, number: int) -> str:
    """Writes bytes that are cheap to make, differ in every MiB, and have no holes; returns their SHA-256."""
    digest = hashlib.sha256()
    block = bytearray(hashlib.shake_256(number.to_bytes(4, "big")).digest(1 << 20))
    with open(path, "wb") as file:
        left = SHARD_BYTES
        while left > 0:
            block[:8] = left.to_bytes(8, "big")
            piece = block[:min(left, len(block))]
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


def sha256_of(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def used(directory) -> int:
    return sum(os.stat(os.path.join(folder, name)).st_blocks * 512
               for folder, _, files in os.walk(directory) for name in files)


def test_a_model_of_many_gigabytes(mount):
    """A large model is registered and read back shard by shard with the same SHA-256. A copy committed inside the mount
    stores no new blob byte, and deletion frees the disk space."""
    if shutil.disk_usage(mount.scratch).free < 5 * SHARDS * SHARD_BYTES // 2:
        pytest.skip("not enough room on this disk for a model of this size")
    source = mount.scratch / "shards"
    source.mkdir()
    want = {}
    for number in range(SHARDS):
        name = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        want[name] = write_shard(source / name, number)

    started = time.monotonic()
    mount.modelfs("register", source, "prod.llm.big", "--parents")
    print(f"register: {time.monotonic() - started:.1f} s for {SHARDS * SHARD_BYTES >> 20} MiB")
    shutil.rmtree(source)

    version = mount.root / "prod" / "llm" / "big" / "versions" / "1"
    assert sorted(os.listdir(version)) == sorted(want)
    for name, digest in want.items():
        assert (version / name).stat().st_size == SHARD_BYTES
        assert sha256_of(version / name) == digest
        assert os.getxattr(version / name, "user.modelfs.sha256").decode().endswith(digest)

    before = used(mount.home / "objects")
    started = time.monotonic()
    run("cp", "-r", version, version.parent / "draft")
    run("mv", version.parent / "draft", version.parent / "next")
    print(f"cp -r and commit inside the mount: {time.monotonic() - started:.3f} s")
    assert used(mount.home / "objects") - before < 1 << 20
    assert os.getxattr(version.parent / "2", "user.modelfs.sha256") == os.getxattr(version, "user.modelfs.sha256")

    os.rmdir(version)
    mount.modelfs("gc")
    for name, digest in list(want.items())[:1]:
        assert sha256_of(version.parent / "2" / name) == digest, "gc removed a blob that version 2 refers to"
    os.rmdir(version.parent / "2")
    # The first sweep may keep blobs that were in use a moment ago.
    wait_until("the disk space back", lambda: mount.modelfs("gc") and used(mount.home / "objects") < 1 << 20)


def test_ten_thousand_small_files(mount):
    """`cp -r` of many small files into a draft, commit, then find, ls -lR, diff -r and a copy see every one."""
    source = mount.scratch / "many"
    for number in range(SMALL_FILES):
        folder = source / f"part-{number // 100:03}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"file-{number:05}.txt").write_text(f"file number {number}\n")
    model = mount.model("prod.llm.many")
    started = time.monotonic()
    run("cp", "-r", source, model / "versions" / "draft")
    print(f"cp -r into a draft: {time.monotonic() - started:.1f} s")
    started = time.monotonic()
    run("mv", model / "versions" / "draft", model / "versions" / "1")
    print(f"commit: {time.monotonic() - started:.1f} s")
    found = run("find", model / "versions" / "1", "-type", "f", "-printf", ".").stdout
    assert len(found) == SMALL_FILES
    assert run("ls", "-lR", model / "versions" / "1").stdout.count(".txt") == SMALL_FILES
    assert run("diff", "-r", source, model / "versions" / "1").stdout == ""
    started = time.monotonic()
    run("cp", "-r", model / "versions" / "1", model / "versions" / "copy")
    run("mv", model / "versions" / "copy", model / "versions" / "2")
    print(f"cp -r and commit inside the mount: {time.monotonic() - started:.1f} s")
    assert run("diff", "-r", source, model / "versions" / "2").stdout == ""
