"""Backs up a registry in use by the commands of docs/operations.md, and restores it elsewhere.

    backup_test.py MODELFS-BINARY [unittest's arguments]
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

BINARY = ""
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "operations.md")


def lines_of_the_page():
    """The shell lines of the chapter: those of a backup, and those of a restore."""
    with open(PAGE) as page:
        chapter = page.read().split("\n## Backup and moving\n")[1].split("\n## ")[0]
    made, restored = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    return made, restored


def run(*arguments):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=120)


class Backup(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="modelfs_backup_")
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.places = {name: os.path.join(self.scratch, name.lower()) for name in ("HOME", "BACKUP", "NEW")}
        self.home = self.places["HOME"]
        self.ok("init")
        self.ok("mkdir", "-p", "prod.ml")

    def ok(self, *arguments, home=None):
        done = run("-r", home or self.home, *arguments)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
        return done.stdout

    def script(self, lines):
        """Runs lines of the page with its words for directories replaced; returns the finished process."""
        for word, path in self.places.items():
            lines = re.sub(rf"\b{word}\b", path, lines)
        bin_directory = os.path.join(self.scratch, "bin")
        if not os.path.isdir(bin_directory):
            os.mkdir(bin_directory)
            os.symlink(BINARY, os.path.join(bin_directory, "modelfs"))
        env = dict(os.environ, PATH=bin_directory + ":" + os.environ["PATH"])
        env.pop("MODELFS_REGISTRY", None)
        return subprocess.run(["sh", "-e", "-c", lines], env=env, capture_output=True, text=True, timeout=240)

    def register(self, content, name="prod.ml.m"):
        directory = os.path.join(self.scratch, "files")
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "weights"), "wb") as file:
            file.write(content)
        self.ok("register", directory, name)

    def audit(self, home, *arguments):
        return [json.loads(line) for line in self.ok("audit", "--json", *arguments, home=home).splitlines()]

    def test_the_commands_of_the_page_back_up_and_restore_a_registry_in_use(self):
        made, restored = lines_of_the_page()
        for version in range(3):
            self.register(bytes([version]) * 100_000)
        self.ok("audit", "rotate", "--keep", "2")
        acknowledged = len(self.audit(self.home))

        # Registers, deletions with their sweeps, tags and moves of the log follow each other until the backup is made.
        # The program that copies waits for some of each, so that they happen during the backup.
        stop = threading.Event()
        done_some = os.path.join(self.scratch, "done_some")
        failures = []

        def write():
            try:
                turn = 0
                while not stop.is_set():
                    turn += 1
                    self.register(os.urandom(50_000), "prod.ml.busy")
                    self.ok("tag", "set", "prod.ml.m", "turn", str(turn))
                    if turn > 1:
                        self.ok("rm", "--yes", f"prod.ml.busy/{turn - 1}")
                    if turn == 3:
                        with open(done_some, "w"):
                            pass
            except AssertionError as error:
                failures.append(error)
                with open(done_some, "w"):
                    pass

        # Commands that remove files and move records. Each waits, or is refused for now, during a backup.
        def tidy():
            while not stop.is_set():
                run("-r", self.home, "gc")
                run("-r", self.home, "audit", "rotate", "--keep", "1")

        threads = [threading.Thread(target=work) for work in (write, tidy)]
        for thread in threads:
            thread.start()
        waiting = f"sh -c 'while ! test -e {shlex.quote(done_some)}; do sleep 0.05; done; exec \"$@\"' sh rsync"
        self.assertEqual(made.count("-- rsync"), 1, made)
        backup = self.script(made.replace("-- rsync", "-- " + waiting))
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(backup.returncode, 0, backup.stderr)

        self.assertEqual(os.stat(self.places["BACKUP"]).st_mode & 0o777, 0o700)
        there = self.script(restored)
        self.assertEqual(there.returncode, 0, there.stdout + there.stderr)
        self.assertIn("the audit log is whole", there.stdout)
        new = self.places["NEW"]
        for version in (1, 2, 3):
            out = os.path.join(self.scratch, f"out{version}")
            self.ok("download", f"prod.ml.m/{version}", out, home=new)
            with open(os.path.join(out, "weights"), "rb") as file:
                self.assertEqual(file.read(), bytes([version - 1]) * 100_000)
        self.assertGreaterEqual(len(self.audit(new)), acknowledged)

        # Back up into the same directory again: it includes the newer version.
        self.register(b"since", "prod.ml.m")
        again = self.script(made)
        self.assertEqual(again.returncode, 0, again.stderr)
        shutil.rmtree(new)
        there = self.script(restored)
        self.assertEqual(there.returncode, 0, there.stdout + there.stderr)
        self.assertIn("prod.ml.m", self.ok("show", "prod.ml.m/4", home=new))

    def test_missing_files_of_a_backup_are_reported_as_missing(self):
        made, restored = lines_of_the_page()
        self.register(b"weights")
        self.ok("audit", "rotate")
        self.assertIn(" HOME/audit", made)
        # Without the audit files, as in an earlier edition of the page.
        without = self.script(made.replace(" HOME/audit", ""))
        self.assertEqual(without.returncode, 0, without.stderr)
        there = self.script(restored)
        self.assertEqual(there.returncode, 8, there.stdout + there.stderr)
        self.assertIn("are missing", there.stdout)
        self.assertIn("/audit/1-", there.stdout)
        self.assertNotIn("tampered", there.stdout + there.stderr)
        verdict = run("-r", self.places["NEW"], "audit", "verify")
        self.assertEqual(verdict.returncode, 8)
        self.assertIn("are missing", verdict.stderr)
        self.assertNotIn("tampered", verdict.stderr)
        # Missing artifacts are reported, too. The names are whole, and need no restore.
        objects = os.path.join(self.places["NEW"], "objects")
        shutil.rmtree(objects)
        os.mkdir(objects, 0o700)
        both = run("-r", self.places["NEW"], "fsck")
        self.assertEqual(both.returncode, 8)
        self.assertIn("/audit/1-", both.stdout)
        self.assertIn("is missing\n  needed by prod.ml.m/1\n", both.stdout)
        self.assertIn("1 problem in the audit log", both.stderr)

    # A file of moved records is durable before the registry records the move. A rotation that is killed between the two
    # leaves a file with records that a later file also holds. A backup must not have both.
    def test_a_backup_leaves_out_the_file_of_a_killed_rotation(self):
        made, restored = lines_of_the_page()
        self.register(b"weights")
        killed = subprocess.run([BINARY, "-r", self.home, "audit", "rotate"], capture_output=True, timeout=60,
                                env=dict(os.environ, MODELFS_FAIL_POINT="audit.rotate.written"))
        self.assertNotEqual(killed.returncode, 0, "needs a build with fail points")
        left = os.listdir(os.path.join(self.home, "audit"))
        self.assertEqual(len(left), 1, left)
        first = self.script(made)
        self.assertEqual(first.returncode, 0, first.stderr)
        self.ok("tag", "set", "prod.ml.m", "k", "v")
        self.ok("audit", "rotate")
        self.assertNotEqual(os.listdir(os.path.join(self.home, "audit")), left)
        second = self.script(made)
        self.assertEqual(second.returncode, 0, second.stderr)
        there = self.script(restored)
        self.assertEqual(there.returncode, 0, there.stdout + there.stderr)
        self.assertIn("the audit log is whole", there.stdout)

    def test_a_failed_backup_keeps_the_earlier_one(self):
        made, restored = lines_of_the_page()
        self.register(b"first")
        self.assertEqual(self.script(made).returncode, 0)
        self.register(b"second")
        failed = self.script(made.replace("-- rsync", "-- false"))
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("false ended with exit code 1", failed.stderr)
        self.assertEqual(os.listdir(os.path.join(self.places["BACKUP"], "registry")), ["data.mdb"])
        self.assertEqual(self.script(restored).returncode, 0)
        self.assertEqual(run("-r", self.places["NEW"], "show", "prod.ml.m/2").returncode, 3)

    def test_an_unsuitable_target_is_refused(self):
        inside = run("-r", self.home, "backup", os.path.join(self.home, "backup"))
        self.assertEqual(inside.returncode, 2, inside.stderr)
        other = os.path.join(self.scratch, "other")
        self.ok("init", home=other)
        used = run("-r", self.home, "backup", other)
        self.assertEqual(used.returncode, 6, used.stderr)
        self.assertIn("is a registry that is, or was, in use", used.stderr)
        none = run("-r", self.home, "backup", os.path.join(self.scratch, "b"), "--", "no-such-program")
        self.assertNotEqual(none.returncode, 0)
        self.assertIn("no-such-program", none.stderr)


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main()
