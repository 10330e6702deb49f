"""Times modelfs beside the plain file system below it, in one run, and prints a table.

    scripts/bench [--quick] [--only ROW[,ROW…]] [--json FILE]

Every row runs both sides in turn (A B A B …) on the same bytes, so that a slower machine slows both. The
ratio is computed for each pair; the table shows its median, minimum and maximum. Above 1.00 modelfs is
the faster side.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
PAGE = 4096
# The user of the rows about a shared mount; every Debian has this user.
USER, UID = "daemon", 1


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, text=True, capture_output=True, **options).stdout


def timed(*commands):
    start = time.perf_counter()
    for command in commands:
        run(*command)
    return time.perf_counter() - start


def write_random_file(path, size_bytes):
    with open(path, "wb") as out:
        left = size_bytes
        while left > 0:
            left -= out.write(os.urandom(min(left, 8 * MIB)))


def make_files(directory, sizes):
    """Makes files of fresh random bytes, so that no stored blob can replace them."""
    os.makedirs(directory)
    for number, size_bytes in enumerate(sizes):
        write_random_file(os.path.join(directory, f"part-{number:05d}.bin"), size_bytes)


def drop_caches():
    run("sync")
    with open("/proc/sys/vm/drop_caches", "w") as control:
        control.write("3\n")


class Mount:
    """A registry and its mount in a scratch directory."""

    def __init__(self, binary, scratch, home=None, options=()):
        """A new registry, or another mount of the one in `home`."""
        self.binary = binary
        self.home = home or os.path.join(scratch, "registry")
        self.path = os.path.join(scratch, "models")
        self.options = options
        os.makedirs(self.path, exist_ok=True)
        if home is None:
            self.modelfs("init")

    def modelfs(self, *arguments, given=None):
        return run(self.binary, "-r", self.home, *arguments, input=given)

    def up(self):
        self.modelfs("mount", self.path, "-d", *self.options)

    def down(self):
        run(self.binary, "umount", self.path)

    def status(self):
        with open(os.path.join(self.path, ".modelfs/status")) as status:
            return json.load(status)

    def reads_during(self, work):
        """Returns the number of READ requests at the daemon during `work`, and the result of `work`."""

        def count():
            with open(os.path.join(self.path, ".modelfs/metrics")) as metrics:
                found = re.search(r'^modelfs_requests_total\{operation="read"\} (\d+)', metrics.read(), re.M)
            return int(found.group(1)) if found else 0

        first = count()
        second = count()  # reading the counter is counted, too
        answer = work()
        return count() - second - (second - first), answer

    def rss_mib(self):
        with open(f"/proc/{self.status()['pid']}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) / 1024

    def blob_of(self, path):
        digest = os.getxattr(path, "user.modelfs.sha256").decode().removeprefix("sha256:")
        return os.path.join(self.home, "objects", digest[:2], digest[2:])

    def object_bytes(self):
        return sum(
            os.lstat(os.path.join(folder, name)).st_size
            for folder, _, names in os.walk(os.path.join(self.home, "objects"))
            for name in names
        )


@contextlib.contextmanager
def user_of_the_host():
    """Runs its body as USER."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(UID)
    os.seteuid(UID)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def may_read(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
        return True
    except PermissionError:
        return False


class Bench:
    def __init__(self, options, scratch):
        self.options = options
        self.scratch = scratch
        self.mount = Mount(options.modelfs, scratch)
        self.others = []
        self.rounds = 3 if options.quick else 7
        self.rows = []

    # --- the output of a row ---

    def add(self, row, ours, native, unit, bar, note=""):
        """`ours` and `native` are lists of seconds, pair by pair (`native` may be empty)."""
        pairs = [n / o for o, n in zip(ours, native)]
        self.rows.append(
            {
                "row": row,
                "modelfs": statistics.median(ours),
                "native": statistics.median(native) if native else None,
                "ratio": statistics.median(pairs) if pairs else None,
                "ratio_min": min(pairs) if pairs else None,
                "ratio_max": max(pairs) if pairs else None,
                "unit": unit,
                "bar": bar,
                "note": note,
            }
        )
        print(self.line(self.rows[-1]), flush=True)

    @staticmethod
    def line(row):
        def value(number):
            return "–" if number is None else f"{number:.4g}"

        ratio = "–"
        if row["ratio"] is not None:
            ratio = f"{row['ratio']:.2f} ({row['ratio_min']:.2f}–{row['ratio_max']:.2f})"
        return (
            f"| {row['row']} | {value(row['modelfs'])} {row['unit']} | {value(row['native'])} {row['unit']} "
            f"| {ratio} | {row['bar']} | {row['note']} |"
        )

    def io(self, work, ours, native, *more):
        out = run(self.options.io_bench, work, ours, native, self.rounds, *more)
        sides = {"A": [], "B": []}
        for line in out.splitlines():
            measured = json.loads(line)
            sides[measured["side"]].append(measured["seconds"] / measured["units"])
        return sides["A"], sides["B"]

    # --- rows ---

    def warm_reads(self):
        size_bytes = 256 * MIB if self.options.quick else 1024 * MIB
        source = os.path.join(self.scratch, "one")
        make_files(source, [size_bytes])
        self.mount.modelfs("register", source, "bench.io.one")
        ours = os.path.join(self.mount.path, "bench/io/one/versions/1/part-00000.bin")
        blob = self.mount.blob_of(ours)
        with open(ours, "rb") as first:  # the first use after a start verifies the blob; wait until that is done
            first.read(1)
        self.wait_until_native(ours)
        for work, unit, scale, more in (
            ("sequential", "s/GiB", 1 << 30, ()),
            ("random", "µs/read", 1e6, (20000 if self.options.quick else 200000,)),
            ("mmap", "s/GiB", 1 << 30, ()),
        ):
            reads, (a, b) = self.mount.reads_during(lambda: self.io(work, ours, blob, *more))
            self.add(f"warm {work} read", [s * scale for s in a], [s * scale for s in b], unit, "≥ 0.95",
                     f"{reads} READs at the daemon")
        shutil.rmtree(source)

    def wait_until_native(self, path):
        def probe():
            with open(path, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                file.read(PAGE)

        give_up = time.monotonic() + 120
        while time.monotonic() < give_up:
            if self.mount.reads_during(probe)[0] == 0:
                return
            time.sleep(0.1)
        sys.exit("the file did not become native; is passthrough off? see .modelfs/status")

    def small_files(self):
        count = 500 if self.options.quick else 2000
        source = os.path.join(self.scratch, "small")
        make_files(source, [2000] * count)
        self.mount.modelfs("register", source, "bench.io.small")
        ours = os.path.join(self.mount.path, "bench/io/small/versions/1")
        a, b = self.io("small", ours, source)
        self.add("open, read, close of a small file", [s * 1e6 for s in a], [s * 1e6 for s in b], "µs", "published")
        shutil.rmtree(source)

    def ingest(self):
        big = [64 * MIB] * 4 if self.options.quick else [256 * MIB] * 4
        small = [4000] * (500 if self.options.quick else 5000)
        rounds = 2 if self.options.quick else 5
        versions = os.path.join(self.mount.path, "bench/io/ingest/versions")
        for name, sizes in (("large files", big), ("small files", small)):
            register, native_register, draft, native_draft = [], [], [], []
            for number in range(rounds):
                source = os.path.join(self.scratch, f"source-{number}")
                copy = os.path.join(self.scratch, f"copy-{number}")

                def native():
                    took = timed(("cp", "-r", source, copy), ("sync", "-f", self.scratch))
                    shutil.rmtree(copy)
                    run("sync", "-f", self.scratch)
                    return took

                make_files(source, sizes)
                run("sync", "-f", self.scratch)
                native_register.append(native())
                register.append(
                    timed((self.mount.binary, "-r", self.mount.home, "register", source, "bench.io.ingest"))
                )
                shutil.rmtree(source)

                make_files(source, sizes)
                run("sync", "-f", self.scratch)
                native_draft.append(native())
                draft.append(
                    timed(("cp", "-r", source, versions + "/draft"), ("mv", versions + "/draft", versions + "/next"))
                )
                shutil.rmtree(source)
                run("sync", "-f", self.scratch)
            self.add(f"register, {name}, beside cp + sync", register, native_register, "s", "≥ 0.8")
            self.add(f"cp -r into a draft and commit, {name}, beside cp + sync", draft, native_draft, "s", "≥ 0.7")

    def copy_version(self):
        shards = 12
        size_bytes = (512 if self.options.quick else 4096) * MIB // shards
        source = os.path.join(self.scratch, "shards")
        make_files(source, [size_bytes] * shards)
        self.mount.modelfs("register", source, "bench.io.shards")
        shutil.rmtree(source)
        versions = os.path.join(self.mount.path, "bench/io/shards/versions")
        before = self.mount.object_bytes()
        took = []
        for _ in range(3):
            took.append(
                timed(("cp", "-r", versions + "/1", versions + "/draft"), ("mv", versions + "/draft", versions + "/next"))
            )
        grown = self.mount.object_bytes() - before
        self.add(f"cp -r of a {shards * size_bytes // MIB} MiB version and commit", took, [], "s", "< 1 s",
                 f"{grown} new object bytes")

    def alias_move(self):
        model = os.path.join(self.mount.path, "bench/io/shards")
        links = os.path.join(self.scratch, "links")
        os.makedirs(links)
        os.symlink("../versions/1", links + "/Champion")
        os.symlink("../versions/1", model + "/aliases/Champion")
        self.mount.status()
        moves = 50 if self.options.quick else 300
        out = run(self.options.io_bench, "rename", model + "/aliases/Champion", links + "/Champion", moves)
        took = sorted(json.loads(l)["seconds"] * 1e3 for l in out.splitlines() if '"side": "A"' in l)
        syncs = []
        with open(os.path.join(self.scratch, "sync-probe"), "wb") as probe:
            for _ in range(50):
                probe.write(b"x" * PAGE)
                probe.flush()
                start = time.perf_counter()
                os.fdatasync(probe.fileno())
                syncs.append((time.perf_counter() - start) * 1e3)
        p99 = took[int(len(took) * 0.99) - 1]
        self.add("durable alias move", took, [], "ms", "p50 < 10 ms",
                 f"p99 {p99:.2f} ms; one fdatasync here takes {statistics.median(syncs):.2f} ms")

    def walks(self):
        count = 10000 if self.options.quick else 100000
        source = os.path.join(self.scratch, "many")
        folders = 100
        for folder in range(folders):
            os.makedirs(f"{source}/d{folder:03d}")
            for number in range(count // folders):
                with open(f"{source}/d{folder:03d}/f{number:05d}", "w") as out:
                    out.write(f"{number % 50}")
        self.mount.modelfs("register", source, "bench.io.many")
        ours = os.path.join(self.mount.path, "bench/io/many/versions/1")
        for name, command in (("find", ["find"]), ("ls -lR", ["ls", "-lR"])):
            for state in ("cold", "warm"):
                a, b = [], []
                for _ in range(3):
                    for directory, times in ((ours, a), (source, b)):
                        if state == "cold":
                            if directory == ours:
                                self.mount.down()
                            drop_caches()
                            if directory == ours:
                                self.mount.up()
                        else:
                            run(*command, directory)
                        times.append(timed((*command, directory)))
                self.add(f"{name} over {count} files, {state}", a, b, "s", "≥ 0.67")
        self.rows[-1]["note"] = f"daemon's memory after it: {self.mount.rss_mib():.0f} MiB (bar: < 150)"
        print(self.rows[-1]["note"])
        shutil.rmtree(source)

    # --- several users on one mount ---

    def another_mount(self, name, home=None, base=None):
        """A mount for every user of the host."""
        scratch = os.path.join(base or self.scratch, name)
        os.makedirs(scratch)
        mount = Mount(self.options.modelfs, scratch, home, ("-o", "allow_other"))
        mount.up()
        self.others.append(mount)
        return mount

    def grant_many(self, name, count):
        """Grants EXECUTE on a model to `count` users, including USER."""
        others = [f"bench-{number}" for number in range(count - 1)]
        for other in others:
            self.mount.modelfs("principal", "create", other)
        self.mount.modelfs("sql", given="".join(
            f"GRANT EXECUTE ON MODEL {name} TO `{user}`;\n" for user in [USER, *others]))
        self.mount.modelfs("sql", f"GRANT USE CATALOG, USE SCHEMA ON CATALOG bench TO `{USER}`")

    def shared_mount(self):
        """The cost of ACLs and 1,000 grants for a reader: a user on a shared mount beside root on the private one."""
        grants = 50 if self.options.quick else 1000
        source = os.path.join(self.scratch, "governed")
        make_files(source, [64 * MIB])
        for folder in range(20):
            make_files(f"{source}/d{folder:02d}", [2000] * (25 if self.options.quick else 250))
        self.mount.modelfs("register", source, "bench.io.governed")
        shutil.rmtree(source)
        self.grant_many("bench.io.governed", grants)
        shared = self.another_mount("shared", self.mount.home)
        inside = "bench/io/governed/versions/1"
        sides = ((os.path.join(shared.path, inside), UID), (os.path.join(self.mount.path, inside), 0))
        self.wait_until_native(os.path.join(sides[1][0], "part-00000.bin"))

        def as_user(uid, *command):
            return run("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command)

        def compare(row, unit, measure):
            times = ([], [])
            for _ in range(self.rounds + 1):
                for (directory, uid), side in zip(sides, times):
                    side.append(measure(directory, uid))
            self.add(row, times[0][1:], times[1][1:], unit, "within the spread", f"{grants} grants; native: private mount")

        def io(work, scale, name, *more):
            def measure(directory, uid):
                path = os.path.join(directory, name)
                lines = as_user(uid, self.options.io_bench, work, path, path, 1, *more).splitlines()
                measured = [json.loads(line) for line in lines]
                return statistics.median(m["seconds"] / m["units"] for m in measured) * scale
            return measure

        def walk(directory, uid):
            start = time.perf_counter()
            as_user(uid, "find", directory, "-size", "+1")
            return time.perf_counter() - start

        compare("shared mount: find, warm", "s", walk)
        compare("shared mount: open, read, close", "µs", io("small", 1e6, "d00"))
        compare("shared mount: warm random read", "µs/read", io("random", 1e6, "part-00000.bin", 20000))

    def grant_visible(self):
        """The time from the end of the command until each of five mounts admits the user, or refuses access."""
        rounds = 10 if self.options.quick else 100
        source = os.path.join(self.scratch, "granted")
        make_files(source, [2000])
        self.mount.modelfs("register", source, "bench.io.granted")
        self.mount.modelfs("sql", f"GRANT USE CATALOG, USE SCHEMA ON CATALOG bench TO `{USER}`")
        mounts = [self.another_mount(f"mount-{number}", self.mount.home) for number in range(5)]
        paths = [os.path.join(mount.path, "bench/io/granted/versions/1/part-00000.bin") for mount in mounts]
        took = []
        for number in range(2 * rounds):
            self.mount.modelfs("revoke" if number % 2 else "grant", "EXECUTE", "bench.io.granted", USER)
            start = time.perf_counter()
            with user_of_the_host():
                waiting = list(paths)
                while waiting:
                    for path in list(waiting):
                        if may_read(path) != bool(number % 2):
                            took.append((time.perf_counter() - start) * 1e3)
                            waiting.remove(path)
        took.sort()
        p99 = took[int(len(took) * 0.99) - 1]
        self.add("GRANT or REVOKE, in force on five mounts", took, [], "ms", "p99 < 200 ms",
                 f"p99 {p99:.2f} ms, longest {took[-1]:.2f} ms, of {len(took)}")

    def list_few(self):
        count = 2000 if self.options.quick else 100000
        # In memory if possible: 100,000 durable commits are not measured here.
        base = tempfile.mkdtemp(prefix="modelfs-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else self.scratch)
        try:
            os.chmod(base, 0o755)
            mount = self.another_mount("many-models", base=base)
            schema = os.path.join(mount.path, "c/s")
            os.makedirs(schema)
            for number in range(count):
                os.mkdir(f"{schema}/model_{number:06d}")
            mount.modelfs("sql", f"GRANT USE CATALOG, USE SCHEMA ON CATALOG c TO `{USER}`")
            for number in range(10):
                mount.modelfs("grant", "EXECUTE", f"c.s.model_{number * count // 10:06d}", USER)
            few, all_of_them = [], []
            for _ in range(self.rounds):
                with user_of_the_host():
                    start = time.perf_counter()
                    seen = len(os.listdir(schema))
                    few.append((time.perf_counter() - start) * 1e3)
                if seen != 10:
                    sys.exit(f"a user who may see ten models saw {seen}")
                start = time.perf_counter()
                os.listdir(schema)
                all_of_them.append((time.perf_counter() - start) * 1e3)
            self.add(f"list {count} models, of which ten may be seen", few, [], "ms", "published",
                     f"the owner, who sees all: {statistics.median(all_of_them):.0f} ms")
        finally:
            while self.others:
                self.others.pop().down()
            shutil.rmtree(base, ignore_errors=True)

    def decisions(self):
        self.measure(self.options.access_bench, os.path.join(self.scratch, "access"),
                     5000 if self.options.quick else 100000)

    def measure(self, *command):
        for line in run(*command).splitlines():
            measured = json.loads(line)
            self.rows.append(measured)
            print(json.dumps(measured), flush=True)

    def engine(self):
        self.measure(self.options.registry_bench, os.path.join(self.scratch, "engine"),
                     100000 if self.options.quick else 1000000)

    def audit(self):
        self.measure(self.options.registry_bench, "--audit", os.path.join(self.scratch, "audit"),
                     100000 if self.options.quick else 1000000)

    def times(self):
        self.measure(self.options.registry_bench, "--times", os.path.join(self.scratch, "times"),
                     *((100, 100) if self.options.quick else (1000, 1000)))


ROWS = ["warm_reads", "small_files", "ingest", "copy_version", "alias_move", "walks", "shared_mount", "grant_visible",
        "list_few", "decisions", "engine", "audit", "times"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modelfs", required=True, help="the binary")
    parser.add_argument("--io-bench", required=True)
    parser.add_argument("--registry-bench", required=True)
    parser.add_argument("--access-bench", required=True)
    parser.add_argument("--scratch", help="where to work (default: a temporary directory); wants 20 GiB")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that everything runs")
    parser.add_argument("--only", help="rows, separated by commas: " + ", ".join(ROWS))
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()

    here = os.path.dirname(os.path.abspath(__file__))
    commit = subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], text=True, capture_output=True).stdout
    with open("/proc/cpuinfo") as cpuinfo:
        cpu = re.search(r"model name\s*:\s*(.*)", cpuinfo.read()).group(1)
    scratch = tempfile.mkdtemp(prefix="modelfs-bench-", dir=options.scratch)
    os.chmod(scratch, 0o755)  # another user reads below it
    bench = Bench(options, scratch)
    try:
        bench.mount.up()
        for container in ("bench", "bench/io", "bench/io/ingest"):
            os.mkdir(os.path.join(bench.mount.path, container))
        passthrough = bench.mount.status()["passthrough"]
        print(f"commit {commit.strip()}, {cpu}, {os.cpu_count()} cores, Linux {platform.release()}, "
              f"passthrough {passthrough}, medians of {bench.rounds} rounds\n")
        print("| work | modelfs | native | native time / modelfs time (min–max) | bar | |")
        print("|---|---|---|---|---|---|", flush=True)
        for row in options.only.split(",") if options.only else ROWS:
            getattr(bench, row)()
        if options.json:
            with open(options.json, "w") as out:
                json.dump(bench.rows, out, indent=1, ensure_ascii=False)
    finally:
        for mount in [*bench.others, bench.mount]:
            subprocess.run([options.modelfs, "umount", mount.path], capture_output=True)
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
