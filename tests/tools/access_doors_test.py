#!/usr/bin/env python3
"""Every door gives the same verdict: the rights of one user, tried by command, by SQL and on a shared mount.

tests/store/access/access_test.cc checks the verdicts themselves against a table. This test compares the doors with each
other, situation by situation. Its user exists only in an identity map, so that nothing is added to the host. Needs
root, to act as that user on the mount.

usage: access_doors_test.py path/to/modelfs [unittest arguments]
"""

import errno
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BINARY = ""
BOB_UID, ADMIN = 20001, "admin"
PRIVILEGES = {
    "metastore": ["CREATE_CATALOG", "READ_AUDIT"],
    "c": ["ALL_PRIVILEGES", "USE_CATALOG", "USE_SCHEMA", "CREATE_SCHEMA", "CREATE_MODEL", "CREATE_FUNCTION",
          "CREATE_MODEL_VERSION", "EXECUTE", "APPLY_TAG", "BROWSE", "MANAGE"],
    "c.s": ["ALL_PRIVILEGES", "USE_SCHEMA", "CREATE_MODEL", "CREATE_FUNCTION", "CREATE_MODEL_VERSION", "EXECUTE",
            "APPLY_TAG", "MANAGE"],
    "c.s.m": ["ALL_PRIVILEGES", "CREATE_MODEL_VERSION", "EXECUTE", "APPLY_TAG", "MANAGE"],
}
GATES = {"both gates": ("USE_CATALOG", "USE_SCHEMA"), "USE CATALOG only": ("USE_CATALOG",),
         "USE SCHEMA only": ("USE_SCHEMA",), "no gate": ()}
ALLOWED, DENIED = "allowed", "denied"


