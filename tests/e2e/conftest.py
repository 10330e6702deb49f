"""A private registry and a real mount for each test, and a check that the test leaves nothing behind.

MODELFS_BINARY   the command to test (ctest sets it)
MODELFS_E2E_SCALE=small   the large models are scaled down, for builds with sanitizers
"""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
IRIS = REPOSITORY / "scripts" / "quickstart_model" / "iris"
BINARY = pathlib.Path(os.environ.get("MODELFS_BINARY", REPOSITORY / "build" / "dev" / "modelfs"))
SMALL = os.environ.get("MODELFS_E2E_SCALE") == "small"

# The time limit for operations that take milliseconds when they work.
PATIENCE_S = 60


def wait_until(what: str, condition, seconds: float = PATIENCE_S):
    """Returns the first true result of `condition`; fails the test if it does not come in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def run(*command, check: bool = True, cwd=None, env=None, stdin=None) -> subprocess.CompletedProcess:
    """Runs a program and prints its command line and output, so that a failed test reads like a terminal."""
    words = [str(word) for word in command]
    print("$", shlex.join(words))
    done = subprocess.run(words, cwd=cwd, env=env, input=stdin, text=True, capture_output=True,
                          timeout=600, check=False)
    sys.stdout.write(done.stdout[-20000:] + done.stderr[-20000:])
    if check and done.returncode != 0:
        pytest.fail(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    return done


def sh(line: str, check: bool = True, cwd=None, env=None) -> subprocess.CompletedProcess:
    """Runs one line as a person types it."""
    return run("bash", "-c", line, check=check, cwd=cwd, env=env)


def tree_of(directory) -> dict[str, bytes | None]:
    """Relative path -> bytes; None for a directory."""
    found: dict[str, bytes | None] = {}
    for folder, _, files in os.walk(directory):
        relative = os.path.relpath(folder, directory)
        if relative != ".":
            found[relative] = None
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.normpath(os.path.join(relative, name))] = file.read()
    return found


class Mount:
    """A registry in a scratch directory, mounted."""

    def __init__(self, scratch: pathlib.Path):
        self.scratch = scratch
        self.home = scratch / "registry"
        self.root = scratch / "models"
        self.log = scratch / "mount.log"
        self.env = dict(os.environ, MODELFS_REGISTRY=str(self.home),
                        PATH=f"{BINARY.parent}{os.pathsep}{os.environ['PATH']}")
        self.process: subprocess.Popen | None = None
        self.root.mkdir()
        self.modelfs("init")

    def start(self) -> "Mount":
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BINARY, "mount", self.root], env=self.env, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        wait_until("the mount", lambda: self.process.poll() is not None or
                   (os.path.ismount(self.root) and os.path.exists(self.root / ".modelfs" / "status")))
        if self.process.poll() is not None:
            pytest.fail(f"modelfs mount ended with {self.process.returncode}: {self.log.read_text()}")
        return self

    def stop(self) -> None:
        self.modelfs("umount", self.root)
        assert self.process is not None
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()
        self.process = None

    def kill(self) -> None:
        """Kills the daemon by SIGKILL and clears the mount that it leaves."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(PATIENCE_S)
        if mounted_at(self.root):
            subprocess.run(["umount", "-l", self.root], check=False) if os.getuid() == 0 else \
                subprocess.run(["fusermount3", "-uz", self.root], check=False)
        self.process = None

    def descriptors(self) -> int:
        """The number of descriptors except pipes: libfuse keeps a pair for each of its threads, which come and go."""
        assert self.process is not None
        folder = f"/proc/{self.process.pid}/fd"
        count = 0
        for name in os.listdir(folder):
            try:
                count += not os.readlink(f"{folder}/{name}").startswith("pipe:")
            except FileNotFoundError:
                pass  # closed meanwhile
        return count

    def modelfs(self, *arguments, check: bool = True) -> subprocess.CompletedProcess:
        return run(BINARY, *arguments, check=check, env=self.env, cwd=self.scratch)

    def json(self, *arguments):
        return json.loads(self.modelfs(*arguments, "--json").stdout)

    def sh(self, line: str, check: bool = True, cwd=None) -> subprocess.CompletedProcess:
        """Runs one line with MODELFS_REGISTRY set and modelfs on the PATH."""
        return sh(line, check=check, cwd=cwd or self.scratch, env=self.env)

    def model(self, name: str = "prod.ml_team.iris_model") -> pathlib.Path:
        """The directory of a registered model, made by mkdir if it is missing."""
        path = self.root.joinpath(*name.split("."))
        path.mkdir(parents=True, exist_ok=True)
        return path

    def why(self, path="") -> str:
        return self.modelfs("why", *([path] if path else []), check=False).stdout

    def refuses(self, line: str, says: str, because: str = "") -> None:
        """The line fails and prints `says`; `modelfs why` then has `because`."""
        done = self.sh(line, check=False)
        assert done.returncode != 0, f"{line}: succeeded"
        assert says in done.stderr, f"{line}: printed {done.stderr!r}"
        if because:
            told = self.why()
            assert because in told, f"why: {told!r}"


def mounted_at(path) -> bool:
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(line.split()[1] == str(path) for line in mounts)


def processes_with(marker: str) -> list[str]:
    """The processes with `marker` in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            command = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marker in command:
            found.append(f"{entry} {command}")
    return found


@pytest.fixture
def scratch():
    """A directory on a disk. It is removed after a check that no mount and no process is left in it."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="e2e.", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        yield directory
        left = processes_with(str(directory))
        assert not left, f"left running: {left}"
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            assert not [line for line in mounts if str(directory) in line]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def registry(scratch):
    """A registry; the test starts its mount itself."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")
    mount = Mount(scratch)
    try:
        yield mount
    finally:
        if mount.process is not None:
            mount.kill()


@pytest.fixture
def mount(registry):
    """A mounted registry. Afterwards it must have no more descriptors than at the start, and end cleanly."""
    registry.start()
    before = registry.descriptors()
    try:
        yield registry
        # RELEASE is sent after close(2) has returned, so the last one may still be on its way.
        wait_until(f"descriptors of the daemon back to {before}", lambda: registry.descriptors() <= before)
        registry.stop()
    finally:
        if registry.process is not None:
            print(registry.log.read_text()[-8000:])
