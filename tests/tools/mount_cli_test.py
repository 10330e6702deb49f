#!/usr/bin/env python3
"""The commands that need a mount: mount, umount, status, why, commit, resolve, and the helper for mount(8).

usage: mount_cli_test.py path/to/modelfs path/to/mount.fuse.modelfs [unittest arguments]
"""

import ctypes
import errno
import fcntl
import itertools
import glob
import hashlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

KILLED_DAEMON = """
import fcntl, json, os, sys
home, mount_point = sys.argv[1:]
os.makedirs(home + "/mounts", exist_ok=True)
record = open("%s/mounts/%d.json" % (home, os.getpid()), "w")
json.dump({"mount_point": mount_point, "pid": os.getpid(), "since_ms": 1}, record)
record.flush()
fcntl.flock(record, fcntl.LOCK_EX)
if os.fork() == 0:
    sys.stdin.read()
os._exit(0)
"""

FUSE_STATFS = 17  # opcodes of linux/fuse.h
FUSE_INIT = 26

BINARY = ""
HELPER = ""
PATIENCE_S = 60


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain for " + what)


def read_fuse_request(device):
    """Reads the next request of the kernel; returns its opcode and its `unique`."""
    ready, _, _ = select.select([device], [], [], PATIENCE_S)
    if not ready:
        raise AssertionError("waited in vain for a request of the kernel")
    _, opcode, unique = struct.unpack_from("=IIQ", os.read(device, 1 << 17))
    return opcode, unique


def mounted(path):
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == path for line in table)


