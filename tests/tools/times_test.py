#!/usr/bin/env python3
"""The times of files in versions, as rsync, tar, cp, find, Python and pollers of modification times see them.

usage: times_test.py path/to/modelfs [unittest arguments]
"""

import errno
import glob
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

BINARY = ""
# A registry made by the last program without times: prod.ml.iris with two versions of one second and the alias
# Champion, and prod.ml.copy, a copy of the first.
OLD_HOME = os.path.join(os.path.dirname(os.path.realpath(__file__)), "home_without_times.tgz")

OLD_NS = 1_577_934_245_678_901_234  # 2020-01-02 03:04:05.678901234 UTC
KINDS = ("st_mtime_ns", "st_ctime_ns")


def is_mounted(path):
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == path for line in table)


class Times(unittest.TestCase):
    def setUp(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skipTest("/dev/fuse is missing here")
        self.scratch = os.path.realpath(tempfile.mkdtemp(prefix="modelfs_times_"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.home = self.path("home")
        self.mnt = self.path("mnt")
        os.mkdir(self.mnt)
        self.addCleanup(self.unmount)

    def path(self, *parts):
        return os.path.join(self.scratch, *parts)

    def unmount(self):
        while is_mounted(self.mnt):
            if subprocess.run(["umount", "-l", self.mnt], capture_output=True).returncode != 0:
                subprocess.run(["fusermount3", "-u", "-z", self.mnt], capture_output=True)

    def modelfs(self, *arguments, code=0):
        env = {key: value for key, value in os.environ.items() if not key.startswith("MODELFS_")}
        env["MODELFS_REGISTRY"] = self.home
        done = subprocess.run([BINARY, *arguments], env=env, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def run_quietly(self, *command, cwd=None):
        """Runs a program that must exit with 0 and print no error."""
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (0, ""), command)
        return done.stdout

    def mount(self):
        self.modelfs("init")
        self.modelfs("mount", self.mnt, "-d")

    def source(self, name, files, ns=OLD_NS):
        """A directory with these files, all with the same time."""
        for path, content in files.items():
            whole = self.path(name, path)
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            with open(whole, "w") as file:
                file.write(content)
            os.utime(whole, ns=(ns, ns))
        return self.path(name)

    def model(self, *parts):
        return os.path.join(self.mnt, "prod/ml/iris", *parts)

    def alias(self, *parts):
        return os.path.join(self.mnt, "prod/ml/iris@Live", *parts)

    def move_alias(self, number):
        self.run_quietly("ln", "-sfn", f"../versions/{number}", self.model("aliases/Live"))

    def committed_ns(self, number):
        return os.stat(self.model("versions", str(number))).st_mtime_ns


class Kept(Times):
    def test_register_keeps_file_times_and_directories_show_the_commit(self):
        self.mount()
        source = self.source("src", {"config.json": "{}", "d/w.bin": "w"})
        before = time.time_ns() // 1_000_000 * 1_000_000
        self.modelfs("register", source, "prod.ml.iris", "-p")
        after = time.time_ns()
        for name in ("config.json", "d/w.bin"):
            file = os.stat(self.model("versions/1", name))
            self.assertEqual(file.st_mtime_ns, OLD_NS)
            self.assertEqual(file.st_ctime_ns, self.committed_ns(1))
        for kind in KINDS:
            self.assertTrue(before <= getattr(os.stat(self.model("versions/1/d")), kind) <= after, kind)
            self.assertEqual(getattr(os.stat(self.model("versions/1/d")), kind), self.committed_ns(1))

    def test_a_commit_keeps_the_times_that_copying_programs_set(self):
        self.mount()
        os.makedirs(self.model())
        source = self.source("src", {"config.json": "{}", "d/w.bin": "w"})
        # Root copies files of another user: the copied owners must not make these programs fail.
        if os.geteuid() == 0:
            for folder, _, files in os.walk(source):
                for name in [".", *files]:
                    os.chown(os.path.join(folder, name), 1000, 1000)
        self.run_quietly("tar", "-cf", self.path("src.tar"), "--format=posix", "-C", source, ".")
        draft = self.model("versions/draft")
        for number, command in enumerate((
                ["cp", "-a", source, draft],
                ["rsync", "-a", source + "/", draft],
                ["sh", "-c", f"mkdir {draft} && tar -xf {self.path('src.tar')} -C {draft}"]), 1):
            self.run_quietly(*command)
            self.run_quietly("mv", draft, self.model("versions/next"))
            self.assertEqual(os.stat(self.model("versions", str(number), "d/w.bin")).st_mtime_ns, OLD_NS, command)

    def test_chown_by_root_in_a_draft_changes_nothing(self):
        if os.geteuid() != 0:
            self.skipTest("only root may change owners")
        self.mount()
        os.makedirs(self.model("versions/draft"))
        with open(self.model("versions/draft/f"), "w") as file:
            file.write("x")
        for path in ("versions/draft/f", "versions/draft"):
            self.run_quietly("chown", "1000:1000", self.model(path))
            self.assertEqual((os.stat(self.model(path)).st_uid, os.stat(self.model(path)).st_gid), (0, 0))

    def test_copies_and_downloads_keep_file_times(self):
        self.mount()
        self.modelfs("register", self.source("src", {"a": "1", "d/b": "2"}), "prod.ml.iris", "-p")
        self.modelfs("cp", "prod.ml.iris/1", "prod.ml.copy")
        os.mkdir(os.path.join(self.mnt, "prod/ml/dragged"))
        dragged = os.path.join(self.mnt, "prod/ml/dragged/versions")
        self.run_quietly("cp", "-r", self.model("versions/1"), dragged + "/draft")
        self.run_quietly("mv", dragged + "/draft", dragged + "/next")
        self.modelfs("download", "prod.ml.iris/1", self.path("out"))
        for name in ("a", "d/b"):
            for copy in (os.path.join(self.mnt, "prod/ml/copy/versions/1"), dragged + "/1", self.path("out")):
                self.assertEqual(os.stat(os.path.join(copy, name)).st_mtime_ns, OLD_NS, copy)

    def test_a_time_after_the_commit_becomes_the_time_of_the_commit(self):
        self.mount()
        tomorrow = time.time_ns() + 86_400_000_000_000
        self.modelfs("register", self.source("src", {"a": "1"}, tomorrow), "prod.ml.iris", "-p")
        self.assertEqual(os.stat(self.model("versions/1/a")).st_mtime_ns, self.committed_ns(1))

    def test_gc_keeps_file_times_and_fsck_checks_them(self):
        self.mount()
        self.modelfs("register", self.source("src", {"a": "1"}), "prod.ml.iris", "-p")
        self.modelfs("gc")
        self.modelfs("fsck")
        self.assertEqual(os.stat(self.model("versions/1/a")).st_mtime_ns, OLD_NS)
        self.unmount()
        for path in glob.glob(self.home + "/objects/*/*"):
            with open(path, "rb") as blob:
                is_times = blob.read(3) == b"MFM"
            if is_times:
                os.unlink(path)
        self.assertIn("needed by prod.ml.iris/1", self.modelfs("fsck", code=8))
        # Registering the same files again restores them, as all other blobs.
        self.modelfs("register", self.source("src", {"a": "1"}), "prod.ml.again")
        self.modelfs("fsck")


class Drafts(Times):
    def test_a_commit_does_not_wait_for_an_open_file_that_was_removed(self):
        self.mount()
        draft = self.model("versions/draft")
        os.makedirs(draft)
        script = f"exec 7>{draft}/t; rm {draft}/t; echo 1 >{draft}/kept; mv {draft} {self.model('versions/next')}"
        self.run_quietly("bash", "-c", script)
        self.assertEqual(os.listdir(self.model("versions/1")), ["kept"])

    def test_a_refused_commit_names_the_open_file_and_the_process(self):
        self.mount()
        os.makedirs(self.model("versions/draft/sub/deep"))
        with open(self.model("versions/draft/sub/deep/f"), "w"):
            with self.assertRaises(OSError) as refused:
                os.rename(self.model("versions/draft"), self.model("versions/next"))
            self.assertEqual(refused.exception.errno, errno.EBUSY)
            with open("/proc/self/comm") as file:
                me = f"{file.read().strip()} (pid {os.getpid()})"
            self.assertIn(f"draft/sub/deep/f is still open or mapped for writing by {me}",
                          self.modelfs("why", self.model("versions/draft")))
        os.rename(self.model("versions/draft"), self.model("versions/next"))

    def test_mv_from_one_draft_to_another_copies_and_removes(self):
        self.mount()
        for draft in ("d1/folder/deep", "d2"):
            os.makedirs(self.model("versions", draft))
        for name in ("f", "folder/g", "folder/deep/h"):
            with open(self.model("versions/d1", name), "w") as file:
                file.write(name)
            os.utime(self.model("versions/d1", name), ns=(OLD_NS, OLD_NS))
        with self.assertRaises(OSError) as refused:
            os.rename(self.model("versions/d1/f"), self.model("versions/d2/f"))
        self.assertEqual(refused.exception.errno, errno.EXDEV)
        for name in ("f", "folder"):
            self.run_quietly("mv", self.model("versions/d1", name), self.model("versions/d2", name))
        self.assertEqual(os.listdir(self.model("versions/d1")), [])
        for name in ("f", "folder/g", "folder/deep/h"):
            with open(self.model("versions/d2", name)) as file:
                self.assertEqual(file.read(), name)
            self.assertEqual(os.stat(self.model("versions/d2", name)).st_mtime_ns, OLD_NS)
        self.run_quietly("mv", self.model("versions/d2"), self.model("versions/next"))
        # This works between drafts only: a draft is not a way into a READY version or any other place.
        with open(self.model("versions/d1/f"), "w") as file:
            file.write("x")
        for to, wants in (("versions/1/f", errno.EROFS), ("versions/f", errno.EPERM), ("aliases/f", errno.EPERM)):
            with self.assertRaises(OSError) as refused:
                os.rename(self.model("versions/d1/f"), self.model(to))
            self.assertEqual(refused.exception.errno, wants, to)


class Clashes(Times):
    def two_versions(self, path="w.bin"):
        """Registers two versions with a file of the same size and time but other bytes."""
        for number in (1, 2):
            self.modelfs("register", self.source(f"r{number}", {path: f"weights-{number}\n"}), "prod.ml.iris", "-p")

    def test_rsync_copies_changed_files(self):
        self.mount()
        self.two_versions()
        for number in (1, 2, 1, 2):
            self.move_alias(number)
            self.run_quietly("rsync", "-a", self.alias() + "/", self.path("out") + "/")
            with open(self.path("out/w.bin")) as copy:
                self.assertEqual(copy.read(), f"weights-{number}\n")

    def test_etags_and_wget_never_take_two_versions_for_the_same(self):
        """nginx: hexadecimal mtime and size; `wget -N`: Last-Modified, in whole seconds, and size."""
        self.mount()
        self.two_versions()
        keys = [(int(info.st_mtime), info.st_size)
                for info in (os.stat(self.model("versions", number, "w.bin")) for number in "12")]
        self.assertEqual(keys, [(OLD_NS // 10**9, 10), (OLD_NS // 10**9 + 1, 10)])

    def test_drafts_committed_within_one_second_get_different_times(self):
        self.mount()
        os.makedirs(self.model())
        for number in range(1, 6):
            os.mkdir(self.model("versions/draft"))
            with open(self.model("versions/draft/f"), "w") as file:
                file.write(str(number))
            os.rename(self.model("versions/draft"), self.model("versions/next"))
        seconds = {int(os.stat(self.model("versions", str(number), "f")).st_mtime) for number in range(1, 6)}
        self.assertEqual(len(seconds), 5)

    def test_compiled_python_is_used_and_never_stale(self):
        self.mount()
        for number in (1, 2):
            package = self.source(f"p{number}", {"pkg/__init__.py": "", "pkg/mod.py": f"VALUE = {number}\n"})
            if number == 2:
                os.utime(package + "/pkg/mod.py", ns=(OLD_NS + 5 * 10**9, OLD_NS + 5 * 10**9))
            self.run_quietly(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "timestamp", package)
            self.modelfs("register", package, "prod.ml.iris", "-p")
        for number in (1, 2, 1):
            self.move_alias(number)
            done = subprocess.run([sys.executable, "-v", "-c", "import pkg.mod; print(pkg.mod.VALUE)"],
                                  env={**os.environ, "PYTHONPATH": self.alias(), "PYTHONDONTWRITEBYTECODE": "1"},
                                  capture_output=True, text=True, timeout=120)
            self.assertEqual((done.returncode, done.stdout), (0, f"{number}\n"), done.stderr)
            lines = [line for line in done.stderr.splitlines() if self.alias("pkg") in line]
            self.assertTrue(any("__pycache__/mod." in line and " matches " in line for line in lines), lines)
            self.assertFalse(any("bytecode is stale" in line for line in lines), lines)

    def test_python_recompiles_a_source_with_an_adjusted_time(self):
        """With the same size and time in both versions, Python would accept the bytecode of the other version."""
        self.mount()
        for number in (1, 2):
            package = self.source(f"p{number}", {"mod.py": f"VALUE = {number}\n"})
            self.run_quietly(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "timestamp", package)
            self.modelfs("register", package, "prod.ml.iris", "-p")
        # A bytecode cache shared by all versions, as PYTHONPYCACHEPREFIX and a copied `__pycache__` are.
        out = self.path("out")
        for number in (1, 2, 1):
            self.run_quietly("rsync", "-a", self.model("versions", str(number)) + "/", out + "/")
            done = self.run_quietly(sys.executable, "-c", f"import sys; sys.path.insert(0, {out!r}); import mod; "
                                    "print(mod.VALUE)")
            self.assertEqual(done, f"{number}\n")


class Aliases(Times):
    def newest(self):
        """The newest time of a directory and its contents, as Triton's poll mode computes it."""
        infos = [os.stat(os.path.join(folder, name)) for folder, _, files in os.walk(self.alias())
                 for name in [".", *files]]
        return {kind: max(getattr(info, kind) for info in infos) for kind in KINDS}

    def test_pollers_see_every_alias_move_and_every_rollback(self):
        self.mount()
        for number in (1, 2):
            self.modelfs("register", self.source("src", {"config.pbtxt": str(number), "1/model.onnx": str(number)}),
                         "prod.ml.iris", "-p")
        self.move_alias(1)
        seen = self.newest()
        stamp = self.path("stamp")
        for number in (2, 1, 2, 1, 1):
            with open(stamp, "w"):
                pass
            moved_after_ns = os.stat(stamp).st_mtime_ns
            if number % 2:
                self.modelfs("alias", "set", "prod.ml.iris@Live", str(number))
            else:
                self.move_alias(number)
            for kind, newest in self.newest().items():
                self.assertGreater(newest, seen[kind], kind)
                self.assertGreaterEqual(newest, moved_after_ns, kind)
            seen = self.newest()
            self.assertEqual(self.run_quietly("find", self.alias(), "-newer", stamp).splitlines(), [self.alias()])
            with open(self.alias("config.pbtxt")) as file:
                self.assertEqual(file.read(), str(number))

    def test_an_alias_shows_the_directory_of_its_version_with_its_times(self):
        self.mount()
        self.modelfs("register", self.source("src", {"a": "1"}), "prod.ml.iris", "-p")
        self.move_alias(1)
        by_link, version = os.stat(self.model("aliases/Live")), os.stat(self.model("versions/1"))
        self.assertEqual((by_link.st_ino, by_link.st_mtime_ns, by_link.st_ctime_ns),
                         (version.st_ino, version.st_mtime_ns, version.st_ctime_ns))
        # Its contents are the same by all paths.
        self.assertEqual(os.stat(self.alias("a")), os.stat(self.model("versions/1/a")))


class Upgraded(Times):
    def test_versions_of_an_older_program_keep_their_times(self):
        with tarfile.open(OLD_HOME) as archive:
            archive.extractall(self.scratch)
        for folder, _, files in os.walk(self.home):
            for name in [".", *files]:
                os.chown(os.path.join(folder, name), os.geteuid(), os.getegid())
        self.modelfs("mount", self.mnt, "-d")
        made = {}
        for name, number in (("iris", 1), ("iris", 2), ("copy", 1)):
            made_ms = json.loads(self.modelfs("show", f"prod.ml.{name}/{number}", "--json"))["created_at"]
            made[name, number] = made_ms * 1_000_000
            version = os.path.join(self.mnt, "prod/ml", name, "versions", str(number))
            for part in (".", "config.json", "d", "d/w.bin"):
                for kind in KINDS:
                    self.assertEqual(getattr(os.stat(os.path.join(version, part)), kind), made[name, number], part)
        # The two versions have the same second, and keep it. A new version avoids that second, and copies keep it.
        self.assertEqual(made["iris", 1] // 10**9, made["iris", 2] // 10**9)
        self.modelfs("register", self.source("src", {"config.json": "new\n"}, made["iris", 1]), "prod.ml.iris")
        self.assertEqual(os.stat(self.model("versions/3/config.json")).st_mtime_ns, made["iris", 1] + 10**9)
        self.modelfs("cp", "prod.ml.iris/2", "prod.ml.later")
        self.assertEqual(os.stat(os.path.join(self.mnt, "prod/ml/later/versions/1/config.json")).st_mtime_ns,
                         made["iris", 2])
        self.modelfs("gc")
        self.modelfs("fsck")


if __name__ == "__main__":
    BINARY = os.path.realpath(sys.argv[1])
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
