"""Times modelfs beside the plain file system below it, in one run, and prints a table.

    scripts/bench [--quick] [--only ROW[,ROW…]] [--json FILE]

Every row runs both sides in turn (A B A B …) on the same bytes, so that a machine that slows down
slows both; the ratio is taken pair by pair, and the table shows its median with the smallest and the
largest. Above 1.00 modelfs is the faster side.
"""

import argparse
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
    """Files of fresh random bytes: nothing that was stored before can stand in for them."""
    os.makedirs(directory)
    for number, size_bytes in enumerate(sizes):
        write_random_file(os.path.join(directory, f"part-{number:05d}.bin"), size_bytes)


def drop_caches():
    run("sync")
    with open("/proc/sys/vm/drop_caches", "w") as control:
        control.write("3\n")


class Mount:
    """A registry and its mount in a scratch directory."""

    def __init__(self, binary, scratch):
        self.binary = binary
        self.home = os.path.join(scratch, "registry")
        self.path = os.path.join(scratch, "models")
        os.makedirs(self.path, exist_ok=True)
        self.modelfs("init")

    def modelfs(self, *arguments):
        return run(self.binary, "-r", self.home, *arguments)

    def up(self):
        self.modelfs("mount", self.path, "-d")

    def down(self):
        run(self.binary, "umount", self.path)

    def status(self):
        with open(os.path.join(self.path, ".modelfs/status")) as status:
            return json.load(status)

    def reads_during(self, work):
        """How many READ requests reached the daemon while `work` ran, and what it answered."""

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


class Bench:
    def __init__(self, options, scratch):
        self.options = options
        self.scratch = scratch
        self.mount = Mount(options.modelfs, scratch)
        self.rounds = 3 if options.quick else 7
        self.rows = []

    # --- what a row prints ---

    def add(self, row, ours, native, unit, bar, note=""):
        """`ours` and `native` are seconds, pair by pair (`native` may be empty)."""
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
        with open(ours, "rb") as first:  # the first use after a start verifies; wait until that is done
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

    def registry(self, *arguments):
        for line in run(self.options.registry_bench, *arguments).splitlines():
            measured = json.loads(line)
            self.rows.append(measured)
            print(json.dumps(measured), flush=True)

    def engine(self):
        self.registry(os.path.join(self.scratch, "engine"), 100000 if self.options.quick else 1000000)

    def audit(self):
        self.registry("--audit", os.path.join(self.scratch, "audit"), 100000 if self.options.quick else 1000000)


ROWS = ["warm_reads", "small_files", "ingest", "copy_version", "alias_move", "walks", "engine", "audit"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modelfs", required=True, help="the binary")
    parser.add_argument("--io-bench", required=True)
    parser.add_argument("--registry-bench", required=True)
    parser.add_argument("--scratch", help="where to work (default: a temporary directory); wants 20 GiB")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--only", help="rows, separated by commas: " + ", ".join(ROWS))
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()

    here = os.path.dirname(os.path.abspath(__file__))
    commit = subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], text=True, capture_output=True).stdout
    with open("/proc/cpuinfo") as cpuinfo:
        cpu = re.search(r"model name\s*:\s*(.*)", cpuinfo.read()).group(1)
    scratch = tempfile.mkdtemp(prefix="modelfs-bench-", dir=options.scratch)
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
        subprocess.run([options.modelfs, "umount", bench.mount.path], capture_output=True)
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