class Doors(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skipTest("/dev/fuse is missing here")
        self.scratch = os.path.realpath(tempfile.mkdtemp(prefix="modelfs_doors_"))
        os.chmod(self.scratch, 0o755)
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.home = os.path.join(self.scratch, "home")
        self.mnt = os.path.join(self.scratch, "mnt")
        os.mkdir(self.mnt)
        self.map = os.path.join(self.scratch, "identities")
        with open(self.map, "w") as out:
            out.write(f"uid 0 = {ADMIN}\nuid {BOB_UID} = bob\n")
        self.source = os.path.join(self.scratch, "source")
        os.mkdir(self.source)
        with open(os.path.join(self.source, "weights.bin"), "wb") as out:
            out.write(b"w" * 1000)
        self.addCleanup(subprocess.run, ["umount", "-l", self.mnt], capture_output=True)
        self.ok("init")
        self.ok("mount", self.mnt, "-d", "-o", "allow_other")
        self.ok("mkdir", "-p", "c.s")
        self.ok("register", self.source, "c.s.m", "--alias", "live")
        # The admin keeps this right while the model belongs to bob.
        self.ok("grant", "CREATE_MODEL_VERSION", "c.s.m", ADMIN)
        # The metastore belongs to a group, as it should: a new member becomes an admin beside the first one.
        self.ok("group", "create", "admins")
        self.ok("group", "add", "admins", ADMIN)
        self.ok("owner", "set", "metastore", "admins")
        self.ok("group", "create", "team")
        self.ok("group", "add", "team", "bob")
        self.path = os.path.join(self.mnt, "c/s/m")

    def modelfs(self, *arguments, given=None):
        env = {key: value for key, value in os.environ.items() if not key.startswith("MODELFS_")}
        return subprocess.run([BINARY, "-r", self.home, "--identity-map", self.map, *arguments], env=env,
                              capture_output=True, text=True, timeout=120, input=given)

    def ok(self, *arguments):
        done = self.modelfs(*arguments)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
        return done.stdout

    # --- the doors: each returns ALLOWED or DENIED; any other result fails the test ---

    def command(self, *arguments, expected=(0,)):
        done = self.modelfs("--as", "bob", *arguments)
        if done.returncode == 5:  # permission denied, docs/cli.md
            return DENIED
        # Hidden objects: not found, and for a model to be created, a name that is taken.
        if done.returncode in (3, 4) and ("none that bob may see" in done.stderr or "that bob may not see" in done.stderr):
            return DENIED
        self.assertIn(done.returncode, expected, f"{arguments}: {done.stdout}{done.stderr}")
        return ALLOWED

    def sql(self, statement, expected=(0,)):
        return self.command("sql", statement, expected=expected)

    def mount(self, call, expected=()):
        """Runs `call` as bob; the errors in `expected` can only follow a granted right."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            code = 250
            try:
                os.setgroups([])
                os.setresgid(BOB_UID, BOB_UID, BOB_UID)
                os.setresuid(BOB_UID, BOB_UID, BOB_UID)
                call()
                code = 0
            except OSError as error:
                code = error.errno
            except BaseException as error:  # pylint: disable=broad-except
                os.write(write, repr(error).encode())
            finally:
                os._exit(code)
        os.close(write)
        said = os.read(read, 1000).decode()
        os.close(read)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == errno.EACCES:
            return DENIED
        self.assertTrue(code == 0 or code in expected, f"errno {errno.errorcode.get(code, code)} {said}")
        return ALLOWED

    # --- the operations ---

    def read_file(self):
        def read():
            with open(self.path + "/versions/1/weights.bin", "rb") as file:
                assert file.read() == b"w" * 1000

        target = os.path.join(self.scratch, "download")
        shutil.rmtree(target, ignore_errors=True)
        return {"command": self.command("download", "c.s.m/1", target), "mount": self.mount(read)}

    def list_versions(self):
        def names():
            if "1" not in os.listdir(self.path + "/versions"):  # with CREATE MODEL VERSION alone: own drafts
                raise PermissionError(errno.EACCES, "not shown")

        return {"command": self.command("resolve", "c.s.m@live"), "mount": self.mount(names)}

    def see(self):
        return {"command": self.command("show", "c.s.m"), "sql": self.sql("DESCRIBE MODEL c.s.m"),
                "mount": self.mount(lambda: os.listdir(self.path))}

    def tag(self):
        return {"command": self.command("tag", "set", "c.s.m", "k", "v"),
                "sql": self.sql("ALTER MODEL c.s.m SET TAGS ('k' = 'v')"),
                "mount": self.mount(lambda: os.setxattr(self.path, "user.tag.k", b"v"))}

    def tag_version(self):
        return {"command": self.command("tag", "set", "c.s.m/1", "k", "v"),
                "mount": self.mount(lambda: os.setxattr(self.path + "/versions/1", "user.tag.k", b"v"))}

    def describe(self):
        return {"command": self.command("describe", "c.s.m", "text"),
                "sql": self.sql("COMMENT ON MODEL c.s.m IS 'text'"),
                "mount": self.mount(lambda: os.setxattr(self.path, "user.description", b"text"))}

    def alias(self):
        def move():
            name = self.path + "/aliases/.t"
            os.symlink("../versions/1", name)
            os.rename(name, self.path + "/aliases/live")

        return {"command": self.command("alias", "set", "c.s.m@live", "1"), "mount": self.mount(move)}

    def begin_version(self):
        def draft():
            os.mkdir(self.path + "/versions/draft")
            os.rmdir(self.path + "/versions/draft")

        empty = os.path.join(self.scratch, "empty")
        os.makedirs(empty, exist_ok=True)
        # An empty directory is refused only after the check of the right.
        return {"command": self.command("register", empty, "c.s.m", expected=(6,)), "mount": self.mount(draft)}

    def create_schema(self):
        def made(call):
            verdict = call()
            if verdict == ALLOWED:
                self.ok("rm", "--yes", "c.new")
            return verdict

        return {"command": made(lambda: self.command("mkdir", "c.new")),
                "sql": made(lambda: self.sql("CREATE SCHEMA c.new")),
                "mount": made(lambda: self.mount(lambda: os.mkdir(self.mnt + "/c/new")))}

    def create_catalog(self):
        def made(call):
            verdict = call()
            if verdict == ALLOWED:
                self.ok("rm", "--yes", "new")
            return verdict

        return {"command": made(lambda: self.command("mkdir", "new")),
                "sql": made(lambda: self.sql("CREATE CATALOG new")),
                "mount": made(lambda: self.mount(lambda: os.mkdir(self.mnt + "/new")))}

    def create_model(self):
        def made(call):
            verdict = call()
            if verdict == ALLOWED:
                self.ok("rm", "--yes", "c.s.new")
            return verdict

        return {"command": made(lambda: self.command("mkdir", "c.s.new")),
                "sql": made(lambda: self.sql("CREATE MODEL c.s.new")),
                "mount": made(lambda: self.mount(lambda: os.mkdir(self.mnt + "/c/s/new")))}

    def rename(self):
        def renamed(call):
            verdict = call()
            if verdict == ALLOWED:
                self.ok("rename", "c.s.other", "m")
            return verdict

        return {"command": renamed(lambda: self.command("rename", "c.s.m", "other")),
                "sql": renamed(lambda: self.sql("ALTER MODEL c.s.m RENAME TO other")),
                "mount": renamed(lambda: self.mount(lambda: os.rename(self.path, self.mnt + "/c/s/other")))}

    def delete_model(self):
        # The model has a version, so a user with the right to delete it gets that refusal.
        return {"sql": self.sql("DROP MODEL c.s.m", expected=(6,)),
                "mount": self.mount(lambda: os.rmdir(self.path), expected=(errno.ENOTEMPTY,))}

    def delete_version(self):
        def deleted(door):
            version = self.ok("register", self.source, "c.s.m").strip()
            verdict = door(version)
            if verdict == DENIED:
                self.ok("rm", "--yes", version)
            return verdict

        return {"command": deleted(lambda version: self.command("rm", "--yes", version)),
                "mount": deleted(lambda version: self.mount(
                    lambda: os.rmdir(self.path + "/versions/" + version.rpartition("/")[2])))}

    def give(self):
        return {"command": self.command("grant", "EXECUTE", "c.s.m", "account users"),
                "sql": self.sql("REVOKE EXECUTE ON MODEL c.s.m FROM `account users`")}

    OPERATIONS = ("read_file", "list_versions", "see", "tag", "tag_version", "describe", "alias", "begin_version",
                  "create_schema", "create_catalog", "create_model", "rename", "delete_model", "delete_version", "give")

    # --- the situations ---

    def situations(self):
        for through, gates in itertools.product(("bob", "team"), GATES):
            yield through, gates, None, None
            for place, privileges in PRIVILEGES.items():
                yield through, gates, None, place
                for privilege in privileges:
                    yield through, gates, privilege, place

    def test_every_door_gives_the_same_verdict(self):
        rows = 0
        for number, (through, gates, privilege, place) in enumerate(self.situations()):
            # With a closed gate little is reachable, so only every third of those situations is tried.
            if gates != "both gates" and number % 3 != 0:
                continue
            grants = [("USE_CATALOG", "c")] if "USE_CATALOG" in GATES[gates] else []
            grants += [("USE_SCHEMA", "c.s")] if "USE_SCHEMA" in GATES[gates] else []
            if privilege and (privilege, place) not in grants:
                grants.append((privilege, place))
            for each, where in grants:
                self.ok("grant", each, where, through)
            owns = place is not None and privilege is None
            if owns and place == "metastore":
                self.ok("group", "add", "admins", through)
            elif owns:
                self.ok("owner", "set", place, through)
            what = f"{through} {'owns' if owns else privilege} {place}, {gates}"
            for operation in self.OPERATIONS:
                with self.subTest(what, operation=operation):
                    verdicts = getattr(self, operation)()
                    rows += len(verdicts)
                    self.assertEqual(len(set(verdicts.values())), 1, f"{what}: {operation}: {verdicts}")
            if owns and place == "metastore":
                self.ok("group", "remove", "admins", through)
            elif owns:
                self.ok("owner", "set", place, ADMIN)
            for each, where in grants:
                self.ok("revoke", each, where, through)
        print(f"{rows} rows")
        self.assertGreater(rows, 1000)


class Ranges(unittest.TestCase):
    """Random uids of a cluster, on a shared mount with a map of ranges."""

    setUp = Doors.setUp
    modelfs, ok, mount = Doors.modelfs, Doors.ok, Doors.mount

    def as_uid(self, uid, call, expected=()):
        global BOB_UID
        kept, BOB_UID = BOB_UID, uid
        try:
            return self.mount(call, expected)
        finally:
            BOB_UID = kept

    def read(self):
        with open(self.path + "/versions/1/weights.bin", "rb") as file:
            assert file.read() == b"w" * 1000

    def remap(self, text):
        with open(self.map + ".new", "w") as out:
            out.write(f"uid 0 = {ADMIN}\nuid {BOB_UID} = bob\n" + text)
        os.rename(self.map + ".new", self.map)

    def until(self, uid, verdict, call=None):
        """Waits for a verdict: a new map takes effect after about a second, and in the kernel a moment later."""
        deadline = time.monotonic() + 60
        while self.as_uid(uid, call or self.read) != verdict:
            self.assertLess(time.monotonic(), deadline, f"uid {uid} is not {verdict}")
            time.sleep(0.05)

    def test_a_uid_has_the_rights_of_the_name_of_its_range(self):
        self.remap("uid 100000-165535 = batch\nuid 100007 = carol\n")
        for privilege, place in (("USE_CATALOG", "c"), ("USE_SCHEMA", "c.s"), ("EXECUTE", "c.s.m")):
            self.ok("grant", privilege, place, "batch")
        self.until(100000, ALLOWED)
        self.assertEqual(self.as_uid(165535, self.read), ALLOWED)
        self.assertEqual(self.as_uid(123456, lambda: os.listdir(self.path + "/versions")), ALLOWED)
        # No rights: uids outside the range, a uid with a line of its own, and a name without a grant.
        for uid in (99999, 165536, 100007, BOB_UID):
            self.assertEqual(self.as_uid(uid, self.read), DENIED, uid)
            self.assertEqual(self.as_uid(uid, lambda: os.listdir(self.path)), DENIED, uid)
            self.assertEqual(self.as_uid(uid, lambda: os.mkdir(self.path + "/versions/d")), DENIED, uid)
        self.assertEqual(self.as_uid(100000, lambda: os.symlink("../versions/1", self.path + "/aliases/x")), DENIED)
        # The group of such a process does not matter, even a group with an entry.
        self.ok("grant", "CREATE_MODEL_VERSION", "c.s.m", "batch")

        def draft():
            os.mkdir(self.path + "/versions/draft")
            with open(self.path + "/versions/draft/f", "w") as out:
                out.write("x")
            os.rename(self.path + "/versions/draft", self.path + "/versions/next")

        self.assertEqual(self.as_uid(140000, draft), ALLOWED)
        self.assertEqual(self.ok("ls", "--names", "c.s.m").split(), ["c.s.m/1", "c.s.m/2"])
        self.ok("revoke", "EXECUTE", "c.s.m", "batch")
        self.until(100000, DENIED)

    def test_the_default_name_covers_all_other_uids_and_is_never_an_admin(self):
        for privilege, place in (("USE_CATALOG", "c"), ("USE_SCHEMA", "c.s"), ("EXECUTE", "c.s.m")):
            self.ok("grant", privilege, place, "team")
        self.remap("uid * = guests\n")
        self.ok("group", "add", "team", "guests")
        self.until(31234, ALLOWED)
        # If the name becomes an admin, the uids that share it have no rights and cannot enter.
        self.ok("group", "add", "admins", "guests")
        self.until(31234, DENIED)
        self.until(31234, DENIED, lambda: os.stat(self.path))
        self.ok("group", "remove", "admins", "guests")
        self.until(31234, ALLOWED)

    def test_a_name_of_many_uids_is_never_an_admin_on_the_mount(self):
        os.mkdir(self.mnt + "/kept")
        for privilege, place in (("USE_CATALOG", "c"), ("USE_SCHEMA", "c.s"), ("EXECUTE", "c.s.m")):
            self.ok("grant", privilege, place, "bob")
        lines = (f"uid * = {ADMIN}\n", f"uid 5-400000 = {ADMIN}\n", "uid * = guests\n")
        for probe, line in enumerate(lines, 500000):
            self.remap(f"uid {probe} = bob\n" + line)
            self.until(probe, ALLOWED)  # from here on the mount uses this map
            if "guests" in line:
                self.ok("group", "add", "admins", "guests")
            # For the root directory the kernel asks the daemon, whatever the rights of the caller.
            for attempt in (lambda: os.mkdir(self.mnt + "/mine"), lambda: os.rmdir(self.mnt + "/kept"),
                            lambda: os.setxattr(self.mnt, "user.description", b"x"),
                            lambda: os.setxattr(self.mnt, "user.modelfs.owner", b"bob")):
                self.assertEqual(self.as_uid(300000, attempt), DENIED, line)
            self.assertEqual(sorted(os.listdir(self.mnt)), ["c", "kept"])

    def test_a_contradictory_map_is_refused_with_its_line_numbers(self):
        self.remap("uid 10-20 = a\nuid 15-30 = b\n")
        done = self.modelfs("ls")
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"{self.map}:4: uids 15-30 overlap with 10-20 on line 3", done.stderr)


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main()
