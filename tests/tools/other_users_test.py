#!/usr/bin/env python3
"""Mounts, homes and files of other users of the host. Needs root, to act as those users.

usage: other_users_test.py path/to/modelfs path/to/mount.fuse.modelfs [unittest arguments]
"""

import ctypes
import fcntl
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import unittest

import mount_cli_test
from mount_cli_test import Case

# Users that every Debian has.
EVE = pwd.getpwnam("games")
BOB = pwd.getpwnam("daemon")


class Others(Case):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can run a command as somebody else")
        super().setUp()
        os.chmod(self.scratch, 0o755)
        self.binary = os.path.join(self.scratch, "modelfs")
        shutil.copy(mount_cli_test.BINARY, self.binary)
        self.eve = self.directory("eve", EVE)
        self.bob = self.directory("bob", BOB)

    def directory(self, name, user):
        path = os.path.join(self.scratch, name)
        os.mkdir(path, 0o755)
        os.chown(path, user.pw_uid, user.pw_gid)
        return path

    def run_as(self, user, *arguments, program=None):
        """A command of `user`, without a registry in the environment."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MODELFS_")}
        return subprocess.run([program or self.binary, *arguments], env=environment, capture_output=True, text=True,
                              timeout=mount_cli_test.PATIENCE_S, user=user.pw_uid, group=user.pw_gid,
                              extra_groups=[], cwd="/")

    def ok_as(self, user, *arguments, program=None):
        done = self.run_as(user, *arguments, program=program)
        self.assertEqual((done.returncode, done.stderr), (0, ""), (arguments, done.stdout))
        return done.stdout

    def refused_as(self, user, exit_code, *arguments, says=""):
        done = self.run_as(user, *arguments)
        self.assertEqual(done.returncode, exit_code, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertIn(says, done.stderr)

    def mount_of(self, user, source, options=""):
        """A mount as `user` would make it, which names the registry `source`; no daemon serves it."""
        path = os.path.join(self.scratch, "mounts-of-%d-%d" % (user.pw_uid, len(os.listdir(self.scratch))))
        os.mkdir(path)
        device = os.open("/dev/fuse", os.O_RDWR)
        self.addCleanup(os.close, device)
        data = "fd=%d,rootmode=40000,user_id=%d,group_id=%d%s" % (device, user.pw_uid, user.pw_gid, options)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(source.encode(), path.encode(), b"fuse.modelfs", 0, data.encode()) != 0:
            self.skipTest("mount(2): " + os.strerror(ctypes.get_errno()))
        self.addCleanup(subprocess.run, ["umount", "-l", path], stderr=subprocess.DEVNULL)
        return path


class Mounts(Others):
    def test_commands_neither_change_nor_wait_for_a_home_that_another_users_mount_names(self):
        theirs = os.path.join(self.eve, "h")
        self.ok_as(EVE, "init", theirs)
        os.chmod(theirs, 0o711)
        os.mkdir(self.bob + "/project")
        for folder in (self.bob + "/project", self.bob):
            os.chown(folder, BOB.pw_uid, BOB.pw_gid)
        config = self.bob + "/project/config.json"
        with open(config, "w") as file:
            file.write("{}")
        os.chown(config, BOB.pw_uid, BOB.pw_gid)
        os.symlink(self.bob + "/project", theirs + "/mounts")
        self.mount_of(EVE, theirs)
        shared = self.mount_of(EVE, theirs, ",allow_other")
        for command in ("why", "status"):
            for user in (BOB, pwd.getpwuid(0)):
                self.assertNotIn("config", self.run_as(user, "-r", theirs, command).stdout)
                self.assertTrue(os.path.exists(config), f"{command} as {user.pw_name}")
        subprocess.run(["umount", "-l", shared], check=True)
        os.unlink(theirs + "/mounts")
        os.mkdir(theirs + "/mounts", 0o755)
        os.chown(theirs + "/mounts", EVE.pw_uid, EVE.pw_gid)
        os.mkfifo(theirs + "/mounts/z.json")
        os.chown(theirs + "/mounts/z.json", EVE.pw_uid, EVE.pw_gid)
        left = theirs + "/mounts/left.json"
        with open(left, "w") as file:
            json.dump({"mount_point": self.mnt, "pid": 1, "since_ms": 1}, file)
        os.chown(left, EVE.pw_uid, EVE.pw_gid)
        path = self.mount_of(EVE, theirs)
        for command in (["-r", theirs, "status"], ["-r", theirs, "why"], ["umount", path]):
            self.assertEqual(self.run_as(pwd.getpwuid(0), *command).returncode, 0, command)
        self.assertEqual(sorted(os.listdir(theirs + "/mounts")), ["left.json", "z.json"])

    def test_another_users_mount_does_not_choose_the_registry_of_a_command(self):
        model = os.path.join(self.scratch, "model")
        os.mkdir(model)
        with open(model + "/w", "w") as file:
            file.write("x")
        self.ok("register", "-p", model, "prod.ml.iris")
        path = self.mount_of(EVE, self.home, ",allow_other")
        for command in (["rm", "--yes", path + "/prod/ml/iris/versions/1"], ["ls", path + "/prod"],
                        ["commit", path + "/prod/ml/iris/versions/draft"]):
            self.refused(5, *command, says=f"{path} is a mount of games (uid {EVE.pw_uid})")
        self.assertEqual(self.ok("ls", "--names", "prod.ml.iris"), "prod.ml.iris/1\n")

    def test_invalid_records_in_the_users_own_home_are_ignored_and_dead_ones_removed(self):
        self.ok("mkdir", "prod")
        self.ok("mount", self.mnt, "-d")
        records = self.home + "/mounts"
        outside = os.path.join(self.scratch, "outside.json")
        held = []
        for name, text in (("pid", '{"mount_point": "/a", "pid": "x", "since_ms": 1}'), ("list", "[]"), ("no", "{")):
            held.append(open(f"{records}/{name}.json", "w"))
            held[-1].write(text)
            held[-1].flush()
            fcntl.flock(held[-1], fcntl.LOCK_EX)
        self.addCleanup(lambda: [file.close() for file in held])
        os.mkfifo(records + "/fifo.json")
        with open(outside, "w") as file:
            file.write("{}")
        os.symlink(outside, records + "/link.json")
        with open(records + "/huge.json", "w") as file:
            os.truncate(file.fileno(), 1 << 40)
        with open(records + "/dead.json", "w") as file:
            json.dump({"mount_point": "/dead", "pid": 1, "since_ms": 1}, file)
        self.assertEqual(len(json.loads(self.ok("status", "--json"))), 1)
        self.assertTrue(os.path.exists(outside))
        self.assertFalse(os.path.exists(records + "/dead.json"))
        self.ok("umount", self.mnt)
        self.assertEqual(sorted(os.listdir(records)),
                         ["fifo.json", "huge.json", "link.json", "list.json", "no.json", "pid.json"])

    def test_why_ignores_private_mounts_of_others_and_says_how_to_ask(self):
        self.ok("mount", self.mnt, "-d", "-o", "allow_other")
        private = self.mount_of(EVE, self.home)
        done = self.run_as(BOB, "why")
        self.assertIn("no refusal of yours is recorded; if the kernel itself closes a directory, none is: ask "
                      "modelfs why PATH\n", done.stdout)
        self.assertNotIn(private, done.stderr)
        self.assertNotIn(self.mnt, done.stderr)
        self.assertNotIn(private, self.run_as(BOB, "status").stderr)
        with self.subTest("a recorded refusal"):
            self.assertEqual(self.run_as(BOB, self.mnt + "/Upper", program="/bin/mkdir").returncode, 1)
            self.assertIn("EINVAL", self.run_as(BOB, "why", self.mnt + "/Upper").stdout)
        self.ok("umount", self.mnt)


class Homes(Others):
    def home_of_eve(self):
        home = os.path.join(self.eve, "h")
        self.ok_as(EVE, "init", home)
        return home

    def test_only_its_owner_can_use_a_home(self):
        theirs = self.home_of_eve()
        target = os.path.join(self.scratch, "target")
        with open(target, "w") as file:
            file.write("root's")
        os.unlink(theirs + "/registry/lock.mdb")
        os.symlink(target, theirs + "/registry/lock.mdb")
        named = f"games (uid {EVE.pw_uid})"
        for command in (["ls"], ["gc"], ["fsck"], ["init"], ["init", "--take-over"], ["audit"]):
            self.refused(5, "-r", theirs, *command, says=named)
            self.refused_as(BOB, 5, "-r", theirs, *command, says=named)
        for link in ("registry/lock.mdb", "mount.log", "objects", "gc.lock"):
            if link != "registry/lock.mdb":
                shutil.rmtree(f"{theirs}/{link}", ignore_errors=True)
                if os.path.exists(f"{theirs}/{link}"):
                    os.unlink(f"{theirs}/{link}")
                os.symlink(target, f"{theirs}/{link}")
            self.refused_as(EVE, 6, "-r", theirs, "ls", says=f"{theirs}/{link} is a symlink")
            self.refused(6, "mount", theirs, self.mnt, "-d", says=f"{theirs}/{link} is a symlink")
            os.unlink(f"{theirs}/{link}")
        with open(target) as file:
            self.assertEqual(file.read(), "root's")
        # An open of a FIFO waits for its other end.
        for name in ("mount.log", "registry/data.mdb"):
            if os.path.exists(f"{theirs}/{name}"):
                os.rename(f"{theirs}/{name}", f"{self.eve}/kept")
            os.mkfifo(f"{theirs}/{name}")
            os.chown(f"{theirs}/{name}", EVE.pw_uid, EVE.pw_gid)
            self.refused_as(EVE, 6, "-r", theirs, "ls", says=f"{theirs}/{name} is neither a file nor a directory")
            self.refused(6, "mount", theirs, self.mnt, "-d", says=f"{theirs}/{name} is neither a file nor a directory")
            os.unlink(f"{theirs}/{name}")
            if os.path.exists(f"{self.eve}/kept"):
                os.rename(f"{self.eve}/kept", f"{theirs}/{name}")
        self.ok_as(EVE, "-r", theirs, "ls")
        # Files that root left there in earlier versions: the refusal names them and the remedy.
        os.chown(theirs + "/registry/lock.mdb", 0, 0)
        self.refused_as(EVE, 5, "-r", theirs, "ls",
                        says=f"{theirs}/registry/lock.mdb belongs to root (uid 0) and not, as {theirs}/registry does, "
                             f"to {named}; give it back, as root: chown -R --no-dereference {EVE.pw_uid}")
        os.chown(theirs + "/registry/lock.mdb", EVE.pw_uid, EVE.pw_gid)
        for folder in (theirs, theirs + "/registry"):
            os.chmod(folder, 0o770)
            self.refused_as(EVE, 6, "-r", theirs, "ls", says=f"chmod go-w {folder}")
            os.chmod(folder, 0o700)
        self.ok_as(EVE, "-r", theirs, "ls")

    def test_a_shell_reads_the_command_in_a_refusal_as_intended(self):
        theirs = os.path.join(self.eve, "h;touch pwned;$(touch pwned)'\"`touch pwned` x")
        self.ok_as(EVE, "init", theirs)

        def told(command):
            """The words of the command at the end of a refusal, as a shell reads them."""
            refusal = self.run_as(EVE, "-r", theirs, "ls").stderr
            line = f"{command} " + refusal.rpartition(f": {command} ")[2]
            done = subprocess.run(["sh", "-c", command + "() { printf '%s\\0' \"$@\"; }; " + line], cwd=self.scratch,
                                  capture_output=True, text=True)
            self.assertEqual(done.stderr, "", refusal)
            self.assertFalse(os.path.exists(os.path.join(self.scratch, "pwned")), refusal)
            return done.stdout.split("\0")[:-1]

        os.chown(theirs + "/registry/lock.mdb", 0, 0)
        self.assertEqual(told("chown"), ["-R", "--no-dereference", str(EVE.pw_uid), theirs + "/registry"])
        os.chown(theirs + "/registry/lock.mdb", EVE.pw_uid, EVE.pw_gid)
        os.chmod(theirs, 0o770)
        self.assertEqual(told("chmod"), ["go-w", theirs])

    def test_init_refuses_an_empty_directory_of_another_user(self):
        empty = self.directory("empty", EVE)
        self.refused(5, "init", empty, says=f"{empty} belongs to games (uid {EVE.pw_uid})", MODELFS_REGISTRY="")
        self.refused_as(BOB, 5, "init", empty, says=f"games (uid {EVE.pw_uid})")
        self.assertEqual(os.listdir(empty), [])
        self.assertEqual(os.stat(empty).st_mode & 0o777, 0o755)
        self.ok_as(EVE, "init", empty)

    def test_root_keeps_using_the_home_that_it_opened_after_others_replace_it(self):
        home = os.path.join(self.eve, "root")
        self.ok("init", home, MODELFS_REGISTRY="")
        self.ok("-r", home, "mkdir", "prod", MODELFS_REGISTRY="")
        self.ok("mount", home, self.mnt, "-d", MODELFS_REGISTRY="")
        target = os.path.join(self.scratch, "target")
        os.mkdir(target)
        for name in ("objects", "sums", "staging", "drafts", "audit", "registry", "mounts"):
            os.makedirs(f"{target}/{name}/1/n")
        os.rename(home, self.eve + "/moved")  # eve has the right to do this
        os.symlink(target, home)
        before = sorted(os.walk(target))
        versions = self.mnt + "/prod/ml/iris/versions"
        os.makedirs(versions + "/draft")
        with open(versions + "/draft/w", "wb") as file:
            file.write(os.urandom(3 << 20))
        os.rename(versions + "/draft", versions + "/1")
        with open(versions + "/1/w", "rb") as file:
            self.assertEqual(len(file.read()), 3 << 20)
        self.assertEqual(sorted(os.walk(target)), before)
        os.unlink(home)
        os.rename(self.eve + "/moved", home)
        self.ok("umount", self.mnt)
        self.assertEqual(self.ok("-r", home, "ls", "--names", "prod.ml.iris", MODELFS_REGISTRY=""), "prod.ml.iris/1\n")
        self.assertEqual(json.loads(self.ok("-r", home, "fsck", "--json", MODELFS_REGISTRY=""))["damaged"], [])

    def exchanging(self, first, second):
        """Exchanges two names of a directory again and again until the test ends, as their user may."""
        exchange = ("import ctypes\nlibc = ctypes.CDLL(None)\nwhile True:\n"
                    f"    libc.renameat2(-100, {os.fsencode(first)!r}, -100, {os.fsencode(second)!r}, 2)\n")
        process = subprocess.Popen([sys.executable, "-c", exchange])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def test_a_user_cannot_make_root_mount_over_another_directory(self):
        theirs = self.home_of_eve()
        victim = os.path.join(self.scratch, "victim")
        os.mkdir(victim)
        place = self.eve + "/place"
        os.makedirs(place + "/mnt")
        os.symlink(victim, place + "/link")
        os.symlink(self.scratch, self.eve + "/up")
        for through in (place + "/link", self.eve + "/up/victim"):
            self.refused(6, "mount", theirs, through, "-d", says="leads through a symbolic link", MODELFS_REGISTRY="")
        device = os.stat(victim).st_dev
        self.exchanging(place + "/mnt", place + "/link")
        for _ in range(20):
            done = self.run_command("mount", theirs, place + "/mnt", "-d", MODELFS_REGISTRY="")
            self.assertEqual(os.stat(victim).st_dev, device, "the mount lies over root's directory")
            if done.returncode == 0:
                for mounted in (place + "/mnt", place + "/link"):
                    subprocess.run(["umount", "-l", mounted], stderr=subprocess.DEVNULL)

    def test_roots_log_follows_no_link_in_a_home_that_others_can_replace(self):
        place = self.eve + "/place"
        os.mkdir(place)
        self.ok("init", place + "/home", MODELFS_REGISTRY="")
        stolen = os.path.join(self.scratch, "stolen")
        os.mkdir(place + "/other")
        os.symlink(stolen, place + "/other/mount.log")
        self.exchanging(place + "/home", place + "/other")
        for _ in range(30):
            done = self.run_command("mount", place + "/home", self.mnt, "-d", MODELFS_REGISTRY="")
            self.assertFalse(os.path.lexists(stolen))
            if done.returncode == 0:
                subprocess.run(["umount", "-l", self.mnt], stderr=subprocess.DEVNULL)

    def test_roots_mount_of_a_users_home_unmounts_itself_on_sigterm(self):
        theirs = self.home_of_eve()
        self.ok("mount", theirs, self.mnt, "-d", MODELFS_REGISTRY="")
        pid = json.loads(self.ok_as(EVE, "status", self.mnt, "--json"))[0]["pid"]
        process = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        self.assertTrue(select.select([process], [], [], 60)[0])
        os.close(process)
        with open("/proc/mounts") as mounts:
            self.assertNotIn(f" {self.mnt} ", mounts.read())

    def status_of(self, pid):
        with open(f"/proc/{pid}/status") as lines:
            return dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)

    def test_roots_mount_of_a_users_home_runs_as_that_user(self):
        theirs = self.home_of_eve()
        self.ok_as(EVE, "-r", theirs, "mkdir", "prod")
        self.ok("mount", theirs, self.mnt, "-d", "-o", "allow_other", MODELFS_REGISTRY="")
        status = json.loads(self.ok_as(EVE, "status", self.mnt, "--json"))[0]
        process = self.status_of(status["pid"])
        self.assertEqual(process["Uid"].split(), [str(EVE.pw_uid)] * 4)
        self.assertEqual(process["Gid"].split(), [str(EVE.pw_gid)] * 4)
        admin = 1 << 21  # CAP_SYS_ADMIN
        self.assertEqual([int(process[each], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
                         [0, admin, admin, 0])
        device = os.stat(self.mnt).st_dev
        with open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb") as file:
            self.assertEqual(file.read(), "1024\n")
        # The same passthrough mode as root's mount of its own home.
        own = os.path.join(self.scratch, "own")
        os.mkdir(own)
        self.ok("mount", own, "-d", "-o", "allow_other")
        self.addCleanup(subprocess.run, ["umount", "-l", own], stderr=subprocess.DEVNULL)
        self.assertEqual(status["passthrough"], json.loads(self.ok("status", own, "--json"))[0]["passthrough"])
        self.ok("umount", own)
        # The registry acts with its owner's rights; root has no special ones.
        versions = self.mnt + "/prod/ml/iris/versions"
        self.assertEqual(self.run_as(EVE, "-p", versions + "/draft", program="/bin/mkdir").returncode, 0)
        self.assertEqual(self.run_as(EVE, "/etc/passwd", versions + "/draft/w", program="/bin/cp").returncode, 0)
        self.assertEqual(self.ok_as(EVE, "commit", versions + "/draft"), "1\n")
        self.assertNotEqual(self.run_as(BOB, "-p", self.mnt + "/dev", program="/bin/mkdir").returncode, 0)
        self.ok("umount", self.mnt)
        self.assertEqual(subprocess.check_output(["find", theirs, "!", "-user", EVE.pw_name], text=True), "")
        self.assertEqual(os.listdir(theirs + "/mounts"), [], "umount has waited for the end of the daemon")
        self.assertEqual(self.ok_as(EVE, "-r", theirs, "ls", "--names", "prod.ml.iris"), "prod.ml.iris/1\n")
        self.assertTrue(json.loads(self.ok_as(EVE, "-r", theirs, "fsck", "--json"))["damaged"] == [])

    def test_only_its_user_and_root_can_unmount_a_mount(self):
        self.ok("mount", self.mnt, "-d", "-o", "allow_other")
        for option in ([], ["--lazy"]):
            self.refused_as(BOB, 5, "umount", *option, self.mnt,
                            says=f"unmount {self.mnt}: it is a mount of root (uid 0); that user or root can unmount it")
        self.ok("umount", self.mnt)

    def test_mount_options_for_the_kernel_reach_it(self):
        model = os.path.join(self.scratch, "model")
        os.mkdir(model)
        script = model + "/run"
        with open(script, "w") as file:
            file.write("#!/bin/sh\n")
        os.chmod(script, 0o755)
        self.ok("register", "-p", model, "prod.ml.iris")
        theirs = self.home_of_eve()
        beside = os.path.join(self.eve, "mnt")
        os.mkdir(beside)
        os.chown(beside, EVE.pw_uid, EVE.pw_gid)
        self.addCleanup(subprocess.run, ["umount", "-l", beside], stderr=subprocess.DEVNULL)
        # Otherwise only root can mount, and other users get this message.
        device_is_for_all = os.stat("/dev/fuse").st_mode & 0o006 == 0o006
        if not device_is_for_all:
            done = self.run_as(EVE, "mount", theirs, beside, "-d")
            self.assertEqual((done.returncode, done.stderr),
                             (5, f"modelfs: mount: games (uid {EVE.pw_uid}) may not open /dev/fuse; have root give it "
                                 "back the rights that it has by default: chmod 666 /dev/fuse\n"))
        for words, runs in (("exec", True), ("noexec,sync,noatime", False)):
            self.ok("mount", self.mnt, "-d", "-o", words)
            if device_is_for_all:
                self.ok_as(EVE, "mount", theirs, beside, "-d", "-o", words)  # by fusermount3
            command = [self.mnt + "/prod/ml/iris/versions/1/run"]
            if runs:
                subprocess.run(command, check=True)
            else:
                self.assertRaises(PermissionError, subprocess.run, command)
            for path in [self.mnt] + [beside] * device_is_for_all:
                with open("/proc/self/mountinfo") as table:
                    options = [line.split()[5].split(",") for line in table if line.split()[4] == path][0]
                for word in ("noexec", "noatime"):
                    self.assertEqual(word in options, not runs, path)
                self.assertLessEqual({"nosuid", "nodev"}, set(options), path)
            self.ok("umount", self.mnt)
            if device_is_for_all:
                self.ok_as(EVE, "umount", beside)


if __name__ == "__main__":
    mount_cli_test.BINARY = os.path.abspath(sys.argv.pop(1))
    mount_cli_test.HELPER = os.path.abspath(sys.argv.pop(1))
    unittest.main()
