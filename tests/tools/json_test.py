#!/usr/bin/env python3
"""Holds every printer of JSON to docs/formats.md, "JSON": no field that the page does not list, no listed field that
never comes, and the listed type. Real output of every command, of `.info` and of `.modelfs` on a real mount is read.

usage: json_test.py path/to/modelfs path/to/formats.md [unittest arguments]
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BINARY = ""
PAGE = ""
AUDIT = "audit record as JSON"

MLMODEL = """signature:
  inputs: '[{"type": "double", "name": "x"}]'
  outputs: '[{"type": "double", "name": "y"}]'
"""


class Field:
    def __init__(self, name, kind_of_value, where, kinds):
        self.name = name
        self.type = kind_of_value
        named = [word.strip() for word in where.split(",")] if where else kinds
        self.optional = bool(where) and not set(named) <= set(kinds)
        self.kinds = kinds if self.optional else named


def tables(page):
    """kind -> its fields, as the page's section "JSON" lists them."""
    section = re.search(r"^## JSON\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL).group(1)
    found = {}
    for heading, body in re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", section, re.MULTILINE | re.DOTALL):
        kinds = [AUDIT] if heading == AUDIT else [kind.strip() for kind in heading.split(",")]
        rows = re.findall(r"^\| `([^`]+)` \| ([^|]*)\|([^|]*)\|", body, re.MULTILINE)
        for kind in kinds:
            assert kind not in found, f"{kind} is listed twice"
            found[kind] = [Field(name, a_type.strip(), where.strip(), kinds) for name, a_type, where in rows]
    return found


def is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


SIMPLE = {
    "text": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": is_whole,
    "ms": lambda value: is_whole(value) and (value == 0 or 10**12 < value < 10**14),
    "s": is_whole,
    "bytes": is_whole,
    "digest": lambda value: isinstance(value, str) and re.fullmatch("sha256:[0-9a-f]{64}", value),
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, dict),
}


class Reader:
    """Compares objects with the tables, and remembers which fields were seen and which were absent."""

    def __init__(self, found):
        self.tables = found
        self.breaches = set()
        self.seen = set()
        self.absent = set()

    def value(self, value, a_type, where):
        if a_type.endswith(" or null"):
            if value is not None:
                self.value(value, a_type[:-len(" or null")], where)
        elif a_type.startswith("list of "):
            if not isinstance(value, list):
                self.breaches.add(f"{where} is no list")
                return
            for each in value:
                self.value(each, a_type[len("list of "):], where)
        elif a_type.startswith("map of "):
            for each in value.values():
                self.value(each, a_type[len("map of "):], where)
        elif a_type in SIMPLE:
            if not SIMPLE[a_type](value):
                self.breaches.add(f"{where} is {value!r} and not of type {a_type}")
        else:
            self.record(value, where, a_type.split(", "))

    def record(self, record, where, kinds=None):
        kind = record.get("kind") if isinstance(record, dict) else None
        if kind not in self.tables or (kinds and kind not in kinds):
            self.breaches.add(f"{where} has the kind {kind!r}, and not one of {kinds or 'the page'}")
            return
        self.fields(record, kind, "")

    def fields(self, record, kind, prefix):
        depth = prefix.count(".")
        listed = {field.name: field for field in self.tables[kind]
                  if field.name.startswith(prefix) and field.name.count(".") == depth}
        for name in record:
            if prefix + name not in listed:
                self.breaches.add(f"{kind}: {prefix}{name} is not on the page")
        for name, field in listed.items():
            if name[len(prefix):] not in record:
                self.absent.add((kind, name))
                if not field.optional and kind in field.kinds:
                    self.breaches.add(f"{kind}: {name} is missing")
                continue
            self.seen.add((kind, name))
            if not field.optional and kind not in field.kinds:
                self.breaches.add(f"{kind}: {name} is said not to be in it")
            value = record[name[len(prefix):]]
            self.value(value, field.type, f"{kind}.{name}")
            if field.type.endswith("object"):
                for each in value if isinstance(value, list) else [value]:
                    self.fields(each, kind, name + ".")

    def never_seen(self):
        missing = set()
        for kind, fields in self.tables.items():
            for field in fields:
                where = [each for each in field.kinds if (each, field.name) in self.seen]
                every = not field.optional and "." not in field.name
                if not where or (every and len(where) < len(field.kinds)):
                    missing.add(f"{', '.join(field.kinds)}: {field.name} never came")
                if field.optional and not [each for each in field.kinds if (each, field.name) in self.absent]:
                    missing.add(f"{', '.join(field.kinds)}: {field.name} always came, so it is not optional")
        return missing


