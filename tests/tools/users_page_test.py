#!/usr/bin/env python3
"""Runs docs/users.md line by line as its reader: on a shared mount, as a uid with grants and without a registry. A line
with `# refused` must fail. Needs root, to act as that user.

usage: users_page_test.py path/to/modelfs [unittest arguments]
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BINARY = ""
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "users.md"
BOB_UID = 20001


class UsersPage(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skipTest("needs root and /dev/fuse")
        self.scratch = os.path.realpath(tempfile.mkdtemp(prefix="modelfs_users_"))
        os.chmod(self.scratch, 0o755)
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        # The build may be in a directory that bob cannot enter, such as root's home.
        self.programs = self.make("bin", 0o755)
        shutil.copy(BINARY, self.programs)
        self.home = self.make("home", 0o700)
        self.mnt = self.make("mnt", 0o755)
        self.bobs = self.make("bob", 0o755)
        model = os.path.join(self.bobs, "my_model")
        os.mkdir(model)
        pathlib.Path(model, "weights").write_text("weights")
        for path in (self.bobs, model, model + "/weights"):
            os.chown(path, BOB_UID, BOB_UID)
        self.map = os.path.join(self.scratch, "identities")
        pathlib.Path(self.map).write_text(f"uid 0 = admin\nuid {BOB_UID} = bob\n")
        self.addCleanup(subprocess.run, ["umount", "-l", self.mnt], capture_output=True)
        self.ok("init")
        self.ok("mount", self.mnt, "-d", "-o", "allow_other")
        for schema in ("prod.ml", "prod.secret", "dev.ml"):
            self.ok("mkdir", "-p", schema)
        source = self.make("source", 0o755)
        pathlib.Path(source, "weights").write_text("older weights")
        self.ok("register", source, "prod.ml.iris", "--alias", "Champion")
        self.ok("register", source, "prod.secret.model")
        for privileges, name in (("USE_CATALOG", "prod"), ("USE_SCHEMA,EXECUTE", "prod.ml"),
                                 ("CREATE_MODEL_VERSION,MANAGE", "prod.ml.iris"), ("USE_CATALOG", "dev"),
                                 ("USE_SCHEMA,CREATE_MODEL", "dev.ml")):
            self.ok("grant", privileges, name, "bob")

    def make(self, name, mode):
        path = os.path.join(self.scratch, name)
        os.mkdir(path, mode)
        return path

    def ok(self, *arguments):
        done = subprocess.run([BINARY, "-r", self.home, "--identity-map", self.map, *arguments], capture_output=True,
                              text=True, timeout=120)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
        return done.stdout

    def bob(self, line):
        # If several registries are mounted, an administrator names one. Other tests may have mounts at this moment.
        env = {"HOME": self.bobs, "MODELFS_REGISTRY": self.home, "PATH": self.programs + ":" + os.environ["PATH"],
               "LC_ALL": "C.UTF-8"}
        return subprocess.run(["setpriv", f"--reuid={BOB_UID}", f"--regid={BOB_UID}", "--clear-groups", "bash", "-c",
                               line.replace("/models", self.mnt)], env=env, cwd=self.bobs, capture_output=True,
                              text=True, timeout=120)

    def test_every_line_does_what_the_page_says(self):
        said = {}
        page = PAGE.read_text()
        self.assertLessEqual(len(page.splitlines()), 64, "one screen")
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
            for line in block.splitlines():
                command = re.sub(r"\s+#.*", "", line)
                done = self.bob(command)
                with self.subTest(line=line):
                    if "# refused: " in line:
                        self.assertNotEqual(done.returncode, 0)
                        self.assertIn(line.split("# refused: ")[1], done.stderr)
                    else:
                        self.assertEqual((done.returncode, done.stderr.replace(
                            "getfattr: Removing leading '/' from absolute path names\n", "")), (0, ""), done.stdout)
                    said[command] = done.stdout

        self.assertIn(self.mnt + " ", said["mount -t fuse.modelfs"])
        self.assertIn("iris", said["ls /models /models/prod/ml"])
        self.assertNotIn("secret", said["ls /models /models/prod/ml"])
        self.assertIn('user.modelfs.status="READY"', said["getfattr -d /models/prod/ml/iris/versions/1"])
        self.assertEqual(said["ls /models/prod/ml/iris@Champion/"], "weights\n")
        self.assertEqual(said["realpath /models/prod/ml/iris/aliases/Champion"],
                         self.mnt + "/prod/ml/iris/versions/1\n")
        self.assertEqual(os.readlink(self.mnt + "/prod/ml/iris/aliases/Champion"), "../versions/2")
        self.assertEqual(os.listdir(self.mnt + "/dev/ml/iris/versions"), [])
        self.assertEqual(self.bob("cat /models/prod/ml/iris@Champion/weights").stdout, "weights")
        for asked in ("", " /models/prod/ml/iris/versions/2"):
            self.assertIn("mkdir " + self.mnt + "/prod/ml/iris/versions/2/more: EROFS", said["modelfs why" + asked])
        unseen = said["modelfs why prod.secret.model"]
        self.assertIn("it lacks USE SCHEMA on schema prod.secret", unseen)
        self.assertIn("GRANT USE SCHEMA ON SCHEMA prod.secret TO `bob`", unseen)
        self.assertIn("a metastore admin (admin)", unseen)
        self.assertIn('user.modelfs.owner="admin"', said["getfattr -n user.modelfs.owner /models"])

    def test_commands_for_the_keeper_are_refused_with_a_message(self):
        for command in ("ls", "register my_model prod.ml.iris", "grant EXECUTE prod.ml.iris bob"):
            done = self.bob("modelfs -r " + self.home + " " + command)
            self.assertEqual(done.returncode, 5, command + ": " + done.stderr)
            self.assertNotEqual(done.stderr, "")
        self.assertEqual(self.bob("modelfs status /models").returncode, 0)


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main()