class Case(unittest.TestCase):
    def setUp(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skipTest("/dev/fuse is missing here")
        self.scratch = os.path.realpath(tempfile.mkdtemp(prefix="modelfs_mount_"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.home = os.path.join(self.scratch, "home")
        self.mnt = os.path.join(self.scratch, "mnt")
        os.mkdir(self.mnt)
        self.addCleanup(self.force_unmount)
        self.ok("init")

    def force_unmount(self):
        while mounted(self.mnt):
            if subprocess.run(["umount", "-l", self.mnt], capture_output=True).returncode != 0:
                subprocess.run(["fusermount3", "-u", "-z", self.mnt], capture_output=True)

    def run_command(self, *arguments, **environment):
        env = {key: value for key, value in os.environ.items() if not key.startswith("MODELFS_")}
        env["MODELFS_REGISTRY"] = self.home
        env.update(environment)
        return subprocess.run([BINARY, *arguments], env=env, capture_output=True, text=True, timeout=120)

    def ok(self, *arguments, **environment):
        done = self.run_command(*arguments, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def refused(self, exit_code, *arguments, says="", **environment):
        done = self.run_command(*arguments, **environment)
        self.assertEqual(done.returncode, exit_code, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertIn(says, done.stderr)

    def write(self, path, content):
        whole = os.path.join(self.mnt, path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "w") as file:
            file.write(content)

    def daemon_pid(self):
        return json.loads(self.ok("status", self.mnt, "--json"))[0]["pid"]


class Background(Case):
    def test_gc_removes_the_drafts_of_a_deleted_model_without_a_mount(self):
        self.ok("mount", self.mnt, "-d")
        self.write("a/b/gone/versions/big/file", "x" * 100000)
        self.write("a/b/stays/versions/small/file", "x")
        self.ok("umount", self.mnt)
        self.ok("rm", "a.b.gone", "--yes")
        for arguments in (["--dry-run"], []):
            done = json.loads(self.ok("gc", "--json", *arguments))
            self.assertEqual((done["drafts_removed"], done["draft_bytes_removed"]), (1, 100000))
        self.assertNotIn("draft", self.ok("gc"))
        self.assertEqual(len(os.listdir(os.path.join(self.home, "drafts"))), 1)
        self.ok("mount", self.mnt, "-d")
        self.assertEqual(os.listdir(os.path.join(self.mnt, "a/b/stays/versions")), ["small"])
        self.ok("umount", self.mnt)

    def test_umount_waits_for_a_daemon_without_a_record(self):
        self.ok("mkdir", "-p", "a.b.m")
        with open(os.path.join(self.home, "mounts"), "w"):
            pass  # in place of the directory: no record can be written, as on a full disk
        self.ok("mount", self.mnt, "-d")
        with open(self.mnt + "/.modelfs/status") as status:
            pid = json.load(status)["pid"]
        with open(self.home + "/mount.log") as log:
            self.assertIn("mount_not_recorded", log.read())
        os.mkdir(self.mnt + "/a/b/m/versions/draft")
        with open(self.mnt + "/a/b/m/versions/draft/f", "wb") as file:
            file.write(b"f" * 1000)
        self.ok("umount", self.mnt)
        try:
            with open(f"/proc/{pid}/stat") as stat:
                self.assertIn(") Z ", stat.read(), "it runs on")  # ended, but its parent has not waited for it
        except FileNotFoundError:
            pass

    def test_why_finds_the_refusal_of_a_version_with_a_damaged_list_of_files(self):
        source = os.path.join(self.scratch, "src")
        os.mkdir(source)
        with open(os.path.join(source, "weights"), "wb") as file:
            file.write(b"weights")
        self.ok("register", "-p", source, "a.b.m")
        tree = json.loads(self.ok("show", "a.b.m/1", "--json"))["digest"].split(":")[-1]
        blob = os.path.join(self.home, "objects", tree[:2], tree[2:])
        os.chmod(blob, 0o600)
        with open(blob, "r+b") as file:
            file.write(b"rot")
        self.ok("mount", self.mnt, "-d", "-o", "scrub_days=0")
        path = os.path.join(self.mnt, "a/b/m/versions/1")
        for _ in ("found", "known"):
            with self.assertRaises(OSError) as refused:
                os.listdir(path)
            self.assertEqual(refused.exception.errno, errno.EIO)
        said = self.ok("why", path)
        self.assertIn("a.b.m/1: its list of files", said)
        self.assertIn("restore it from a backup", said)

    def test_the_scrub_of_a_mount_finds_damage_on_the_disk(self):
        source = os.path.join(self.scratch, "src")
        os.mkdir(source)
        with open(os.path.join(source, "weights"), "wb") as file:
            file.write(b"w" * 300000)
        self.ok("register", "-p", source, "a.b.m")
        self.ok("mount", self.mnt, "-d", "-o", "scrub_days=0.00001")  # 0.9 s
        path = os.path.join(self.mnt, "a/b/m/versions/1/weights")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"w" * 300000)

        def scrub():
            return json.loads(self.ok("status", self.mnt, "--json"))[0]["scrub"]

        def wait_for(condition):
            deadline = time.monotonic() + 180
            while not condition(scrub()):
                self.assertLess(time.monotonic(), deadline, scrub())

        wait_for(lambda state: state["last_blobs"] >= 2)  # the file, and the version's list of files
        self.assertEqual(scrub()["last_damaged"], 0)
        self.assertIn(scrub()["fs_verity"], ("on", "not supported"))
        nice = []  # of the daemon's threads: proc(5), stat, field 19
        for stat in glob.glob(f"/proc/{self.daemon_pid()}/task/*/stat"):
            with open(stat) as text:
                nice.append(int(text.read().rpartition(")")[2].split()[16]))
        self.assertEqual(nice.count(10), 1, "the scrub yields the processor to others")
        digest = hashlib.sha256(b"w" * 300000).hexdigest()
        blob = os.path.join(self.home, "objects", digest[:2], digest[2:])
        os.chmod(blob, 0o600)
        with open(blob, "r+b") as file:
            file.seek(150000)
            file.write(b"W")
        wait_for(lambda state: state["damaged"] + state["last_damaged"] > 0)
        self.assertFalse(os.path.exists(blob))
        self.assertTrue(os.path.exists(os.path.join(self.home, "quarantine", digest)))
        with self.assertRaises(OSError) as refused:
            open(path, "rb")
        self.assertEqual(refused.exception.errno, errno.EIO)
        with open(self.mnt + "/.modelfs/metrics") as metrics:
            self.assertIn("modelfs_scrub_damaged ", metrics.read())
        self.assertIn("quarantine", self.ok("why", path))
        self.ok("umount", self.mnt)
        with open(self.home + "/mount.log") as log:
            self.assertEqual(log.read().count("blob_quarantined"), 1)
        # Registering the same file again repairs it.
        self.ok("register", source, "a.b.m")
        self.ok("mount", self.mnt, "-d", "-o", "scrub_days=0")
        self.assertEqual(scrub()["period_s"], 0)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"w" * 300000)
        self.ok("umount", self.mnt)

    def test_a_mount_counts_opens_and_keeps_the_audit_log_small(self):
        source = os.path.join(self.scratch, "src")
        os.mkdir(source)
        for number in range(50):
            with open(os.path.join(source, f"shard-{number}"), "w") as file:
                file.write("w")
        self.ok("register", "-p", source, "a.b.m")
        self.ok("audit", "settings", "--rotate-size", "64KiB")
        self.ok("mount", self.mnt, "-d")
        model = os.path.join(self.mnt, "a/b/m")
        for _ in range(3):
            for number in range(50):
                with open(f"{model}/versions/1/shard-{number}", "rb") as file:
                    file.read()
        for number in range(600):
            os.setxattr(model, "user.tag.turn", b"%d" % number)
        files = self.home + "/audit"
        wait_for(lambda: os.path.isdir(files) and [name for name in os.listdir(files) if name.endswith(".jsonl")],
                 "records to be moved by the mount")
        self.ok("umount", self.mnt)
        self.ok("audit", "verify")
        said = self.ok("audit", "--json", "--action", "generateTemporaryModelVersionCredential")
        opens = [json.loads(line)["requestParams"] for line in said.splitlines()]
        self.assertEqual(opens[0]["file"], "shard-0")
        self.assertEqual(sum(int(each.get("count", 1)) for each in opens), 150)
        self.assertLessEqual(len(opens), 6, "the opens of a minute are two records")

    def test_a_copied_model_is_in_the_mount_at_once(self):
        source = os.path.join(self.scratch, "src")
        os.mkdir(source)
        for text in ("one", "two", "three"):
            with open(os.path.join(source, "weights"), "w") as file:
                file.write(text)
            self.ok("register", "-p", source, "a.b.m")
        self.ok("rm", "--yes", "a.b.m/2")
        self.ok("alias", "set", "a.b.m@Champion", "3")
        self.ok("mount", self.mnt, "-d")
        copy = os.path.join(self.mnt, "a/b/copy")
        self.assertFalse(os.path.exists(copy + "/versions/3"))  # the kernel may cache that a name is absent
        self.assertEqual(os.listdir(self.mnt + "/a/b"), ["m"])
        self.ok("cp", "a.b.m", "a.b.copy")
        self.assertEqual(sorted(os.listdir(self.mnt + "/a/b")), ["copy", "m"])
        self.assertEqual(sorted(os.listdir(copy + "/versions")), ["1", "3"])
        self.assertEqual(os.readlink(copy + "/aliases/Champion"), "../versions/3")
        with open(copy + "@Champion/weights") as file:
            self.assertEqual(file.read(), "three")
        self.ok("umount", self.mnt)

    def test_mount_returns_when_it_is_ready_and_umount_when_the_daemon_has_ended(self):
        for command in ("status", "why"):
            self.assertTrue(self.ok(command).startswith(self.home + " is not mounted"), command)
        self.ok("mount", self.mnt, "-d")
        self.assertEqual(os.listdir(self.mnt), [])
        pid = self.daemon_pid()
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        for descriptor in ("0", "1", "2"):
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/{descriptor}"), "/dev/null")
        self.assertEqual(os.stat(os.path.join(self.home, "mount.log")).st_mode & 0o777, 0o600)
        self.assertEqual(len(glob.glob(self.home + "/mounts/*.json")), 1)
        self.ok("umount", self.mnt)
        self.assertFalse(mounted(self.mnt))
        self.assertEqual(glob.glob(self.home + "/mounts/*.json"), [])
        self.refused(3, "umount", self.mnt)
        done = self.run_command("umount", self.mnt + "/none")
        self.assertEqual(done.returncode, 3)
        self.assertIn("no such directory", done.stderr)
        self.assertNotIn("mkdir", done.stderr)

    def test_a_failed_mount_reports_the_reason_and_its_exit_code(self):
        none = os.path.join(self.scratch, "none")
        file = os.path.join(self.scratch, "file")
        with open(file, "w"):
            pass
        for detach in ([], ["-d"]):
            self.refused(3, "mount", none, *detach, says="no such directory")
            self.refused(2, "mount", file, *detach, says="directory")
            self.refused(2, "mount", self.mnt, *detach, "-o", "ro,turbo", says="turbo")
            self.refused(2, "mount", self.home, *detach, says="hide")
            self.refused(3, "mount", none, self.mnt, *detach, says="modelfs init " + none)
            self.refused(2, "mount", self.home, "", *detach, says="mount point's name is empty")
            alone = self.run_command("mount", self.home, *detach, MODELFS_REGISTRY="")
            self.assertEqual(alone.returncode, 2)
            self.assertIn("a single argument is the mount point, here " + self.home, alone.stderr)
        self.ok("mount", self.mnt, "-d")
        for detach in ([], ["-d"]):
            self.refused(4, "mount", self.mnt, *detach, says="mounted there")
        self.refused(2, "mount", self.home, self.mnt, "-r", self.home, says="two registries")

    def test_nothing_is_mounted_over_the_registry_or_inside_of_it(self):
        outside = os.path.join(self.scratch, "link")
        os.symlink(os.path.join(self.home, "objects"), outside)
        inside = [os.path.join(self.home, name) for name in ("objects", "registry", "drafts", "sums", "staging")]
        self.ok("ls")  # makes drafts/
        for detach in ([], ["-d"]):
            for path in [*inside, outside, outside + "/"]:
                self.refused(2, "mount", self.home, path, *detach, says="lies in the registry " + self.home)
            for path in (self.home, self.scratch, "/"):
                self.refused(2, "mount", self.home, path, *detach, says="would hide it")
        beside = self.home + "-beside"  # the same prefix, but another directory
        os.mkdir(beside)
        self.ok("mount", self.home, beside, "-d")
        self.ok("umount", beside)

    def test_init_creates_nothing_in_a_mount(self):
        self.ok("mount", self.home, self.mnt, "-d")
        self.write("prod/ml/iris/versions/draft/w", "x")
        link = os.path.join(self.scratch, "link")
        os.symlink(self.mnt, link)
        for top in (self.mnt, link):
            for path in ("", "ghost", "ghost/", "ghost/deeper/still", "prod/ghost", "prod/ml/ghost", "prod/ml/iris/ghost",
                         "prod/ml/iris/versions/ghost", "prod/ml/iris/versions/draft/ghost"):
                self.refused(6, "init", os.path.join(top, path), says="(FUSE)")
        left = [name for _, folders, _ in os.walk(self.mnt) for name in folders if name in ("ghost", "registry")]
        self.assertEqual(left, [])
        self.assertNotIn("ghost", self.ok("audit"))

    def test_a_registry_on_a_read_only_file_system_is_refused_with_the_reason(self):
        frozen = os.path.join(self.scratch, "frozen")
        os.mkdir(frozen)
        bound = subprocess.run(["mount", "--bind", self.home, frozen], capture_output=True, text=True)
        if bound.returncode != 0:
            self.skipTest(bound.stderr)
        self.addCleanup(subprocess.run, ["umount", "-l", frozen], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", frozen], check=True)
        for command in (["ls"], ["audit"], ["fsck"], ["mount", self.mnt, "-o", "ro"], ["mount", self.mnt, "-d", "-o", "ro"]):
            self.refused(6, "-r", frozen, *command, says=frozen + " lies on a file system that is read-only")

    def test_sigterm_and_sigint_unmount_and_end_with_success(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            process = subprocess.Popen([BINARY, "mount", self.home, self.mnt], stderr=subprocess.PIPE, text=True)
            wait_for(lambda: mounted(self.mnt) and os.path.exists(self.mnt + "/.modelfs/status"), "the mount")
            process.send_signal(number)
            _, log = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 0, log)
            self.assertFalse(mounted(self.mnt))
            self.assertIn("stopping signal=%d" % number, log)

    def test_the_daemon_of_a_lazily_unmounted_mount_leaves_the_next_mount_alone(self):
        self.ok("mount", self.mnt, "-d")
        self.write("a/b/m/versions/d/f", "x")
        first = self.daemon_pid()
        held = os.open(self.mnt + "/a", os.O_RDONLY)  # keeps the daemon of an unmounted mount running
        self.addCleanup(os.close, held)
        self.ok("umount", "--lazy", self.mnt)
        self.ok("mount", self.mnt, "-d")
        second = self.daemon_pid()
        self.assertNotEqual(first, second)
        os.kill(first, signal.SIGTERM)
        wait_for(lambda: not os.path.exists(f"/proc/{first}"), "the end of the first daemon")
        self.assertEqual(self.daemon_pid(), second)
        self.assertEqual(os.listdir(self.mnt), ["a"])

    def test_mount_replaces_the_mount_of_a_killed_daemon(self):
        self.ok("mount", self.mnt, "-d")
        os.kill(self.daemon_pid(), signal.SIGKILL)
        wait_for(lambda: self.run_command("status", self.mnt).returncode == 7, "the end of the daemon")
        self.refused(7, "status", self.mnt, says="its daemon is gone")
        self.ok("mount", self.mnt, "-d")
        self.assertEqual(os.listdir(self.mnt), [])

    def test_a_daemon_that_dies_of_a_damaged_registry_logs_the_reason(self):
        for number, options in enumerate(([], ["--log-json"])):
            with self.subTest(options):
                home = self.home + str(number)
                log = os.path.join(home, "mount.log")
                self.ok("init", home, MODELFS_REGISTRY="")
                self.ok("mount", home, self.mnt, "-d", *options)
                os.truncate(os.path.join(home, "registry", "data.mdb"), 8192)  # its two meta pages
                with self.assertRaises(OSError):
                    os.stat(self.mnt + "/prod")
                self.force_unmount()
                with open(log) as lines:
                    last = lines.read().splitlines()[-1]
                self.assertIn("registry/data.mdb is damaged: stop every process that uses it and restore it", last)
                if options:
                    self.assertEqual(json.loads(last)["level"], "critical")

    def leave_a_killed_daemon(self):
        """Imitates a daemon after SIGKILL with one thread held by the kernel: a zombie with a locked record, and a
        connection that no process serves."""
        device = os.open("/dev/fuse", os.O_RDWR)
        options = "fd=%d,rootmode=40000,user_id=0,group_id=0" % device
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(self.home.encode(), self.mnt.encode(), b"fuse.modelfs", 0, options.encode()) != 0:
            os.close(device)
            self.skipTest("mount(2): " + os.strerror(ctypes.get_errno()))
        daemon = subprocess.Popen([sys.executable, "-c", KILLED_DAEMON, self.home, self.mnt], stdin=subprocess.PIPE)
        self.addCleanup(daemon.communicate)  # its child process ends when the pipe closes

        def is_zombie():
            with open("/proc/%d/stat" % daemon.pid) as stat:
                return stat.read().rpartition(")")[2].split()[0] == "Z"

        wait_for(is_zombie, "the end of the daemon")
        waiter = subprocess.Popen(["stat", "-f", self.mnt], stderr=subprocess.PIPE, text=True)
        self.addCleanup(waiter.communicate)
        self.addCleanup(os.close, device)  # before the others: it ends the connection
        opcode, unique = read_fuse_request(device)
        self.assertEqual(opcode, FUSE_INIT)
        init = struct.pack("=IIIIHHIIHH32x", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0)  # fuse_init_out
        os.write(device, struct.pack("=IiQ", 16 + len(init), 0, unique) + init)
        while read_fuse_request(device)[0] != FUSE_STATFS:  # from then on the waiter waits
            pass
        return waiter

    def test_every_command_ends_a_killed_daemon_that_the_kernel_holds(self):
        for command in (["status"], ["status", self.mnt], ["why"], ["umount", self.mnt], ["mount", self.mnt, "-d"]):
            with self.subTest(command=command):
                waiter = self.leave_a_killed_daemon()
                if command[0] in ("status", "why"):
                    self.refused(7, *command, says="its daemon is gone")
                else:
                    self.ok(*command)
                self.assertNotEqual(waiter.wait(timeout=PATIENCE_S), 0, "the waiting request fails")
                if command[0] == "mount":
                    self.assertEqual(os.listdir(self.mnt), [])
                self.force_unmount()

    def test_a_sweep_that_waits_for_another_ends_with_the_mount(self):
        self.ok("mount", self.mnt, "-d")
        versions = os.path.join(self.mnt, "prod/ml/iris/versions/")
        for number in (1, 2):
            self.write("prod/ml/iris/versions/draft/w", "x")
            os.rename(versions + "draft", versions + str(number))
        pid = self.daemon_pid()
        lock = os.path.join(self.home, "gc.lock")
        with open(lock, "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            os.rmdir(versions + "1")

            def waits():
                for descriptor in os.listdir(f"/proc/{pid}/fd"):
                    try:
                        if os.readlink(f"/proc/{pid}/fd/{descriptor}") == lock:
                            return True
                    except FileNotFoundError:  # closed after the listing
                        pass
                return False

            wait_for(waits, "the sweep")
            self.ok("umount", self.mnt)

    def test_umount_names_the_process_that_is_left(self):
        self.ok("mount", self.mnt, "-d")
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            self.refused(7, "umount", self.mnt, says=f"{self.mnt} is unmounted, but its process {pid} has not ended yet")
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_commands_do_not_wait_for_a_hanging_daemon(self):
        self.ok("mount", self.mnt, "-d")
        self.write("prod/ml/iris/versions/draft/w", "x")
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            for command in (["status"], ["status", self.mnt], ["why"], ["why", self.mnt], ["mount", self.mnt, "-d"],
                            ["commit", self.mnt + "/prod/ml/iris/versions/draft"]):
                self.refused(7, *command, says="did not answer")
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(self.ok("commit", self.mnt + "/prod/ml/iris/versions/draft"), "1\n")

    def test_the_log_level_changes_at_run_time(self):
        self.ok("mount", self.mnt, "-d", "--log-json")
        log = os.path.join(self.home, "mount.log")
        with open(log) as lines:
            self.assertTrue(all(json.loads(line)["level"] for line in lines))
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGUSR2)  # info -> warn: the stop is not logged any more
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not mounted(self.mnt), "the unmount")
        wait_for(lambda: not os.path.exists(f"/proc/{pid}/exe"), "the end of the daemon")
        with open(log) as lines:
            self.assertNotIn("stopping", lines.read())

    def test_systemd_is_notified_when_the_mount_is_ready_and_when_it_stops(self):
        address = os.path.join(self.scratch, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(address)
            listener.settimeout(PATIENCE_S)
            process = subprocess.Popen([BINARY, "mount", self.home, self.mnt], stderr=subprocess.DEVNULL,
                                       env=dict(os.environ, NOTIFY_SOCKET=address))
            message = listener.recv(4096).decode()
            self.assertIn("READY=1", message.splitlines())
            self.assertIn(f"MAINPID={process.pid}", message.splitlines())
            self.assertEqual(os.listdir(self.mnt), [])
            process.terminate()
            self.assertIn("STOPPING=1", listener.recv(4096).decode().splitlines())
            self.assertEqual(process.wait(timeout=PATIENCE_S), 0)

    def test_the_helper_of_mount_accepts_the_arguments_of_mount(self):
        path = os.path.dirname(BINARY) + ":" + os.environ["PATH"]
        subprocess.run([HELPER, self.home, self.mnt, "-sn", "-t", "fuse.modelfs", "-o",
                        "rw,noauto,nofail,x-systemd.automount,nopassthrough"],
                       env=dict(os.environ, PATH=path), check=True)
        with open("/proc/self/mountinfo") as table:
            line = [line.split() for line in table if line.split()[4] == self.mnt][0]
        self.assertEqual(line[line.index("-") + 1:][:2], ["fuse.modelfs", self.home])
        self.assertFalse(json.loads(self.ok("status", self.mnt, "--json"))[0]["passthrough"])
        self.ok("umount", self.mnt)
        self.assertNotEqual(subprocess.run([HELPER, self.home], capture_output=True).returncode, 0)
        subprocess.run([HELPER, self.home, self.mnt, "-f"], check=True)
        self.assertFalse(mounted(self.mnt))


class Names(Case):
    def setUp(self):
        super().setUp()
        self.ok("mount", self.mnt, "-d")
        os.makedirs(self.mnt + "/prod/ml/iris")

    def path(self, *parts):
        return os.path.join(self.mnt, "prod/ml/iris", *parts)

    def test_commit_prints_the_number_of_the_new_version(self):
        for number in (1, 2):
            self.write("prod/ml/iris/versions/draft/w", f"weights {number}")
            self.assertEqual(self.ok("commit", self.path("versions/draft")), f"{number}\n")
            with open(self.path(f"versions/{number}/w")) as file:
                self.assertEqual(file.read(), f"weights {number}")
        # The number of a deleted version is not used again. No registry is named, because the path determines it.
        os.rmdir(self.path("versions/2"))
        self.write("prod/ml/iris/versions/next-try/w", "x")
        version = json.loads(self.ok("commit", self.path("versions/next-try"), "--json", MODELFS_REGISTRY=""))
        self.assertEqual((version["version"], version["status"]), (3, "READY"))

    def test_a_commit_from_inside_the_draft_continues_in_the_version_and_reports_leftovers(self):
        self.write("prod/ml/iris/versions/draft/w", "weights")
        self.write("prod/ml/iris/versions/draft/.git/config", "")
        done = subprocess.run(f"cd {self.path('versions/draft')} && {BINARY} commit . && ls && cat w", shell=True,
                              capture_output=True, text=True, env=dict(os.environ, MODELFS_REGISTRY=self.home))
        self.assertEqual((done.returncode, done.stdout), (0, "1\nw\nweights"))
        self.assertEqual(done.stderr, "modelfs: hint: .git is part of the version; remove such files from a draft before its commit (rm -r)\n")

    def test_a_commit_of_a_missing_draft_is_refused(self):
        nothing = os.path.join(self.mnt, "prod/ml/iris/versions/nothing")
        self.refused(3, "commit", nothing, says="no such draft exists")

    def test_a_commit_on_a_read_only_mount_says_how_to_mount(self):
        self.write("prod/ml/iris/versions/draft/w", "x")
        self.ok("umount", self.mnt)
        self.ok("mount", self.mnt, "-d", "-o", "ro")
        self.refused(6, "commit", self.path("versions/draft"), says=f"without -o ro: modelfs umount {self.mnt}, "
                                                                    f"modelfs mount {self.home} {self.mnt}")
        self.ok("umount", self.mnt)
        self.ok("mount", self.mnt, "-d")
        self.assertEqual(self.ok("commit", self.path("versions/draft")), "1\n")

    def test_a_download_into_the_mount_must_go_into_a_draft(self):
        self.write("prod/ml/iris/versions/draft/sub/w", "x")
        self.ok("commit", self.path("versions/draft"))
        for path in ("new", "prod/new", "prod/ml/new", "prod/ml/iris/new", "prod/ml/iris/versions/1/new",
                     "prod/ml/iris/versions/7", "prod/ml/iris/aliases/New", ".modelfs/new"):
            self.refused(2, "download", "prod.ml.iris/1", os.path.join(self.mnt, path), says="MODEL/versions/DRAFT")
        self.assertEqual(self.ok("why"), "no refusal of yours is recorded; if the kernel itself closes a directory, none "
                                         "is: ask modelfs why PATH\n")
        self.ok("download", "prod.ml.iris/1", self.path("versions/again"))
        self.ok("download", "prod.ml.iris/1", self.path("versions/again/within"))
        with open(self.path("versions/again/within/sub/w")) as file:
            self.assertEqual(file.read(), "x")

    def test_hard_links_work_within_a_draft_and_are_refused_out_of_it(self):
        source = os.path.join(self.scratch, "source")
        os.mkdir(source)
        with open(source + "/one", "w") as file:
            file.write("1")
        os.link(source + "/one", source + "/two")
        versions = self.path("versions")
        subprocess.run(["cp", "-a", source, versions + "/a"], check=True)
        self.assertTrue(os.path.samefile(versions + "/a/one", versions + "/a/two"))
        self.ok("commit", versions + "/a")
        refused = subprocess.run(["cp", "-al", versions + "/1", versions + "/b"], capture_output=True, text=True)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("Invalid cross-device link", refused.stderr)
        self.assertIn("cp -r", self.ok("why", versions + "/b/one"))
        self.refused(6, "commit", versions + "/b", says="a program wanted to make a hard link here")
        for command in (["cp", "-r"], ["cp", "-a", "--no-preserve=links"]):
            subprocess.run([*command, source, versions + "/" + command[1]], check=True)

    def test_concurrent_commits_get_different_numbers(self):
        drafts = [f"d{i}" for i in range(8)]
        for draft in drafts:
            self.write(f"prod/ml/iris/versions/{draft}/w", draft)
        env = dict(os.environ, MODELFS_REGISTRY=self.home)
        commits = {draft: subprocess.Popen([BINARY, "commit", self.path("versions", draft)], env=env, text=True,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE) for draft in drafts}
        numbers = {}
        for draft, process in commits.items():
            out, err = process.communicate(timeout=PATIENCE_S)
            self.assertEqual((process.returncode, err), (0, ""))
            numbers[draft] = int(out)
        self.assertEqual(sorted(numbers.values()), list(range(1, 9)))
        for draft, number in numbers.items():
            with open(self.path(f"versions/{number}/w")) as file:
                self.assertEqual(file.read(), draft)

    def test_a_refused_commit_prints_the_message_of_the_mount(self):
        os.mkdir(self.path("versions/bare"))
        self.refused(6, "commit", self.path("versions/bare"), says="holds no file")
        self.write("prod/ml/iris/versions/unsigned/MLmodel", "flavors: {}\n")
        self.refused(6, "commit", self.path("versions/unsigned"), says="signature")
        self.write("prod/ml/iris/versions/busy/w", "x")
        with open(self.path("versions/busy/w"), "a"):
            self.refused(4, "commit", self.path("versions/busy"))
        self.refused(3, "commit", self.path("versions/none"))
        for path in (self.mnt, self.path(), self.path("versions"), self.path("versions/1"), self.path("versions/latest"),
                     self.path("aliases/x"), self.scratch):
            self.refused(2, "commit", path)

    def test_a_daemon_at_its_limit_of_open_files_names_the_limit(self):
        versions = self.path("versions")
        for name in range(32):  # too large for the daemon to serve them from memory, without a descriptor
            self.write(f"prod/ml/iris/versions/draft/{name}", str(name).ljust(200_000))
        self.ok("commit", versions + "/draft")
        os.mkdir(versions + "/draft")
        pid = self.daemon_pid()
        usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        few = len(os.listdir(f"/proc/{pid}/fd")) + 8  # the readers take all of these
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, usual[1]))
        held = []
        self.addCleanup(lambda: [os.close(file) for file in held])
        names = itertools.cycle(range(32))
        opening = creating = None
        while creating is None:  # the daemon may close descriptors of its own meanwhile
            with self.assertRaises(OSError) as opening:
                for name in names:
                    held.append(os.open(f"{versions}/1/{name}", os.O_RDONLY))
            try:
                os.close(os.open(versions + "/draft/new", os.O_CREAT | os.O_WRONLY))
                os.unlink(versions + "/draft/new")
            except OSError as failure:
                creating = failure
        for failure, path in ((opening.exception, versions + "/1"), (creating, versions + "/draft/new")):
            self.assertEqual(errno.errorcode[failure.errno], "EMFILE", path)
            self.assertIn("ulimit -n", self.ok("why", path))
        self.refused(6, "commit", versions + "/draft", says="ulimit -n")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
        self.write("prod/ml/iris/versions/draft/new", "x")
        self.assertEqual(self.ok("commit", versions + "/draft"), "2\n")

    def test_names_may_be_paths_and_resolve_prints_a_path(self):
        self.write("prod/ml/iris/versions/draft/w", "x")
        self.ok("commit", self.path("versions/draft"))
        os.symlink("../versions/1", self.path("aliases/Champion"))
        for name in (self.path("versions/1"), self.path("aliases/Champion"), self.path() + "@Champion",
                     self.path("versions/latest"), "prod.ml.iris@Champion"):
            self.assertEqual(self.ok("resolve", name), self.path("versions/1") + "\n")
            self.assertEqual(json.loads(self.ok("show", "--json", name))["full_name"], "prod.ml.iris/1")
        self.assertEqual(self.ok("ls", "--names", self.mnt), "prod\n")
        os.chdir(self.path())
        self.addCleanup(os.chdir, "/")
        self.assertEqual(self.ok("ls", "--names", "./versions/1"), "w\n")
        self.assertEqual(self.ok("ls", "--names", "../iris"), "prod.ml.iris/1\n")
        os.chdir("/")
        # A link from elsewhere into the mount is followed. A path conflicts with another registry in -r, but overrides
        # one in the environment.
        link = os.path.join(self.scratch, "link")
        os.symlink(self.path(), link)
        self.assertEqual(self.ok("ls", "--names", link), "prod.ml.iris/1\n")
        other = os.path.join(self.scratch, "other")
        self.ok("init", other, MODELFS_REGISTRY="")
        self.refused(2, "-r", other, "show", self.path(), says="one registry")
        self.assertEqual(self.ok("show", "--json", self.path(), MODELFS_REGISTRY=other)[:1], "{")
        self.ok("umount", self.mnt)
        self.assertEqual(self.ok("resolve", "prod.ml.iris@Champion"), "prod.ml.iris/1\n")

    def test_why_filters_by_path_and_reports_an_empty_result(self):
        self.assertIn("no refusal of yours is recorded;", self.ok("why"))
        with self.assertRaises(OSError):
            os.mkdir(self.path("versions/4"))
        with self.assertRaises(OSError):
            os.mkdir(self.mnt + "/Upper")
        self.assertEqual(len(self.ok("why").splitlines()), 2)
        told = self.ok("why", self.path("versions"))
        self.assertIn("EPERM", told)
        self.assertIn("modelfs register", told)
        self.assertNotIn("Upper", told)
        self.assertEqual(json.loads(self.ok("why", "--json", self.mnt + "/Upper"))[0]["errno_name"], "EINVAL")
        self.assertIn("no such model", self.ok("why", self.mnt + "/prod/ml/none"))
        self.assertEqual(self.ok("why", self.path("versions/1")), "nothing was refused there\n")
        self.refused(2, "why", self.scratch, says="not under a mount")

    def test_why_takes_a_name_for_a_file_of_the_working_directory(self):
        self.write("prod/ml/iris/versions/draft/w.bin", "x")
        self.ok("commit", self.path("versions/draft"))
        self.addCleanup(os.chdir, "/")
        os.chdir(self.path("versions/1"))
        with self.assertRaises(OSError):
            os.unlink("w.bin")
        told = self.ok("why", "w.bin")
        self.assertIn("unlink " + self.path("versions/1/w.bin"), told)
        self.assertNotIn("GRANT", told)
        os.chdir(self.path("versions"))
        with self.assertRaises(OSError):
            os.mkdir("9")
        self.assertIn("EPERM", self.ok("why", "9"))
        # A text that is neither a file nor a refused path is a name.
        self.assertIn("no such", self.ok("why", "nobody"))

    def test_why_prints_the_newest_first_and_counts_repeats(self):
        with self.assertRaises(OSError):
            os.mkdir(self.path("versions/4"))
        for _ in range(3):
            with self.assertRaises(OSError):
                os.mkdir(self.path("versions/5"))
        with self.assertRaises(OSError):
            os.mkdir(self.path("versions/next"))
        for arguments in ([], [self.path("versions")], ["prod.ml.iris"]):
            lines = self.ok("why", *arguments).splitlines()
            self.assertEqual([line.split()[3] for line in lines],
                             [self.path("versions", name) + ":" for name in ("next", "5", "4")], lines)
            self.assertIn("(3 such refusals since ", lines[1])
        kept = json.loads(self.ok("why", "--json"))
        self.assertEqual([each["count"] for each in kept], [1, 3, 1])
        self.assertLessEqual(kept[1]["first_at"], kept[1]["last_at"])

    def test_why_says_that_a_version_never_changes_for_every_path_to_it(self):
        self.write("prod/ml/iris/versions/draft/sub/w", "x")
        self.ok("commit", self.path("versions/draft"))
        os.symlink("../versions/1", self.path("aliases/Champion"))
        alias_directory = self.path() + "@Champion"
        # Python's import does this for each file that it reads.
        for folder in ("", "/sub"):
            for _ in range(100):
                with self.assertRaises(OSError):
                    os.mkdir(alias_directory + folder + "/__pycache__")
        os.chdir(self.mnt)
        self.addCleanup(os.chdir, "/")
        for asked in (alias_directory, self.path("versions/1"), self.path("aliases/Champion"), "prod.ml.iris/1",
                      "prod.ml.iris@Champion", "models:/prod.ml.iris@Champion", self.path("versions/1/sub"), "./prod/ml"):
            with self.subTest(asked=asked):
                lines = self.ok("why", asked).splitlines()
                self.assertIn("mkdir", lines[0])
                self.assertIn("(200 such refusals since ", lines[0])
                self.assertEqual(len([line for line in lines if " mkdir " in line]), 1, lines)
                if asked != "./prod/ml":
                    self.assertIn("Modes, owners and times of its files stay, too", lines[-1])
        self.assertIn("rmdir versions/1", self.ok("why", self.path("versions/1/never/refused")))
        self.assertIn("no such model", self.ok("why", "prod.ml.none"))
        self.refused(2, "why", "prod.ml.Qwen2.5", says="prod.ml.qwen2-5")

    def test_readers_of_a_version_deleted_by_another_mount_get_enoent_or_estale(self):
        source = os.path.join(self.scratch, "model")
        os.mkdir(source)
        for i in range(40):
            with open(f"{source}/w{i}", "w") as file:
                file.write(f"{i}")
        other = os.path.join(self.scratch, "other")
        os.mkdir(other)
        self.ok("mount", other, "-d")
        self.addCleanup(self.run_command, "umount", other)
        seen = set()
        for number in range(1, 13):
            for i in range(40):  # new bytes, so that no other version needs them
                with open(f"{source}/w{i}", "w") as file:
                    file.write(f"{number} {i}")
            self.ok("register", source, "prod.ml.iris")
            version = f"{other}/prod/ml/iris/versions/{number}"
            wait_for(lambda: os.path.isdir(version), "the version on the other mount")
            os.listdir(version)
            gone = threading.Event()

            def read_on(version=version, gone=gone):
                while not gone.is_set():
                    for i in range(40):
                        try:
                            with open(f"{version}/w{i}") as file:
                                file.read()
                        except OSError as error:
                            seen.add(error.errno)

            readers = [threading.Thread(target=read_on) for _ in range(4)]
            for reader in readers:
                reader.start()
            os.rmdir(self.path(f"versions/{number}"))
            self.ok("gc")
            gone.set()
            for reader in readers:
                reader.join()
        self.assertLessEqual(seen, {errno.ENOENT, errno.ESTALE})
        told = json.loads(self.ok("why", "--json"))
        self.assertNotIn("fsck", json.dumps(told))
        self.assertFalse(os.path.exists(self.home + "/quarantine"))
        with open(self.home + "/mount.log") as log:
            self.assertEqual([line for line in log if line.split()[2] == "E"], [])

    def test_json_of_the_mount_and_of_commands_has_no_terminal_controls(self):
        hostile = "a\x7fb\u009b31m\u202etxt\u2069\u2028"
        kept = "m\u00f6del \U0001f469\u200d\U0001f4bb"
        self.write("prod/ml/iris/versions/draft/w", "weights")
        self.ok("commit", self.path("versions/draft"))
        self.ok("describe", "prod.ml.iris", hostile + kept)
        self.ok("tag", "set", "prod.ml.iris/1", "k", hostile + kept)
        self.ok("tag", "set", "prod.ml.iris", "k", hostile + kept)
        with self.assertRaises(OSError):
            os.mkdir(self.path("versions/x\u202e"))
        texts = {"show": self.ok("show", "--json", "prod.ml.iris/1"), "ls": self.ok("tag", "ls", "--json", "prod.ml.iris"),
                 "sql": self.ok("sql", "--json", "DESCRIBE prod.ml.iris"), "why": self.ok("why", "--json", self.mnt),
                 "audit": self.ok("audit", "--json"), "text": self.ok("show", "prod.ml.iris")}
        for name in (".info/model.json", ".info/versions/1.json", ".info/activity.jsonl"):
            with open(self.path(name), encoding="utf-8") as file:
                texts[name] = file.read()
        for name in ("status", "errors"):
            with open(f"{self.mnt}/.modelfs/{name}", encoding="utf-8") as file:
                texts[name] = file.read()
        for name, text in texts.items():
            for character in "\x7f\u009b\u202e\u2069\u2028":
                self.assertNotIn(character, text, name)
        self.assertEqual(json.loads(texts["show"])["tags"]["k"], hostile + kept)
        self.assertIn(hostile + kept, json.loads(texts[".info/model.json"])["tags"].values())
        self.assertIn("m\u00f6del", texts[".info/model.json"])

    def test_a_command_in_a_message_is_safe_to_paste(self):
        name = "m`to`eve`--$(touch${ifs}x)'\"\\"
        self.ok("mkdir", "prod.ml." + name)
        with self.assertRaises(OSError):
            os.mkdir(f"{self.mnt}/prod/ml/{name}/versions/4")
        answers = json.loads(self.ok("why", "--json", f"{self.mnt}/prod/ml/{name}/versions"))
        told = next(each["message"] for each in answers if each.get("operation") == "mkdir")
        command = told[told.index(", or: ") + len(", or: "):].split("; or, of what is")[0]
        self.assertTrue(command.startswith("modelfs register SOURCE "), told)
        done = subprocess.run(["bash", "-c", "modelfs() { printf '%s\\0' \"$@\"; }; " + command], cwd=self.scratch,
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.split("\0"), ["register", "SOURCE", "prod.ml." + name, ""])
        self.assertFalse(os.path.exists(os.path.join(self.scratch, "x")))

    def test_a_path_selects_its_mount_regardless_of_the_named_registry(self):
        with self.assertRaises(OSError):
            os.mkdir(self.mnt + "/Upper")
        other = os.path.join(self.scratch, "other")
        self.ok("init", other, MODELFS_REGISTRY="")
        os.chdir(self.mnt)
        self.addCleanup(os.chdir, "/")
        for path in (self.mnt, ".", "Upper"):
            self.assertIn("/Upper: EINVAL", self.ok("why", path, MODELFS_REGISTRY=other))
        self.assertIn(self.home, self.ok("status", self.mnt, MODELFS_REGISTRY=other))
        for command in ("why", "status"):
            told = self.ok(command, MODELFS_REGISTRY=other)
            self.assertTrue(told.startswith(other + " is not mounted; "), told)
            self.assertIn(f"to ask that one, modelfs {command} /", told)

    @unittest.skipUnless(os.geteuid() == 0, "acts as another user")
    def test_another_user_is_refused_with_the_remedy(self):
        os.chmod(self.scratch, 0o755)
        binary = shutil.copy(BINARY, self.scratch)  # other users may be unable to enter the build directory
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for command, way in (["why", self.mnt], "-o allow_other"), (["ls"], "-o allow_other"):
            done = subprocess.run([*nobody, binary, "-r", self.home, *command], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 5, done.stdout + done.stderr)
            self.assertIn(way, done.stderr)

    def test_changes_by_commands_appear_on_the_mount(self):
        source = os.path.join(self.scratch, "model")
        os.mkdir(source)
        with open(source + "/w", "wb") as file:
            file.write(os.urandom(3 << 20))
        self.ok("register", source, "prod.ml.iris", "--alias", "Champion")
        wait_for(lambda: os.path.exists(self.path("aliases/Champion/w")), "the new version on the mount")
        self.ok("rm", "--yes", "prod.ml.iris/1")
        wait_for(lambda: not os.path.exists(self.path("versions/1")), "the deletion on the mount")

    def stored_bytes(self):
        total = 0
        for folder, _, names in os.walk(self.home + "/objects"):
            for name in names:
                try:
                    total += os.stat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    pass  # swept meanwhile
        return total

    def test_the_mount_frees_space_by_itself_after_any_deletion(self):
        source = os.path.join(self.scratch, "model")
        for number, delete in ((1, lambda: self.ok("rm", "--yes", "prod.ml.iris/1")),
                               (2, lambda: os.rmdir(self.path("versions/2")))):
            os.makedirs(source, exist_ok=True)
            with open(source + "/w", "wb") as file:
                file.write(os.urandom(3 << 20))
            self.assertEqual(self.ok("register", source, "prod.ml.iris"), f"prod.ml.iris/{number}\n")
            self.assertGreaterEqual(self.stored_bytes(), 3 << 20)
            wait_for(lambda n=number: os.path.exists(self.path(f"versions/{n}/w")), "the version")
            delete()
            wait_for(lambda: self.stored_bytes() < 3 << 20, "the space")


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    HELPER = os.path.abspath(sys.argv.pop(1))
    unittest.main()