class Json(unittest.TestCase):
    def setUp(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skipTest("/dev/fuse is missing here")
        self.scratch = os.path.realpath(tempfile.mkdtemp(prefix="modelfs_json_"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.home = os.path.join(self.scratch, "home")
        self.mnt = os.path.join(self.scratch, "mnt")
        os.mkdir(self.mnt)
        with open(PAGE, encoding="utf-8") as page:
            self.reader = Reader(tables(page.read()))

    def run_command(self, *arguments):
        env = {key: value for key, value in os.environ.items() if not key.startswith("MODELFS_")}
        env["MODELFS_REGISTRY"] = self.home
        return subprocess.run([BINARY, *arguments], env=env, capture_output=True, text=True, timeout=120)

    def ok(self, *arguments):
        done = self.run_command(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def read(self, *arguments, exit_code=0):
        """Runs a command with --json and compares each object that it prints."""
        done = self.run_command(*arguments, "--json")
        self.assertEqual(done.returncode, exit_code, f"{arguments}: {done.stderr}")
        said = json.loads(done.stdout)
        for record in said if isinstance(said, list) else [said]:
            self.reader.record(record, " ".join(arguments))
        return said

    def read_tags(self, *arguments):
        self.reader.value(json.loads(self.ok(*arguments, "--json")), "map of text", " ".join(arguments))

    def read_audit(self, lines):
        for line in lines.splitlines():
            self.reader.fields(json.loads(line), AUDIT, "")

    def read_file(self, path):
        with open(os.path.join(self.mnt, path), encoding="utf-8") as file:
            self.reader.record(json.load(file), path)

    def read_lines(self, text, where):
        for line in text.splitlines():
            self.reader.record(json.loads(line), where)

    def source(self, name, content):
        path = os.path.join(self.scratch, name)
        os.makedirs(os.path.join(path, "empty"))
        for file, text in content.items():
            with open(os.path.join(path, file), "w", encoding="utf-8") as out:
                out.write(text)
        return path

    def objects(self):
        self.ok("init")
        self.read("mkdir", "-p", "prod.ml.iris", "--description", "petals")
        self.read("mkdir", "secret")
        self.ok("tag", "set", "prod.ml.iris", "task", "x")
        self.ok("tag", "set", "prod", "team", "x")
        self.ok("mkdir", "-p", "staging.ml")
        iris = self.source("iris", {"MLmodel": MLMODEL, "w": "w"})
        self.read("register", iris, "prod.ml.iris", "--alias", "Champion", "--tag", "a=b", "--run-id", "r1")
        self.read("register", iris, "prod.ml.iris")
        self.read("cp", "prod.ml.iris/1", "staging.ml.one")
        self.read("cp", "prod.ml.iris", "staging.ml.whole")
        self.read("rename", "staging.ml.whole", "all")
        self.read("resolve", "prod.ml.iris@Champion")
        self.read("alias", "ls", "prod.ml.iris")
        self.read_tags("tag", "ls", "prod.ml.iris")
        for name in ("metastore", "prod", "prod.ml", "prod.ml.iris", "prod.ml.iris/1"):
            self.read("show", name)
        self.assertEqual([c["tags"] for c in self.read("ls") if c["name"] == "prod"], [{"team": "x"}])
        self.read("ls", "prod")
        self.assertEqual([m["comment"] for m in self.read("ls", "prod.ml")], ["petals"])
        self.assertEqual(self.read("ls", "prod.ml.iris")[0]["tags"], {"a": "b"})
        self.read("ls", "prod.ml.iris/1")
        self.assertEqual(self.read("search", "tags.task = 'x'")[0]["tags"], {"task": "x"})
        self.read("sql", "CREATE CATALOG sqls; SHOW CATALOGS")

    def access(self):
        self.read("principal", "create", "ann@x.org")
        self.read("principal", "create", "robot", "--service")
        self.read("group", "create", "team")
        self.ok("group", "add", "team", "ann@x.org")
        self.read("group", "ls")
        self.read("group", "members", "team")
        self.read("principal", "ls")
        self.read("principal", "show", "ann@x.org")
        self.read("principal", "show", "robot")
        self.read("grant", "APPLY_TAG", "prod.ml.iris", "robot")
        self.read("grant", "USE_CATALOG,EXECUTE", "prod", "team")
        self.read("grants", "prod.ml.iris", "--effective")
        self.read("grants", "prod.ml.iris")
        self.read("revoke", "EXECUTE", "prod", "team")
        self.read("grant", "BROWSE,USE_CATALOG,USE_SCHEMA", "staging", "robot")
        self.read("show", "staging.ml.one", "--as", "robot")
        self.read("owner", "set", "prod.ml", "team")
        me = self.read("show", "metastore")["owner"]
        self.read("owner", "set", "metastore", me)
        for key, value in (("signature", "required"), ("protected-alias.Champion", "team"), ("max-models", "7"),
                           ("max-versions", "9")):
            self.read("set", "prod", key, value)
        self.read("set", "prod.ml", "max-models", "3")
        self.read("set", "prod.ml", "--unset", "max-models")
        self.read("show", "prod")
        self.read("show", "prod.ml")

    def upkeep(self):
        self.read("audit", "settings")
        self.read_audit(self.ok("audit", "--json"))
        self.read_audit(self.run_command("audit", "--json", "--refused").stdout)
        self.read("audit", "verify")
        self.read("gc", "--dry-run")
        self.read("gc")
        self.read("gc", "--compact", "--dry-run")
        self.read("audit", "rotate", "--keep", "3")
        self.read("fsck")
        digest = self.read("ls", "prod.ml.iris/1")[-1]["digest"].removeprefix("sha256:")
        blob = os.path.join(self.home, "objects", digest[:2], digest[2:])
        os.chmod(blob, 0o600)
        with open(blob, "w", encoding="utf-8") as file:
            file.write("x")
        self.read("fsck", exit_code=8)

    def mount(self, *arguments):
        self.ok("mount", self.mnt, "-d", *arguments)
        self.addCleanup(subprocess.run, [BINARY, "umount", "--lazy", self.mnt], capture_output=True)

    def mounted(self):
        self.mount()
        self.read("resolve", "prod.ml.iris@Champion")
        model = "prod/ml/iris"
        draft = os.path.join(self.mnt, model, "versions", "draft")
        os.makedirs(draft)
        shutil.copy(os.path.join(self.scratch, "iris", "MLmodel"), draft)
        self.read("commit", draft)
        self.read_file(f"{model}/.info/model.json")
        self.read_file(f"{model}/.info/versions/1.json")
        self.read_file(f"{model}/.info/lineage/1.json")
        self.read_file("staging/ml/one/.info/lineage/1.json")
        with open(os.path.join(self.mnt, model, ".info/activity.jsonl"), encoding="utf-8") as file:
            self.read_audit(file.read())
        with self.assertRaises(OSError):
            os.mkdir(os.path.join(self.mnt, "Upper"))
        self.read_file(".modelfs/status")
        with open(os.path.join(self.mnt, ".modelfs/errors"), encoding="utf-8") as file:
            self.read_lines(file.read(), ".modelfs/errors")
        for name in ("prod.ml.iris", "prod.ml.iris/1", "no.such.model"):
            said = os.getxattr(os.path.join(self.mnt, ".modelfs"), "user.modelfs.access." + name)
            self.read_lines(said.decode(), name)
        status = self.read("status", self.mnt)[0]
        self.assertEqual(status["home"], self.home)
        self.assertEqual(status["registry"], self.read("show", "metastore")["registry"])
        self.read("why", os.path.join(self.mnt, "Upper"))
        self.read("why", os.path.join(self.mnt, model, "versions/1/MLmodel"))
        self.ok("umount", self.mnt)

    def mounted_by_a_reader(self):
        """A principal that may not see the model of which its own is a copy."""
        identities = os.path.join(self.scratch, "identities")
        with open(identities, "w", encoding="utf-8") as file:
            file.write(f"uid {os.getuid()} = robot\n")
        self.mount("--identity-map", identities)
        self.read_file("staging/ml/one/.info/lineage/1.json")
        self.read_file("staging/ml/one/.info/model.json")
        self.ok("umount", self.mnt)

    def test_every_object_is_as_the_page_lists_it(self):
        self.objects()
        self.mounted()
        self.access()
        self.mounted_by_a_reader()
        self.upkeep()
        self.assertEqual(sorted(self.reader.breaches | self.reader.never_seen()), [])


if __name__ == "__main__":
    BINARY = os.path.realpath(sys.argv[1])
    PAGE = sys.argv[2]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
