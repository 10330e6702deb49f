#!/usr/bin/env python3
"""The modelfs command as a person or a script uses it, without a mount.

usage: cli_test.py path/to/modelfs [unittest arguments]
"""

import concurrent.futures
import errno
import hashlib
import json
import os
import pwd
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BINARY = ""


def run(*arguments, home=None, stdin="", **environment):
    env = {key: value for key, value in os.environ.items() if not key.startswith("MODELFS_")}
    env.update(environment)
    if home is not None:
        env["MODELFS_REGISTRY"] = home
    return subprocess.run([BINARY, *arguments], input=stdin, env=env, capture_output=True, text=True, timeout=120)


def write_files(directory, files):
    for path, content in files.items():
        whole = os.path.join(directory, path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "wb") as file:
            file.write(content)
    return directory


def read_files(directory):
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            whole = os.path.join(folder, name)
            with open(whole, "rb") as file:
                found[os.path.relpath(whole, directory)] = file.read()
    return found


SIGNED_MLMODEL = b"""flavors:
  python_function:
    loader_module: mlflow.sklearn
signature:
  inputs: '[{"type": "double", "name": "petal", "required": true}]'
  outputs: '[{"type": "long", "name": "kind", "required": true}]'
"""

MODEL_FILES = {
    "MLmodel": SIGNED_MLMODEL,
    "weights/part-1.bin": bytes(range(256)) * 20000,  # 5 MB: more than one chunk
    "weights/part-2.bin": b"small",
    "empty": b"",
}


class Case(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="modelfs_cli_")
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.home = os.path.join(self.scratch, "home")

    def ok(self, *arguments, **options):
        done = run(*arguments, home=options.pop("home", self.home), **options)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
        self.assertEqual(done.stderr, "", arguments)
        return done.stdout

    def refused(self, exit_code, *arguments, says="", **options):
        done = run(*arguments, home=options.pop("home", self.home), **options)
        self.assertEqual(done.returncode, exit_code, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertTrue(done.stderr.startswith("modelfs: "), f"{arguments}: {done.stderr!r}")
        self.assertIn(says, done.stderr, arguments)
        return done.stderr

    def json(self, *arguments, **options):
        return json.loads(self.ok(*arguments, "--json", **options))

    def audit(self, *arguments):
        return [json.loads(line) for line in self.ok("audit", "--json", *arguments).splitlines()]

    def model(self, name="iris", files=None):
        return write_files(os.path.join(self.scratch, name), files or MODEL_FILES)

    def ready_registry(self):
        self.ok("init")
        self.ok("mkdir", "-p", "prod.ml")


def command_tree():
    """Every command that the help lists, found by reading the help."""
    found = []

    def walk(path):
        text = run(*path, "--help").stdout
        inside = False
        for line in text.splitlines():
            if line == "Commands:":
                inside = True
            elif not line.startswith("  "):
                inside = False
            elif inside and line[2] != " ":
                child = path + [line.split()[0]]
                found.append(child)
                walk(child)

    walk([])
    return found


class Help(Case):
    def test_every_command_has_help_with_an_example(self):
        commands = command_tree()
        names = {" ".join(path) for path in commands}
        wanted = """init mount umount register commit ls show resolve describe rename cp rm mkdir download search
            status why gc fsck backup audit completion""".split()
        wanted += "sql grant revoke grants owner principal group set".split()
        wanted += ["owner set", "principal create", "principal rm", "principal ls", "principal show"]
        wanted += ["group create", "group rm", "group ls", "group add", "group remove", "group members"]
        wanted += ["alias set", "alias rm", "alias ls", "tag set", "tag rm", "tag ls", "audit verify", "audit rotate", "audit settings"]
        self.assertEqual(set(wanted) - names, set())
        for path in commands:
            text = run(*path, "--help")
            self.assertEqual(text.returncode, 0, path)
            self.assertIn("Usage: modelfs " + " ".join(path), text.stdout)
            self.assertIn("Example:\n  ", text.stdout, path)
            example = text.stdout.split("Example:\n  ")[1]
            self.assertIn("modelfs " + path[0], example)

    def test_arguments_are_shown_as_they_are_typed(self):
        for path, arguments in (("mount", "[HOME] MNT"), ("umount", "MNT"), ("ls", "[NAME]"), ("cp", "SOURCE DEST")):
            with self.subTest(path):
                text = run(path, "--help").stdout
                self.assertIn(f"Usage: modelfs {path} [OPTIONS] {arguments}\n", text)
                self.assertIn(f".SS modelfs {path} {arguments}\n", run("man-page").stdout)

    def test_wrong_usage_is_exit_code_2_and_names_the_help(self):
        for path in command_tree():
            with self.subTest(path):
                self.refused(2, *path, "--no-such-option", says="--help")
        for arguments in (
            [], ["frob"], ["alias"], ["alias", "frob"], ["tag"], ["show"], ["register"], ["register", "x"],
            ["ls", "a", "b"], ["cp", "a.b.c/1"], ["rename", "a.b.c"], ["rm"], ["mkdir"], ["describe", "a"],
            ["download", "a.b.c/1"], ["resolve"], ["search"], ["commit"], ["umount"], ["mount"],
            ["mount", "a", "b", "c"], ["completion"], ["completion", "fish"], ["init", "x", "--signature", "maybe"],
            ["grant"], ["grant", "EXECUTE", "a.b.c"], ["revoke", "EXECUTE", "a.b.c"], ["grants"], ["owner"], ["owner", "set", "a"],
            ["principal"], ["principal", "create"], ["group", "add", "g"], ["set", "a"], ["set", "a", "colour", "red"],
            ["set", "a", "max-models"], ["set", "a", "max-models", "x", "--unset", "signature"],
            ["sql", "SELECT 1"], ["sql", "SHOW CATALOGS", "-f", "x"],
            ["alias", "set", "a.b.c@x"], ["tag", "set", "a.b.c", "k"], ["audit", "--after", "x"],
            ["audit", "--since", "yesterday"], ["audit", "-f", "--until", "1h"], ["audit", "rotate", "--keep", "1", "--before", "1h"],
            ["audit", "--limit", "-1"], ["audit", "--after", "-1"], ["audit", "rotate", "--keep", "-1"],
        ):
            with self.subTest(arguments):
                self.refused(2, *arguments)

    def test_text_that_begins_with_a_dash_can_be_given(self):
        self.ready_registry()
        for text in ("-x", "--fast and small"):
            self.refused(2, "describe", "prod", text, says="put -- before it")
            self.ok("describe", "prod", "--", text)
            self.assertEqual(self.json("show", "prod")["comment"], text)

    def test_the_registry_must_be_named_and_exist(self):
        self.refused(2, "ls", home="", says="MODELFS_REGISTRY")
        self.refused(1, "-r", "https://models.example", "ls", says="remote registries are not in this version")
        self.refused(3, "ls", says="modelfs init " + self.home)
        self.refused(3, "ls", "-r", self.scratch, says="holds no registry")
        for empty in (["-r", "", "ls"], ["ls", "-r", ""], ["status", "--registry", ""]):
            self.refused(2, *empty, says="-r is empty")
        self.refused(2, "mount", "", self.scratch, says="the registry's name is empty")
        self.assertFalse(os.path.exists(self.home))

    def test_output_that_cannot_be_written_is_an_error(self):
        self.ok("init")
        self.ok("mkdir", "prod")
        with open("/dev/full", "w") as full:
            done = subprocess.run([BINARY, "-r", self.home, "ls"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 9, done.stderr)

    def test_completion_scripts_and_man_page_name_every_command(self):
        for shell in ("bash", "zsh"):
            script = self.ok("completion", shell)
            for path in command_tree():
                self.assertIn("modelfs " + " ".join(path), script)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=script, text=True, check=True)
        page = run("man-page").stdout
        self.assertTrue(page.startswith(".TH MODELFS 1"))
        for path in command_tree():
            self.assertIn(".SS modelfs " + " ".join(path), page)


class Hidden(Case):
    """A hidden object looks the same as an absent one, at each level and for each command."""

    # {n} is a model that is hidden or absent, or lies in such a container; {top} is the hidden or absent name itself.
    COMMANDS = """
        show {n}|show {top}|show {n}/1|show {n}@Live|show {n} --json|ls {n}|ls {top}|ls {n}/1|resolve {n}@Live|resolve {n}/1
        alias set {n}@Live 1|alias rm {n}@Live|alias ls {n}|tag set {n} k v|tag set {n}/1 k v|tag rm {n} k|tag ls {n}
        tag ls {top}|describe {n} text|describe {top} text|describe {n}/1 text|grant EXECUTE {n} eve|revoke EXECUTE {n} eve
        grants {n}|grants {top}|grants {n} --effective|owner set {n} eve|owner set {top} eve|set {container} max-models 3
        rm {n} --yes|rm {n}/1 --yes|rm {top} --yes|rename {n} other|register {files} {n}|register -p {files} {n}
        register {files} {n}/1|cp {n}/1 prod.open.mine|cp prod.open.mine/1 {n}|cp -p prod.open.mine/1 {n}
        download {n}/1 {target}|mkdir {n}|mkdir -p {n}|mkdir {top}|mkdir -p {top}|complete-name {top}.|complete-name {n}@
        search|sql DESCRIBE MODEL {n}|sql SHOW GRANTS ON MODEL {n}|sql SHOW MODELS IN {container}
        sql GRANT EXECUTE ON MODEL {n} TO eve|sql REVOKE EXECUTE ON MODEL {n} FROM eve|sql DROP MODEL {n}
        sql DROP MODEL IF EXISTS {n}|sql DROP MODEL {n} CASCADE|sql ALTER MODEL {n} OWNER TO eve|sql ALTER MODEL {n} RENAME TO x
        sql COMMENT ON MODEL {n} IS 'x'|sql ALTER MODEL {n} SET TAGS ('k' = 'v')|sql ALTER MODEL {n} UNSET TAGS ('k')
        sql CREATE MODEL {n}|sql CREATE MODEL IF NOT EXISTS {n}"""

    def setUp(self):
        super().setUp()
        self.ready_registry()
        self.files = self.model(files={"weights.bin": b"w"})
        for name in ("secret.s.m", "prod.secret.m", "prod.ml.secret", "prod.open.mine"):
            self.ok("register", "-p", self.files, name, "--alias", "Live")
        self.ok("principal", "create", "eve")
        self.ok("grant", "USE_CATALOG", "prod", "eve")
        for schema in ("prod.ml", "prod.open"):
            self.ok("grant", "USE_SCHEMA", schema, "eve")
        self.ok("owner", "set", "prod.open.mine", "eve")

    def outcome(self, command, model, top):
        places = {"n": model, "top": top, "container": model.rpartition(".")[0], "files": self.files,
                  "target": os.path.join(self.scratch, "target")}
        words = command.split()
        if words[0] == "sql":
            arguments = ["sql", command.partition(" ")[2].format(**places)]
        elif words[0] == "search":
            arguments = ["search", f"catalog = '{top}' OR name = '{model}'"]
        else:
            arguments = [word.format(**places) for word in words]
        done = run("--as", "eve", *arguments, home=self.home)
        return done.returncode, *(text.replace("secret", "it").replace("nothing", "it")
                                  for text in (done.stdout, done.stderr))

    def test_every_command_treats_hidden_and_absent_objects_alike(self):
        commands = [command.strip() for line in self.COMMANDS.splitlines() for command in line.split("|")]
        codes = {}
        for model, top in (("{}.s.m", "{}"), ("prod.{}.m", "prod.{}"), ("prod.ml.{}", "prod.ml.{}")):
            for command in filter(None, commands):
                if "{container}" in command and top == model:
                    continue  # that one is open
                with self.subTest(command, top=top):
                    hidden = self.outcome(command, model.format("secret"), top.format("secret"))
                    absent = self.outcome(command, model.format("nothing"), top.format("nothing"))
                    self.assertEqual(hidden, absent)
                    codes.setdefault(hidden[0], set()).add(command.split()[0])
        # Lookups give "not found"; creating something there gives "not permitted".
        self.assertEqual(set(codes), {0, 3, 5})
        self.assertLessEqual(codes[0], {"complete-name", "search", "sql"})
        self.assertEqual(run("--as", "eve", "show", "prod.open.mine", home=self.home).returncode, 0)
        # The audit log has the real reason.
        self.assertIn("may not see catalog secret", self.ok("audit", "--json", "--refused", "--principal", "eve"))

    def test_only_users_with_the_right_to_create_learn_that_a_name_is_taken(self):
        self.ok("grant", "CREATE_MODEL", "prod.ml", "eve")
        self.refused(4, "--as", "eve", "mkdir", "prod.ml.secret", says="the name is taken by a model that eve may not see")
        self.ok("--as", "eve", "mkdir", "prod.ml.own")
        self.refused(4, "--as", "eve", "rename", "prod.ml.own", "secret", says="a model has this name already")
        # Earlier checks refuse both alike.
        self.ok("--as", "eve", "register", self.files, "prod.ml.own", "--alias", "Guarded")
        self.ok("group", "create", "guards")
        self.ok("set", "prod", "protected-alias.Guarded", "guards")
        taken, free = (self.refused(5, "--as", "eve", "rename", "prod.ml.own", name) for name in ("secret", "nothing"))
        self.assertEqual(taken, free)


class Governance(Case):
    def setUp(self):
        super().setUp()
        self.ok("init")
        self.me = self.json("show", "metastore")["owner"]

    def sql(self, *arguments, **options):
        """The rows of every statement, each as a list of its values."""
        return [[list(row.values()) for row in done["rows"]]
                for done in json.loads(self.ok("sql", "--json", *arguments, **options))]

    def test_a_team_gets_and_loses_access_by_command_and_by_sql(self):
        self.ok("sql", "CREATE CATALOG prod; CREATE SCHEMA prod.ml_team", "CREATE MODEL prod.ml_team.iris")
        self.ok("group", "create", "data-science")
        self.ok("principal", "create", "ann@x.org")
        self.ok("principal", "create", "nightly", "--service")
        self.ok("group", "add", "data-science", "ANN@x.org")
        self.ok("sql", "GRANT USE CATALOG ON CATALOG prod TO `data-science`")
        self.ok("sql", "GRANT USE SCHEMA, EXECUTE ON SCHEMA prod.ml_team TO `data-science`")
        granted = self.json("grant", "apply tag,CREATE_MODEL_VERSION", "prod.ml_team.iris", "nightly")
        self.assertEqual([(g["principal"], g["principal_kind"], g["privileges"]) for g in granted],
                         [("nightly", "service_principal", ["CREATE_MODEL_VERSION", "APPLY_TAG"])])
        self.assertNotIn("inherited_from_type", granted[0])
        self.assertEqual(self.sql("SHOW GRANTS ON FUNCTION prod.ml_team.iris"),
                         [[["nightly", "CREATE MODEL VERSION", "MODEL", "prod.ml_team.iris"],
                           ["nightly", "APPLY TAG", "MODEL", "prod.ml_team.iris"]]])
        effective = self.json("grants", "prod.ml_team.iris", "--effective", "--principal", "data-science")
        self.assertIn(("schema", "prod.ml_team"),
                      [(g["inherited_from_type"], g["inherited_from_name"]) for g in effective])
        self.assertIn("data-science  group", self.ok("grants", "prod"))

        # Acting as them: exactly the granted rights apply.
        self.assertEqual(self.json("show", "prod.ml_team.iris", "--as", "ann@x.org")["name"], "iris")
        self.refused(5, "--as", "ann@x.org", "tag", "set", "prod.ml_team.iris", "k", "v")
        self.refused(3, "--as", "nightly", "tag", "set", "prod.ml_team.iris", "k", "v", says="none that nightly may see")
        self.refused(5, "--as", "ann@x.org", "principal", "create", "x")
        self.refused(2, "--as", "data-science", "ls", says="a group")
        self.refused(3, "--as", "nobody-of-that-name", "ls")
        self.refused(2, "--as", "ann@x.org", "status", says="leave --as out")

        # A group as owner, a member removed from it, and a principal that was deleted: a later one of the same name
        # gets nothing.
        self.assertEqual(self.json("owner", "set", "prod.ml_team.iris", "data-science")["owner"], "data-science")
        self.ok("tag", "set", "prod.ml_team.iris", "k", "v", "--as", "ann@x.org")
        self.ok("group", "remove", "data-science", "ann@x.org")
        self.refused(3, "show", "prod.ml_team.iris", "--as", "ann@x.org")
        self.ok("revoke", "APPLY_TAG", "prod.ml_team.iris", "nightly")
        self.refused(6, "group", "rm", "nightly", says="modelfs principal rm")
        self.ok("principal", "rm", "nightly")
        self.ok("principal", "create", "nightly")
        left = [g for g in self.json("grants", "prod.ml_team.iris") if not g["principal"]]
        if left:
            self.assertIn(f"(deleted, id {left[0]['principal_id']})", self.ok("grants", "prod.ml_team.iris"))
            self.ok("revoke", "CREATE_MODEL_VERSION", "prod.ml_team.iris",
                    "--principal-id", str(left[0]["principal_id"]))
        self.assertEqual(self.json("grants", "prod.ml_team.iris"), [])
        self.refused(2, "grant", "EXECUTE", "prod.ml_team.iris/1", "data-science", says="only its model")
        self.refused(2, "grant", "FLY", "prod", "data-science", says="USE_CATALOG")
        self.refused(3, "grant", "BROWSE", "prod", "nobody-of-that-name")

    def test_principals_and_groups_are_listed_and_shown(self):
        self.assertEqual(self.json("principal", "create", "nightly", "--service")["kind"], "service_principal")
        self.ok("sql", "CREATE GROUP `all models`; CREATE GROUP inner; ALTER GROUP `all models` ADD GROUP inner; "
                "ALTER GROUP inner ADD MEMBER nightly")
        self.refused(4, "principal", "create", "NIGHTLY")
        self.assertEqual([p["name"] for p in self.json("group", "members", "all models")], ["inner"])
        shown = self.json("principal", "show", "Nightly")
        self.assertEqual(shown["name"], "nightly")
        self.assertLessEqual({"all models", "inner"}, set(shown["groups"]))
        self.assertLessEqual({"all models", "inner"}, {g["name"] for g in self.json("group", "ls")})
        self.assertNotIn("nightly", {g["name"] for g in self.json("group", "ls")})
        self.assertIn("service principal", self.ok("principal", "ls"))
        self.refused(6, "group", "add", "inner", "all models")
        for name in ("", "uid:0", "a\nb", "a\u202eb", " a", "x" * 256):
            with self.subTest(name):
                self.refused(2, "principal", "create", name)

    def test_no_change_of_owner_locks_out_the_only_user_of_commands(self):
        hand_over = "ALTER METASTORE OWNER TO admins"
        self.ok("sql", "CREATE GROUP admins")
        self.ok("principal", "create", "adann")
        self.refused(6, "sql", hand_over, says=f"ALTER GROUP … ADD USER `{self.me}`")
        self.refused(6, "owner", "set", "metastore", "adann", says="would not be a metastore admin any more")
        self.ok("sql", f"ALTER GROUP admins ADD USER adann, `{self.me}`", hand_over)
        self.assertEqual(self.json("show", "metastore")["owner"], "admins")
        self.refused(6, "sql", f"ALTER GROUP admins DROP USER `{self.me}`")
        self.refused(6, "sql", "DROP GROUP admins")
        self.ok("--as", "adann", "mkdir", "prod")
        self.ok("audit", "verify")

    def test_rules_of_a_catalog_are_set_shown_and_removed(self):
        self.ok("mkdir", "-p", "prod.ml")
        self.ok("group", "create", "releasers")
        self.ok("set", "prod", "signature", "required")
        self.ok("set", "prod", "max-models", "7")
        self.assertEqual(self.json("set", "prod", "protected-alias.Champion", "releasers"),
                         {"kind": "settings", "signature": "required", "protected_aliases": {"Champion": "releasers"}, "max_models": 7})
        self.assertEqual(self.json("show", "prod")["settings"]["max_models"], 7)
        self.assertIn("protected-alias.Champion = releasers", self.ok("show", "prod"))
        self.assertEqual(self.json("show", "prod.ml")["settings"], {"kind": "settings"})
        self.ok("set", "prod.ml", "signature", "if-mlmodel")
        self.ok("set", "prod.ml", "max-models", "3")
        self.assertEqual(self.json("show", "prod.ml")["effective_settings"],
                         [{"kind": "settings", "signature": "required", "protected_aliases": {"Champion": "releasers"},
                           "inherited_from_type": "catalog", "inherited_from_name": "prod"},
                          {"kind": "settings", "max_models": 3}])
        shown = self.ok("show", "prod.ml")
        for line in ("signature = if-mlmodel (a stricter rule applies)", "max-models = 3\n",
                     "signature = required (from catalog prod)", "protected-alias.Champion = releasers (from catalog prod)"):
            self.assertIn(line, shown)
        self.assertEqual(self.json("set", "prod", "--unset", "signature"),
                         {"kind": "settings", "protected_aliases": {"Champion": "releasers"}, "max_models": 7})
        self.refused(2, "set", "prod", "colour", "red", says="max-models")
        self.refused(3, "set", "prod", "protected-alias.Champion", "nobody-of-that-name")

    def test_statements_come_from_arguments_a_file_and_stdin(self):
        self.assertEqual(self.sql("SHOW CATALOGS;", "-- nothing"), [[]])
        script = os.path.join(self.scratch, "setup.sql")
        with open(script, "w") as file:
            file.write("-- a comment\nCREATE CATALOG a;\nCREATE CATALOG b\n;\n")
        self.ok("sql", "-f", script)
        self.ok("sql", stdin="CREATE CATALOG c")
        self.ok("sql", "-f", "-", stdin="CREATE CATALOG d;")
        self.assertEqual(self.ok("sql", "SHOW CATALOGS LIKE '_'; SHOW SCHEMAS; DESCRIBE CATALOG a").count("\n\n"), 1)
        self.assertEqual([row[0] for row in self.sql("SHOW CATALOGS")[0]], ["a", "b", "c", "d"])
        self.refused(3, "sql", "-f", os.path.join(self.scratch, "none"))

    def test_a_failing_statement_is_named_and_stops_the_rest(self):
        message = self.refused(4, "sql", "CREATE CATALOG a;\nCREATE\nCATALOG a;\nCREATE CATALOG b")
        self.assertIn("statement 2, line 2: ", message)
        self.assertEqual(self.ok("ls", "--names"), "a\n")
        done = run("sql", "--json", "SHOW CATALOGS; DROP CATALOG zz; SHOW CATALOGS", home=self.home)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(len(json.loads(done.stdout)), 1)
        # One statement does not parse: nothing runs at all.
        message = self.refused(2, "sql", "CREATE CATALOG c; CREATE CATALOG", says="line 1, column 33: expected")
        self.refused(2, "sql", "CREATE CATALOG c", "CREATE CATALOG", says="argument 2: line 1, column 15")
        self.assertEqual(self.ok("ls", "--names"), "a\n")
        for hostile in ("`", "'", "\u202e", "GRANT " + "x" * 100000, "CREATE CATALOG `a\x1b[2J`", "/*" * 50000):
            message = self.refused(2, "sql", hostile)
            self.assertTrue(message.rstrip("\n").isprintable(), message)
            self.assertLess(len(message), 2000)

    def test_the_prompt_reads_until_a_semicolon_and_keeps_its_history(self):
        state = os.path.join(self.scratch, "state")
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(MODELFS_REGISTRY=self.home, XDG_STATE_HOME=state, TERM="xterm")
            os.execv(BINARY, ["modelfs", "sql"])
        got = ""

        def until(text):
            nonlocal got
            got = ""
            while text not in got:
                ready, _, _ = select.select([terminal], [], [], 60)
                self.assertTrue(ready, f"{text!r} did not come; this did: {got!r}")
                got += os.read(terminal, 4096).decode()

        def type_(text):
            os.write(terminal, text.encode())

        until("modelfs> ")
        type_("CREATE CATALOG\n")
        until("-> ")
        type_("prod;\n")
        until("OK\r\nmodelfs> ")
        type_("SHOW CATALOGS;\n")
        until("modelfs> ")
        self.assertIn("prod", got)
        type_("DROP CATALOG `prod\n")  # in quotes: Ctrl-C is the way out
        until("-> ")
        type_("\x03")
        until("modelfs> ")
        type_("FROB;\n")
        until("modelfs> ")
        self.assertIn('modelfs: line 1, column 1: expected', got)
        type_("SHOW GROUPS LIKE 'none';\n")
        until("(no rows)\r\nmodelfs> ")
        type_("\x04")
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)
        history = os.path.join(state, "modelfs", "sql_history")
        self.assertEqual(os.stat(history).st_mode & 0o777, 0o600)
        with open(history) as file:
            self.assertIn("prod;", file.read())
        self.assertEqual(self.ok("ls", "--names"), "prod\n")


class Register(Case):
    def setUp(self):
        super().setUp()
        self.ready_registry()

    def stored(self, number=1):
        out = os.path.join(self.scratch, f"out{number}")
        self.ok("download", f"prod.ml.iris/{number}", out)
        return read_files(out)

    def test_a_snapshot_of_the_hubs_cache_needs_no_option(self):
        repo = os.path.join(self.scratch, "hub", "models--o--n")
        write_files(repo, {"blobs/0f": b"weights", "refs/main": b"c0ffee", "snapshots/c0ffee/README.md": b"text"})
        snapshot = os.path.join(repo, "snapshots", "c0ffee")
        os.symlink("../../blobs/0f", os.path.join(snapshot, "model.safetensors"))
        self.ok("register", snapshot, "prod.ml.iris")
        self.assertEqual(self.stored(), {"README.md": b"text", "model.safetensors": b"weights"})
        os.symlink("../../refs/main", os.path.join(snapshot, "bad"))
        self.refused(2, "register", snapshot, "prod.ml.iris", says="--dereference")

    def test_dereference_follows_links_out_of_the_directory(self):
        source = write_files(os.path.join(self.scratch, "model"), {"a": b"a"})
        write_files(os.path.join(self.scratch, "elsewhere"), {"w": b"weights"})
        os.symlink("../elsewhere", os.path.join(source, "folder"))
        self.refused(2, "register", source, "prod.ml.iris", says="folder: is a symlink to")
        self.ok("register", source, "prod.ml.iris", "--dereference")
        self.assertEqual(self.stored(), {"a": b"a", "folder/w": b"weights"})

    def test_excluded_files_are_left_out_and_leftovers_are_reported(self):
        source = write_files(os.path.join(self.scratch, "model"),
                             {"a": b"a", ".git/config": b"", "sub/__pycache__/a.pyc": b"", "old.ckpt": b"o",
                              ".cache/huggingface/download/x": b""})
        self.ok("register", source, "prod.ml.iris", "--exclude", ".git", "--exclude", "__pycache__/", "--exclude",
                "*.ckpt", "--exclude", ".cache/huggingface", "--exclude", ".cache")
        self.assertEqual(self.stored(), {"a": b"a"})
        done = run("register", source, "prod.ml.iris", home=self.home)
        self.assertEqual((done.returncode, done.stdout), (0, "prod.ml.iris/2\n"))
        hints = [line for line in done.stderr.splitlines() if line.startswith("modelfs: hint: ")]
        self.assertEqual([hint.split()[2] for hint in hints], [".git", "sub/__pycache__", ".cache/huggingface"])
        self.assertEqual(len(self.stored(2)), 5)


class Story(Case):
    def test_a_registry_from_init_to_gc(self):
        self.assertEqual(self.ok("init"), "")
        self.assertEqual(os.stat(self.home).st_mode & 0o777, 0o700)
        self.refused(4, "init", says="a registry already")

        # Catalogs, schemas, models.
        self.refused(3, "mkdir", "prod.ml")
        self.ok("mkdir", "prod")
        self.ok("mkdir", "prod.ml")
        self.refused(4, "mkdir", "prod")
        self.ok("mkdir", "-p", "prod.ml")
        made = self.json("mkdir", "-p", "staging.ml.iris", "--description", "petals")
        self.assertEqual((made["kind"], made["full_name"], made["comment"]), ("model", "staging.ml.iris", "petals"))
        self.assertEqual([c["name"] for c in self.json("ls")], ["prod", "staging"])
        self.assertEqual(self.ok("ls", "--names", "staging.ml"), "staging.ml.iris\n")

        # Register: creates the model, prints the version's name.
        model = self.model()
        self.refused(3, "register", model, "dev.ml.iris", says="modelfs mkdir -p dev.ml")
        self.assertEqual(
            self.ok("register", model, "prod.ml.iris", "--alias", "Champion", "--tag", "task=classification",
                    "--tag", "note=a=b", "--description", "first", "--run-id", "r1"),
            "prod.ml.iris/1\n")
        version = self.json("show", "prod.ml.iris@Champion")
        self.assertEqual(version["version"], 1)
        self.assertEqual(version["status"], "READY")
        self.assertEqual([(a["alias_name"], a["version"]) for a in version["aliases"]], [("Champion", 1)])
        self.assertEqual(version["tags"], {"task": "classification", "note": "a=b"})
        self.assertEqual(version["comment"], "first")
        self.assertEqual(version["run_id"], "r1")
        self.assertEqual(version["source"], os.path.realpath(model))
        self.assertEqual(version["file_count"], len(MODEL_FILES))
        self.assertEqual(version["size_bytes"], sum(map(len, MODEL_FILES.values())))
        self.assertTrue(version["digest"].startswith("sha256:"))
        self.assertTrue(version["signature"])

        # The same bytes again are the next version; a number that is not the next is refused.
        self.refused(6, "register", model, "prod.ml.iris/7")
        self.assertEqual(self.ok("register", model, "prod.ml.iris/2", "--source", "s3://b/k"), "prod.ml.iris/2\n")
        second = self.json("show", "models:/prod.ml.iris/2")
        self.assertEqual((second["source"], second["digest"]), ("s3://b/k", version["digest"]))
        self.assertEqual([v["version"] for v in self.json("ls", "prod.ml.iris")], [1, 2])

        files = self.json("ls", "prod.ml.iris/2")
        self.assertEqual({f["path"]: f["size_bytes"] for f in files}, {p: len(c) for p, c in MODEL_FILES.items()})
        self.assertEqual(
            {f["path"]: f["digest"] for f in files},
            {p: "sha256:" + hashlib.sha256(c).hexdigest() for p, c in MODEL_FILES.items()})

        # Aliases.
        self.ok("alias", "set", "prod.ml.iris@Challenger", "2")
        self.ok("alias", "set", "prod.ml.iris@Champion", "2")
        self.assertEqual([(a["alias_name"], a["version"]) for a in self.json("alias", "ls", "prod.ml.iris")],
                         [("Challenger", 2), ("Champion", 2)])
        self.assertEqual(self.ok("resolve", "prod.ml.iris@Champion"), "prod.ml.iris/2\n")
        self.ok("alias", "rm", "prod.ml.iris@Challenger")
        self.refused(3, "alias", "rm", "prod.ml.iris@Challenger")
        self.refused(3, "alias", "set", "prod.ml.iris@Champion", "9")
        self.refused(2, "alias", "set", "prod.ml.iris@latest", "1")
        self.refused(2, "alias", "set", "prod.ml.iris@Champion", "two")
        self.refused(2, "alias", "set", "prod.ml.iris", "1", says="is not an alias")

        # Tags and descriptions, on the model and on a version.
        self.ok("tag", "set", "prod.ml.iris", "task", "regression")
        self.ok("tag", "set", "prod.ml.iris/2", "loss", "-0.5")
        self.assertEqual(self.json("tag", "ls", "prod.ml.iris"), {"task": "regression"})
        self.assertEqual(self.json("tag", "ls", "prod.ml.iris/2"), {"loss": "-0.5"})
        self.ok("tag", "rm", "prod.ml.iris/2", "loss")
        self.refused(3, "tag", "rm", "prod.ml.iris/2", "loss")
        self.refused(2, "tag", "set", "prod.ml.iris", "a.b", "x")
        self.ok("describe", "prod.ml.iris", "-", stdin="two\nlines\n")
        self.ok("describe", "prod.ml.iris/2", "fine")
        shown = self.json("show", "prod.ml.iris")
        self.assertEqual((shown["comment"], shown["latest_version"]), ("two\nlines", 2))
        self.assertIn("description: two\n             lines\n", self.ok("show", "prod.ml.iris"))

        # Search.
        self.assertEqual([m["full_name"] for m in self.json("search", "tags.task = 'regression'")], ["prod.ml.iris"])
        self.assertEqual(self.ok("search", "--names", "name LIKE 'ir%'"), "prod.ml.iris\nstaging.ml.iris\n")
        self.refused(2, "search", "name ~ 'x'")

        # A copy stores no new bytes: it has the same digest, the fields are copied, the aliases are not.
        self.assertEqual(self.ok("cp", "prod.ml.iris@Champion", "staging.ml.iris"), "staging.ml.iris/1\n")
        copy = self.json("show", "staging.ml.iris/1")
        self.assertEqual((copy["digest"], copy["aliases"], copy["source"], copy["comment"]),
                         (version["digest"], [], "models:/prod.ml.iris/2", "fine"))
        self.assertEqual(self.ok("cp", "-p", "prod.ml.iris/1", "dev.ml.iris"), "dev.ml.iris/1\n")
        self.refused(3, "cp", "prod.ml.iris/9", "prod.ml.none")
        self.refused(3, "show", "prod.ml.none")

        # Rename: the history stays.
        self.ok("rename", "prod.ml.iris", "flowers")
        self.refused(3, "show", "prod.ml.iris")
        self.assertEqual(self.json("show", "prod.ml.flowers@Champion")["version"], 2)
        self.ok("rename", "prod.ml.flowers", "prod.ml.iris")
        self.refused(2, "rename", "prod.ml.iris", "staging.ml.iris", says="modelfs cp")
        self.refused(2, "rename", "prod.ml", "x", says="only models")

        # Download.
        target = os.path.join(self.scratch, "out")
        self.ok("download", "prod.ml.iris@Champion", target)
        self.assertEqual(read_files(target), MODEL_FILES)
        reads = self.audit("prod.ml.iris", "--action", "generateTemporaryModelVersionCredential")
        self.assertEqual([(read["requestParams"]["version_arg"], read["response"]["statusCode"]) for read in reads],
                         [("2", 200)])
        self.refused(4, "download", "prod.ml.iris/1", target, says="nothing was written")
        os.mkdir(os.path.join(self.scratch, "empty"))
        self.ok("download", "prod.ml.iris/1", os.path.join(self.scratch, "empty"))
        self.refused(2, "download", "prod.ml.iris", os.path.join(self.scratch, "x"), says="say which version")

        # Remove.
        self.refused(6, "rm", "prod.ml.iris/1", says="--yes")
        self.refused(6, "rm", "prod.ml.iris", says="--yes")
        self.refused(6, "rm", "prod")
        self.refused(2, "rm", "prod.ml.iris@Champion", says="modelfs alias rm")
        self.ok("rm", "prod.ml.iris/2", "--yes")
        self.assertEqual(self.json("alias", "ls", "prod.ml.iris"), [])
        self.assertEqual(self.ok("register", model, "prod.ml.iris"), "prod.ml.iris/3\n")
        self.ok("rm", "prod.ml.iris", "--yes")
        self.ok("rm", "prod.ml")
        self.ok("rm", "prod")

        # gc keeps what staging and dev still need.
        self.json("gc", "--dry-run")
        self.json("gc")
        shutil.rmtree(target)
        self.ok("download", "staging.ml.iris/1", target)
        self.assertEqual(read_files(target), MODEL_FILES)
        self.assertEqual(self.json("fsck")["damaged"], [])

        # The audit log has all of it, in order, and is whole.
        sequences = [record["sequence"] for record in self.audit()]
        self.assertGreater(len(sequences), 15)
        self.assertEqual(sequences, list(range(1, len(sequences) + 1)))
        some = self.audit("staging.ml.iris")
        self.assertTrue(some)
        self.assertTrue(all(record["fullName"].startswith("staging.ml.iris") for record in some), some)
        self.assertEqual([record["sequence"] for record in self.audit("--after", "2", "--limit", "3")], [3, 4, 5])
        self.assertEqual([record["sequence"] for record in self.audit("--limit", "2")], sequences[-2:])
        self.refused(2, "audit", "--limit", "-1", says="is not a number of 0 or more")
        self.assertEqual(self.json("audit", "verify"),
                         {"kind": "audit_check", "records": len(sequences), "whole": True})

    def test_audit_of_a_name_that_never_existed_is_not_found(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        for name in ("nosuch", "prod.nosuch", "prod.ml.nosuch"):
            self.refused(3, "audit", name, says="no such")
        self.ok("rm", "--yes", "prod.ml.iris")
        self.assertIn("createModelVersion", self.ok("audit", "prod.ml.iris"))
        self.assertEqual(self.ok("audit", "prod.ml.iris", "--after", "9999"), "")
        self.assertEqual(self.audit("prod.ml.iris", "--after", "9999"), [])

    def test_the_audit_log_is_filtered_moved_and_proved(self):
        self.ready_registry()
        self.ok("mkdir", "prod.ml.iris")
        self.ok("tag", "set", "prod.ml.iris", "task", "flowers")
        me = self.audit()[0]["userIdentity"]["email"]
        names = [record["actionName"] for record in self.audit("prod.ml")]
        self.assertEqual(names, ["createSchema", "createRegisteredModel", "setRegisteredModelTag"])
        self.assertEqual(len(self.audit("--since", "1h", "--principal", me.upper())), 5)
        self.assertEqual(self.audit("--until", "1h"), [])
        self.assertEqual(self.audit("--principal", "nobody-of-this-name"), [])
        self.assertEqual(self.audit("--refused"), [])
        (tagged,) = self.audit("--action", "setRegisteredModelTag")
        self.assertEqual(tagged["requestParams"], {"full_name_arg": "prod.ml.iris", "key": "task", "value": "flowers"})
        self.assertEqual(tagged["identityMetadata"], {"runBy": me, "runAs": me})
        self.assertEqual(tagged["response"], {"statusCode": 200, "errorMessage": None, "result": None})
        self.assertEqual((tagged["version"], tagged["proof"], tagged["userAgent"]), ("2.0", "process", "cli"))
        self.assertIn("setRegisteredModelTag prod.ml.iris", self.ok("audit", "prod.ml.iris"))

        self.assertIn("moved 4 records to 1 new file", self.ok("audit", "rotate", "--keep", "1"))
        self.assertEqual(self.json("audit", "rotate", "--before", "1h"),
                         {"kind": "audit_rotation", "records": 0, "files": 0})
        self.assertEqual([record["actionName"] for record in self.audit("prod.ml")], names)
        self.assertEqual(self.json("audit", "verify"), {"kind": "audit_check", "records": 6, "whole": True})
        moved = os.path.join(self.home, "audit", "1-4.jsonl")
        with open(moved) as file:
            text = file.read()
        os.chmod(moved, 0o600)
        with open(moved, "w") as file:
            file.write(text.replace('"prod"', '"prof"', 1))
        self.refused(8, "audit", "verify", says="audit record 2 reads otherwise")

    def test_a_missing_rotated_file_is_reported_and_the_rest_can_be_read(self):
        self.ready_registry()
        self.ok("mkdir", "prod.ml.iris")
        self.ok("audit", "rotate", "--keep", "2")
        self.ok("audit", "rotate", "--keep", "2")
        names = sorted(os.listdir(os.path.join(self.home, "audit")))
        self.assertEqual(names, ["1-2.jsonl", "3-3.jsonl"])
        kept = os.path.join(self.scratch, "kept")
        os.rename(os.path.join(self.home, "audit", "1-2.jsonl"), kept)
        for arguments in (["audit"], ["audit", "prod"], ["audit", "verify"], ["audit", "--limit", "100"]):
            said = self.refused(8, *arguments, says="audit records 1 to 2 are missing")
            self.assertIn("audit/1-2.jsonl", said)
            self.assertNotIn("tampered", said)
        self.assertIn("1-2.jsonl", run("fsck", home=self.home).stdout)
        self.assertEqual([record["sequence"] for record in self.audit("--after", "2")], [3, 4, 5, 6])
        self.assertEqual(len(self.audit("--limit", "3")), 3)
        self.assertIn("createSchema", self.ok("audit", "prod", "--after", "2"))
        os.rename(kept, os.path.join(self.home, "audit", "1-2.jsonl"))
        self.ok("audit", "verify")
        forged = os.path.join(self.home, "audit", "400-401.jsonl")
        shutil.copyfile(os.path.join(self.home, "audit", "1-2.jsonl"), forged)
        self.refused(8, "audit", "verify", says="400-401.jsonl does not belong to the audit log")

    def test_a_command_refused_at_a_gate_is_recorded_as_the_requested_action(self):
        self.ready_registry()
        model = self.model()
        self.ok("register", model, "prod.ml.iris")
        self.ok("principal", "create", "eve@x.org")
        name = "prod.ml.iris"
        opened = "generateTemporaryModelVersionCredential"
        out = os.path.join(self.scratch, "out")
        rows = [
            (["show", "prod"], "getCatalog", "prod", {}),
            (["show", name], "getRegisteredModel", name, {}),
            (["show", "prod.ml.never"], "getRegisteredModel", "prod.ml.never", {}),
            (["show", f"{name}/1"], "getModelVersion", name, {"version_arg": "1"}),
            (["show", f"{name}@A"], "getModelVersion", name, {"alias_arg": "A"}),
            (["alias", "set", f"{name}@A", "1"], "setRegisteredModelAlias", name,
             {"alias_arg": "A", "version_num": "1"}),
            (["alias", "rm", f"{name}@A"], "deleteRegisteredModelAlias", name, {"alias_arg": "A"}),
            (["tag", "set", name, "k", "v"], "setRegisteredModelTag", name, {"key": "k", "value": "v"}),
            (["tag", "set", f"{name}/1", "k", "v"], "setModelVersionTag", name, {"version_arg": "1"}),
            (["tag", "rm", name, "k"], "deleteRegisteredModelTag", name, {"key": "k"}),
            (["tag", "set", "prod", "k", "v"], "setCatalogTag", "prod", {}),
            (["tag", "rm", "prod", "k"], "deleteCatalogTag", "prod", {}),
            (["describe", name, "x"], "updateRegisteredModel", name, {}),
            (["describe", f"{name}/1", "x"], "updateModelVersion", name, {"version_arg": "1"}),
            (["rename", name, "rose"], "updateRegisteredModel", name, {"new_name": "rose"}),
            (["rm", "--yes", name], "deleteRegisteredModel", name, {}),
            (["rm", "--yes", f"{name}/1"], "deleteModelVersion", name, {"version_arg": "1"}),
            (["owner", "set", name, "eve@x.org"], "updateRegisteredModel", name, {"owner": "eve@x.org"}),
            (["grant", "EXECUTE", name, "eve@x.org"], "updatePermissions", name, {}),
            (["revoke", "EXECUTE", name, "eve@x.org"], "updatePermissions", name, {}),
            (["grants", name], "getPermissions", name, {}),
            (["set", "prod.ml", "max-models", "5"], "updateSchema", "prod.ml", {}),
            (["mkdir", "prod.ml.rose"], "createRegisteredModel", "prod.ml.rose", {"name": "rose"}),
            (["mkdir", "prod.other"], "createSchema", "prod.other", {"name": "other"}),
            (["register", model, name], "createModelVersion", name, {}),
            (["register", model, "prod.ml.rose"], "createModelVersion", "prod.ml.rose", {}),
            (["cp", f"{name}/1", "prod.ml.rose"], opened, name, {"version_arg": "1"}),
            (["download", f"{name}/1", out], opened, name, {"version_arg": "1"}),
            (["sql", f"DROP MODEL {name}"], "deleteRegisteredModel", name, {}),
            (["sql", f"GRANT EXECUTE ON MODEL {name} TO `eve@x.org`"], "updatePermissions", name, {}),
            (["sql", "CREATE SCHEMA prod.other"], "createSchema", "prod.other", {}),
            (["audit", "settings", "--opens", "each"], "getAuditLog", "", {}),
        ]
        for arguments, action, full_name, params in rows:
            with self.subTest(arguments):
                last = self.audit("--limit", "1")[0]["sequence"]
                # Hidden objects are absent for eve (3), and refused in the log.
                self.assertIn(run("--as", "eve@x.org", *arguments, home=self.home).returncode, (3, 5))
                found = [record for record in self.audit("--after", str(last)) if record["response"]["statusCode"] == 403]
                self.assertEqual({(record["actionName"], record["fullName"]) for record in found}, {(action, full_name)})
                record = found[0]
                self.assertEqual({**record["requestParams"], **params}, record["requestParams"])
                self.assertIn("eve@x.org", record["response"]["errorMessage"])
        self.ok("audit", "verify")

    def test_audit_settings_are_stored_and_their_change_is_recorded(self):
        self.ready_registry()
        settings = {"opens": "counted", "kind": "audit_settings", "rotate_size_bytes": 8 << 20, "rotate_age_s": 90 * 86400}
        self.assertEqual(self.json("audit", "settings"), settings)
        settings = {"opens": "each", "kind": "audit_settings", "rotate_size_bytes": 1 << 20, "rotate_age_s": 12 * 3600}
        self.assertEqual(self.json("audit", "settings", "--opens", "each", "--rotate-size", "1MiB", "--rotate-age", "12h"),
                         settings)
        self.assertEqual(self.json("audit", "settings"), settings)
        (changed,) = self.audit("--action", "updateMetastore")
        self.assertEqual(changed["requestParams"]["audit_opens"], "each")
        for wrong in (["--opens", "few"], ["--rotate-size", "1"], ["--rotate-age", "1s"], ["--rotate-age", "soon"]):
            self.refused(2, "audit", "settings", *wrong)

    def test_a_command_moves_old_records_if_no_mount_has_done_it(self):
        self.ready_registry()
        self.ok("audit", "settings", "--rotate-size", "64KiB")
        for act in ("CREATE", "DROP"):
            self.ok("sql", "; ".join(f"{act} SCHEMA prod.{'s' * 200}{number}" for number in range(200)))
        self.ok("ls")
        self.assertEqual([name.split("-")[0] for name in os.listdir(os.path.join(self.home, "audit"))], ["1"])
        self.ok("audit", "verify")

    def test_the_help_of_audit_names_the_unrecorded_refusals(self):
        said = " ".join(self.ok("audit", "--help").split())
        self.assertIn("no refusals by the kernel of a shared mount", said)

    def test_the_audit_log_is_followed(self):
        self.ready_registry()
        env = dict(os.environ, MODELFS_REGISTRY=self.home)
        following = subprocess.Popen([BINARY, "audit", "-f", "--json", "--limit", "1", "prod.ml"],
                                     env=env, stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(json.loads(following.stdout.readline())["actionName"], "createSchema")
            self.ok("mkdir", "other")  # outside the filter
            self.ok("mkdir", "prod.ml.iris")
            self.assertEqual(json.loads(following.stdout.readline())["actionName"], "createRegisteredModel")
            self.ok("mkdir", "prod.ml.rose")
            self.assertEqual(json.loads(following.stdout.readline())["fullName"], "prod.ml.rose")
        finally:
            following.kill()
            following.wait()
            following.stdout.close()

    def test_gc_compact_shrinks_the_data_file_while_nothing_uses_it(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        for act in ("CREATE", "DROP"):
            self.ok("sql", "; ".join(f"{act} SCHEMA prod.s{number}" for number in range(400)))
        self.ok("audit", "rotate")
        data = os.path.join(self.home, "registry", "data.mdb")
        before = os.path.getsize(data)
        planned = self.json("gc", "--compact", "--dry-run")
        self.assertEqual(os.path.getsize(data), before)
        following = subprocess.Popen([BINARY, "-r", self.home, "audit", "-f", "--json", "--limit", "1"],
                                     stdout=subprocess.PIPE, text=True)
        try:
            following.stdout.readline()
            said = self.refused(6, "gc", "--compact", says=f"modelfs (pid {following.pid})")
            self.assertIn("unmount or end its users", said)
        finally:
            following.kill()
            following.wait()
            following.stdout.close()
        done = self.json("gc", "--compact")
        self.assertEqual((done["data_bytes_before"], done["data_bytes_after"]), (before, os.path.getsize(data)))
        self.assertLess(done["data_bytes_after"], before // 2)
        self.assertLessEqual(done["data_bytes_after"], planned["data_bytes_after"])
        self.assertEqual(self.json("fsck")["registry_problems"], [])
        self.ok("audit", "verify")
        self.assertIn("registry/data.mdb", self.ok("gc", "--compact"))
        self.assertEqual(self.json("show", "prod.ml.iris/1")["version"], 1)

    def test_gc_removes_unneeded_blobs(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        other = self.model("other", {"data": os.urandom(1 << 20)})
        self.ok("register", other, "prod.ml.other")
        self.ok("rm", "--yes", "prod.ml.other")
        planned = self.json("gc", "--dry-run")
        done = self.json("gc")
        self.assertGreaterEqual(done["bytes_removed"], 1 << 20)
        self.assertEqual(planned["blobs_removed"], done["blobs_removed"])
        self.assertEqual(self.json("gc")["blobs_removed"], 0)
        self.assertEqual(self.json("fsck")["damaged"], [])
        self.ok("download", "prod.ml.iris/1", os.path.join(self.scratch, "out"))

    def test_gc_reports_the_blobs_that_a_running_upload_holds_back(self):
        self.ready_registry()
        # Sparse, and so large that the upload is stopped long before its end: by then it holds a lease.
        large = self.model("large", {"readme": b"x"})
        with open(os.path.join(large, "weights"), "wb") as file:
            file.truncate(16 << 30)
        env = {key: value for key, value in os.environ.items() if not key.startswith("MODELFS_")}
        upload = subprocess.Popen([BINARY, "-r", self.home, "register", large, "prod.ml.large"], env=env,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not os.listdir(os.path.join(self.home, "staging")):
                self.assertIsNone(upload.poll())
                time.sleep(0.001)
            upload.send_signal(signal.SIGSTOP)
            self.ok("register", self.model("other", {"data": os.urandom(1 << 20)}), "prod.ml.other")
            self.ok("rm", "--yes", "prod.ml.other")
            done = self.json("gc")
            self.assertEqual(done["blobs_removed"], 0)
            self.assertEqual(done["blobs_held_back"], 3, "the file, its tree and its times")
            self.assertGreaterEqual(done["bytes_held_back"], 1 << 20)
            self.assertIn('run "modelfs gc" again later', self.ok("gc"))
        finally:
            upload.kill()
            upload.wait()
        done = self.json("gc")
        self.assertEqual((done["blobs_removed"], done["blobs_held_back"], done["bytes_held_back"]), (3, 0, 0))
        self.assertNotIn("again", self.ok("gc"))

    def test_an_mlmodel_without_a_signature_is_refused_with_file_and_reason(self):
        self.ready_registry()
        unsigned = self.model("unsigned", {"MLmodel": b"flavors: {}\n", "w": b"x"})
        message = self.refused(6, "register", unsigned, "prod.ml.iris", says="MLmodel")
        self.assertIn("signature", message)
        self.refused(3, "show", "prod.ml.iris")  # not even an empty model is left
        plain = self.model("plain", {"weights.gguf": b"x"})
        self.ok("register", plain, "prod.ml.plain")

        strict = os.path.join(self.scratch, "strict")
        self.ok("init", strict, "--signature", "required", home="")
        self.ok("mkdir", "-p", "prod.ml", home=strict)
        self.refused(6, "register", plain, "prod.ml.plain", home=strict)
        self.ok("register", self.model(), "prod.ml.iris", home=strict)

    def test_register_refuses_unsuitable_sources_and_options(self):
        self.ready_registry()
        bare = os.path.join(self.scratch, "bare")
        os.mkdir(bare)
        self.refused(6, "register", bare, "prod.ml.bare", says=bare + ": it contains no file")
        self.refused(3, "register", os.path.join(self.scratch, "none"), "prod.ml.iris")
        lone = os.path.join(self.scratch, "file")
        with open(lone, "w") as file:
            file.write("x")
        self.refused(2, "register", lone, "prod.ml.iris", says="is a file")
        model = self.model("linked", {"w": b"x"})
        os.symlink("/etc/passwd", os.path.join(model, "out"))
        self.refused(2, "register", model, "prod.ml.iris", says="out")
        os.remove(os.path.join(model, "out"))
        os.mkfifo(os.path.join(model, "pipe"))
        self.refused(2, "register", model, "prod.ml.iris", says="pipe")
        os.remove(os.path.join(model, "pipe"))
        self.refused(2, "register", self.scratch, "prod.ml.iris", says="registry")
        for bad in ("--alias=latest", "--alias=a b", "--tag=novalue", "--tag=a.b=c"):
            self.refused(2, "register", model, "prod.ml.iris", bad)
        self.refused(3, "show", "prod.ml.iris")
        self.assertEqual(self.ok("register", model, "prod.ml.iris"), "prod.ml.iris/1\n")

    def test_the_right_to_register_is_checked_before_the_directory_is_read(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        self.ok("principal", "create", "bob@x.org")
        self.ok("grant", "USE_CATALOG,USE_SCHEMA,EXECUTE", "prod", "bob@x.org")
        piped = self.model("piped", {"w": b"x"})
        os.mkfifo(os.path.join(piped, "pipe"))
        absent = os.path.join(self.scratch, "none")
        for source in (absent, piped):
            for says, target in (("create a version of model prod.ml.iris", ["prod.ml.iris"]),
                                 ("create a model in schema prod.ml", ["prod.ml.other"]),
                                 ("create a schema in catalog prod", ["prod.other.iris", "--parents"]),
                                 ("create a catalog in this registry", ["other.ml.iris", "--parents"])):
                self.refused(5, "--as", "bob@x.org", "register", source, *target, says=says)
        refusals = [record["actionName"] for record in self.audit("--refused")]
        self.assertEqual(set(refusals),
                         {"createModelVersion", "createRegisteredModel", "createSchema", "createCatalog"})
        self.refused(3, "--as", "bob@x.org", "register", absent, "prod.none.iris", says="prod.none: no such schema")
        self.ok("grant", "CREATE_MODEL_VERSION", "prod.ml.iris", "bob@x.org")
        self.refused(3, "--as", "bob@x.org", "register", absent, "prod.ml.iris", says=absent)
        self.refused(2, "--as", "bob@x.org", "register", piped, "prod.ml.iris", says="pipe")
        os.remove(os.path.join(piped, "pipe"))
        self.assertEqual(self.ok("--as", "bob@x.org", "register", piped, "prod.ml.iris"), "prod.ml.iris/2\n")

    def test_wrong_arguments_are_refused_before_the_directory_is_walked(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        self.ok("mkdir", "prod.full")
        self.ok("set", "prod.full", "max-models", "0")
        piped = self.model("piped", {"w": b"x"})
        os.mkfifo(os.path.join(piped, "pipe"))
        tags = [f"--tag=k{i}=v" for i in range(51)]
        for exit_code, says, *arguments in (
                (6, "the next version is 2, not 99", "prod.ml.iris/99"),
                (6, "the next version is 1, not 2", "prod.ml.new/2"),
                (6, "the next version is 1, not 2", "other.ml.new/2", "--parents"),
                (2, "run id", "prod.ml.iris", "--run-id", "a\nb"),
                (2, "source", "prod.ml.iris", "--source", "s" * 9000),
                (6, "description", "prod.ml.iris", "--description", "d" * 65537),
                (2, "tag", "prod.ml.iris", "--tag=a.b=c"),
                (6, "51 tags", "prod.ml.iris", *tags),
                (6, "51 tags", "prod.ml.new", *tags),
                (6, "max-models", "prod.full.iris")):
            with self.subTest(arguments[:2]):
                self.refused(exit_code, "register", piped, *arguments, says=says)
        self.refused(2, "register", piped, "prod.ml.iris/2", *tags[:50], says="pipe")
        os.remove(os.path.join(piped, "pipe"))
        self.assertEqual(self.ok("register", piped, "prod.ml.iris/2", *tags[:50]), "prod.ml.iris/2\n")

    def test_hostile_names_are_refused_and_create_nothing(self):
        self.ok("init")
        self.ok("mkdir", "-p", "prod.ml")
        attacks = ["..", ".", "a..b", "/", "a/b", "a" * 256, "Prod", "a b", "a\nb", "prod\n", "a\x7f", "e\u0301",
                   "a\u202eb", "a\u200bb", "\ufeffa", "a@b", "a\x01"]
        for name in attacks:
            with self.subTest(name):
                self.refused(2, "mkdir", name)
                self.refused(2, "register", self.model(), "prod.ml." + name)
        done = subprocess.run([BINARY, "-r", self.home, "mkdir", b"\xff\xfe"], capture_output=True)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(self.ok("ls", "--names"), "prod\n")
        self.assertEqual(self.ok("ls", "--names", "prod.ml"), "")
        self.ok("mkdir", "\u00e9t\u00e9")
        self.ok("mkdir", "b" * 255)

    def test_fsck_names_the_damage_and_the_versions_that_need_it(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        digest = hashlib.sha256(b"small").hexdigest()
        blob = os.path.join(self.home, "objects", digest[:2], digest[2:])
        os.chmod(blob, 0o600)
        with open(blob, "wb") as file:
            file.write(b"smalL")
        # A blob in quarantine is missing for its versions, until it is stored again.
        for arguments in (["fsck"], ["fsck", "--repair"], ["fsck"]):
            done = run(*arguments, home=self.home)
            self.assertEqual(done.returncode, 8)
            self.assertIn(digest, done.stdout)
            self.assertIn("needed by prod.ml.iris/1", done.stdout)
        self.assertFalse(os.path.exists(blob))
        # Registering the same files again restores the version.
        self.ok("register", self.model(), "prod.ml.iris")
        self.assertEqual(self.json("fsck")["damaged"], [])
        out = os.path.join(self.scratch, "out")
        self.ok("download", "prod.ml.iris/1", out)
        self.assertEqual(read_files(out), MODEL_FILES)

    def test_fsck_names_a_truncated_file_once_and_the_version_that_needs_it(self):
        self.ready_registry()
        self.ok("register", self.model("large", {"weights": os.urandom(5 << 20)}), "prod.ml.iris")
        objects = [os.path.join(path, name)
                   for path, _, names in os.walk(os.path.join(self.home, "objects")) for name in names]
        self.assertEqual(len(objects), 4, "the file, its chunk list, the tree and its times")
        for blob in objects:
            with self.subTest(size=os.path.getsize(blob)):
                with open(blob, "rb") as file:
                    whole = file.read()
                info = os.stat(blob)
                os.chmod(blob, 0o600)
                os.truncate(blob, len(whole) // 2)
                done = run("fsck", home=self.home)
                self.assertEqual(done.returncode, 8)
                digest = os.path.basename(os.path.dirname(blob)) + os.path.basename(blob)
                self.assertEqual(done.stdout.splitlines()[:2], [
                    f"damaged: sha256:{digest}: its bytes do not have that SHA-256", "  needed by prod.ml.iris/1"])
                self.assertEqual(done.stdout.count("damaged: "), 1)
                with open(blob, "wb") as file:
                    file.write(whole)
                os.utime(blob, ns=(info.st_atime_ns, info.st_mtime_ns))
        self.assertEqual(self.json("fsck")["damaged"], [])

    def test_every_command_says_to_restore_a_damaged_registry(self):
        self.ready_registry()
        for number in range(5):
            self.ok("register", self.model(), f"prod.ml.iris{number}")
        self.assertEqual(self.json("fsck")["registry_problems"], [])
        data = os.path.join(self.home, "registry", "data.mdb")
        with open(data, "rb") as file:
            whole = file.read()
        restore = "stop every process that uses it and restore it from a backup"
        found = 0
        for page in range(2, len(whole) // 4096):
            with open(data, "wb") as file:
                file.write(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
            done = run("fsck", home=self.home)
            if done.returncode == 0:
                self.ok("audit", "verify")  # a page that nothing uses
                continue
            found += 1
            self.assertIn(restore, done.stderr, page)
            # LMDB itself may end a process that meets such a page.
            self.assertIn(done.returncode, (8, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGSEGV), page)
            for command in (["ls", "prod.ml"], ["audit", "verify"], ["show", "prod.ml.iris3"]):
                done = run(*command, home=self.home)
                if done.returncode != 0:
                    self.assertIn(restore, done.stderr, (page, command))
        self.assertGreater(found, 3)
        # Changed bytes that leave every page well-formed.
        with open(data, "wb") as file:
            file.write(whole.replace(b"createModelVersion", b"CreateModelVersion"))
        done = run("fsck", home=self.home)
        self.assertEqual(done.returncode, 8)
        self.assertIn("registry: audit record", done.stdout)
        self.assertIn(restore, done.stderr)
        with open(data, "wb") as file:
            file.write(whole)
        self.assertEqual(self.json("fsck")["registry_problems"], [])

    def test_registering_again_repairs_unnoticed_damage(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        for content in filter(None, MODEL_FILES.values()):
            digest = hashlib.sha256(content).hexdigest()
            blob = os.path.join(self.home, "objects", digest[:2], digest[2:])
            os.chmod(blob, 0o600)
            with open(blob, "r+b") as file:
                file.write(bytes([content[0] ^ 1]))
        done = run("register", self.model(), "prod.ml.iris", home=self.home)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr.count("blob_quarantined"), 3)  # the operator is notified
        self.assertEqual(self.json("fsck")["damaged"], [])
        out = os.path.join(self.scratch, "out")
        self.ok("download", "prod.ml.iris/1", out)
        self.assertEqual(read_files(out), MODEL_FILES)

    def test_a_home_may_be_a_relative_path_with_a_trailing_slash(self):
        with tempfile.TemporaryDirectory() as folder:
            def here(*arguments):
                done = subprocess.run([BINARY, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
                self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)

            here("-r", "new", "init")
            here("-r", "./new/", "mkdir", "prod")
            here("-r", "deep/er/", "init")
            here("-r", "deep/er", "ls")

    def test_init_takes_a_new_or_empty_directory_and_makes_it_private(self):
        os.mkdir(self.home, 0o755)
        with open(os.path.join(self.home, "thesis.tex"), "w"):
            pass
        self.refused(6, "init", says="not empty")
        self.assertEqual(os.listdir(self.home), ["thesis.tex"])
        os.remove(os.path.join(self.home, "thesis.tex"))
        self.ok("init")
        self.assertEqual(os.stat(self.home).st_mode & 0o777, 0o700)

    def test_a_home_without_its_data_file_is_damaged_and_not_created_again(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        registry = os.path.join(self.home, "registry")
        kept = os.path.join(self.scratch, "kept")
        shutil.copytree(registry, kept)
        for lose in (lambda: os.remove(os.path.join(registry, "data.mdb")), lambda: shutil.rmtree(registry)):
            lose()
            for command in (["init"], ["ls"], ["gc"], ["fsck"], ["register", self.model(), "prod.ml.iris"],
                            ["mount", self.scratch + "/out", "-d"]):
                with self.subTest(command):
                    self.refused(8, *command, says="restore registry/data.mdb from a backup")
            self.assertFalse(os.path.exists(os.path.join(registry, "data.mdb")))
        os.makedirs(registry, exist_ok=True)
        shutil.copy(os.path.join(kept, "data.mdb"), registry)
        self.assertEqual(self.json("gc")["blobs_removed"], 0)
        self.assertEqual(self.json("fsck")["damaged"], [])
        out = os.path.join(self.scratch, "out")
        self.ok("download", "prod.ml.iris/1", out)
        self.assertEqual(read_files(out), MODEL_FILES)

    def test_a_draft_also_keeps_init_from_creating_a_registry_again(self):
        self.ok("init")
        os.makedirs(os.path.join(self.home, "drafts", "1"))
        os.remove(os.path.join(self.home, "registry", "data.mdb"))
        self.refused(8, "init", says="restore registry/data.mdb from a backup")
        os.rmdir(os.path.join(self.home, "drafts", "1"))
        # A new registry could lose nothing any more.
        self.refused(8, "ls", says="begin anew: modelfs init")
        self.ok("init")
        self.assertEqual(self.ok("ls"), "")

    def test_a_registry_serves_only_its_owner(self):
        if os.geteuid() != 0:
            self.skipTest("only root can run a command as somebody else")
        os.chmod(self.scratch, 0o755)
        self.ready_registry()
        binary = os.path.join(self.scratch, "modelfs")
        shutil.copy(BINARY, binary)

        def as_nobody():
            os.setgid(65534)
            os.setuid(65534)

        def nobody(*arguments):
            return subprocess.run([binary, *arguments], preexec_fn=as_nobody, capture_output=True, text=True)

        done = nobody("-r", self.home, "ls")
        self.assertEqual((done.returncode, done.stdout), (5, ""), done.stderr)
        self.assertIn("another user", done.stderr)
        self.assertIn(pwd.getpwuid(0).pw_name, done.stderr)
        # Root does not open their registry either, where it would leave files that they cannot use.
        theirs = os.path.join(self.scratch, "theirs")
        os.mkdir(theirs)
        os.chown(theirs, 65534, 65534)
        self.assertEqual(nobody("init", theirs).returncode, 0)
        self.assertEqual(nobody("-r", theirs, "mkdir", "prod").returncode, 0)
        for command in (["ls"], ["mkdir", "mine"], ["show", "prod"], ["--as", "nobody", "ls"]):
            self.refused(5, *command, home=theirs, says="(uid 65534)")

        # The files get a new owner, and that user takes over the metastore by a command, which is recorded.
        self.refused(5, "init", "--take-over", theirs, home="", says="(uid 65534)")
        self.refused(2, "init", "--take-over", "--signature", "required", theirs, home="")
        subprocess.run(["chown", "-R", "0:0", theirs], check=True)
        self.refused(5, "mkdir", "mine", home=theirs)
        me = self.json("show", "metastore")["owner"]
        self.assertIn(f"{me} is the metastore's owner now; before, it was nobody",
                      self.ok("init", "--take-over", theirs, home=""))
        self.ok("mkdir", "mine", home=theirs)
        self.home = theirs
        last = [each for each in self.audit() if each["actionName"] == "takeOverMetastore"]
        self.assertEqual([each["requestParams"] for each in last], [{"owner": me, "previous_owner": "nobody"}])

    def test_rm_asks_on_a_terminal_and_deletes_only_after_yes(self):
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")
        for answer, code in (("n\n", 7), ("\n", 7), ("y\n", 0)):
            leader, follower = pty.openpty()
            process = subprocess.Popen([BINARY, "-r", self.home, "rm", "prod.ml.iris/1"], stdin=follower,
                                       stderr=follower)
            os.close(follower)
            asked = b""
            while b"[y/N] " not in asked:
                asked += os.read(leader, 1024)
            self.assertIn(b"prod.ml.iris/1: delete this version for good?", asked)
            os.write(leader, answer.encode())
            self.assertEqual(process.wait(timeout=60), code)
            os.close(leader)
        self.assertEqual(self.json("ls", "prod.ml.iris"), [])

    def test_a_whole_model_is_copied(self):
        self.ready_registry()
        self.ok("mkdir", "-p", "staging.ml")
        for number in range(1, 5):
            self.ok("register", self.model(files={"own": str(number).encode()}), "prod.ml.m")
        self.ok("rm", "--yes", "prod.ml.m/2")
        self.ok("rm", "--yes", "prod.ml.m/4")
        self.ok("alias", "set", "prod.ml.m@Champion", "3")
        self.ok("tag", "set", "prod.ml.m", "task", "regression")
        self.ok("tag", "set", "prod.ml.m/1", "loss", "0.5")
        self.ok("describe", "prod.ml.m", "about")

        self.refused(3, "cp", "prod.ml.m", "none.ml.m", says="modelfs mkdir -p none.ml")
        self.refused(2, "cp", "prod.ml.m", "prod.ml.m", says="onto itself")
        self.refused(3, "cp", "prod.ml.none", "staging.ml.m")
        self.refused(2, "cp", "prod.ml", "staging.ml.m")
        self.ok("set", "staging", "max-versions", "1")
        self.refused(6, "cp", "prod.ml.m", "staging.ml.m", says="max-versions")
        self.refused(3, "show", "staging.ml.m")  # nothing was created
        self.ok("set", "staging", "--unset", "max-versions")

        done = self.json("cp", "prod.ml.m", "staging.ml.m")
        self.assertEqual((done["full_name"], done["made"], done["comment"]), ("staging.ml.m", True, "about"))
        self.assertEqual(done["copied"], [{"source_version": n, "version": n} for n in (1, 3)])
        self.assertEqual(self.json("show", "staging.ml.m@Champion")["version"], 3)
        self.assertEqual(self.json("show", "staging.ml.m")["tags"], {"task": "regression"})
        self.assertEqual(self.json("show", "staging.ml.m/1")["tags"], {"loss": "0.5"})
        self.assertIn("has a copy of every READY version", self.ok("cp", "prod.ml.m", "staging.ml.m"))
        # The number of a version that was deleted in the source is not used again.
        self.assertEqual(self.ok("register", self.model(), "staging.ml.m"), "staging.ml.m/5\n")

        said = self.ok("cp", "-p", "prod.ml.m", "new.made.m")
        self.assertIn("new.made.m: a copy of prod.ml.m, with its version numbers", said)
        self.ok("register", self.model(), "staging.ml.own")
        said = self.ok("cp", "prod.ml.m", "staging.ml.own")
        self.assertIn("staging.ml.own was there: the versions have its next numbers", said)
        self.assertIn("staging.ml.own/3  prod.ml.m/3\n", said)
        self.assertEqual(self.json("show", "staging.ml.own")["aliases"], [])
        self.assertEqual(self.json("fsck")["registry_problems"], [])

    def test_gc_during_registers_copies_and_removals_removes_nothing_needed(self):
        self.ready_registry()
        shared = {"shared": b"s" * 70000, "MLmodel": SIGNED_MLMODEL}
        self.ok("mkdir", "prod.ml.kept")

        def worker(index):
            # Registers and removes the same bytes repeatedly, so that they are garbage half of the time.
            for turn in range(6):
                name = f"prod.ml.m{index}"
                model = self.model(f"m{index}", dict(shared, own=str((index, turn % 2)).encode() * 5000))
                for arguments in (["register", model, name], ["cp", f"{name}/{turn + 1}", "prod.ml.kept"],
                                  ["rm", "--yes", f"{name}/{turn + 1}"]):
                    done = run(*arguments, home=self.home)
                    if done.returncode != 0:
                        return f"{arguments}: {done.stderr}"
            return None

        with concurrent.futures.ThreadPoolExecutor() as pool:
            workers = [pool.submit(worker, index) for index in range(2)]
            while not all(done.done() for done in workers):
                self.json("gc")
            self.assertEqual([done.result() for done in workers], [None, None])
        self.assertEqual(self.json("fsck")["damaged"], [])
        self.assertEqual(len(self.json("ls", "prod.ml.kept")), 12)
        for number in range(1, 13):
            out = os.path.join(self.scratch, f"out{number}")
            self.ok("download", f"prod.ml.kept/{number}", out)
            self.assertEqual(read_files(out)["shared"], shared["shared"])


class Crashes(Case):
    """kill -9 at a named point: the command had its whole effect or none, and the registry keeps working."""

    def killed(self, point, *arguments):
        done = run(*arguments, home=self.home, MODELFS_FAIL_POINT=point)
        if done.returncode == 0:
            return False
        self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
        return True

    def check_whole(self, number_before):
        versions = [v for v in self.json("ls", "prod.ml.iris")]
        self.assertIn(len(versions) - number_before, (0, 1))
        for version in versions:
            self.assertEqual(version["status"], "READY")
            out = os.path.join(self.scratch, "out")
            shutil.rmtree(out, ignore_errors=True)
            self.ok("download", f"prod.ml.iris/{version['version']}", out)
            self.assertEqual(len(read_files(out)), version["file_count"])
        self.assertEqual(self.json("fsck")["damaged"], [])
        self.json("audit", "verify")
        return len(versions)

    def start(self):
        if not self.compiled_in():
            self.skipTest("this build has no fail points")
        self.ready_registry()
        self.ok("register", self.model(), "prod.ml.iris")

    def test_the_same_command_continues_a_killed_copy_of_a_model(self):
        self.start()
        for number in (2, 3, 4):
            self.ok("register", self.model(files={"own": str(number).encode()}), "prod.ml.iris")
        self.ok("rm", "--yes", "prod.ml.iris/2")
        self.ok("alias", "set", "prod.ml.iris@Champion", "3")
        self.ok("tag", "set", "prod.ml.iris", "task", "x")
        want = {1: "models:/prod.ml.iris/1", 3: "models:/prod.ml.iris/3", 4: "models:/prod.ml.iris/4"}

        def versions(name):
            return {version["version"]: version["source"] for version in self.json("ls", name)}

        points = [f"{point}:{n}" for point in ("copy.begun", "copy.version", "copy.finished", "kv.commit.begin",
                                               "kv.commit.done") for n in range(1, 6)]
        killed = 0
        for index, point in enumerate(points):
            name = f"prod.ml.copy{index}"
            was_killed = self.killed(point, "cp", "prod.ml.iris", name)
            killed += was_killed
            if not was_killed:
                self.assertEqual(versions(name), want, point)
                continue
            left = run("ls", "--json", name, home=self.home)
            if left.returncode == 0 and self.json("show", name)["latest_version"] == 1:
                # A version registered meanwhile has a number after those that are kept for the copy.
                self.assertEqual(self.ok("register", self.model(), name), f"{name}/5\n")
            self.ok("cp", "prod.ml.iris", name)
            found = versions(name)
            self.assertEqual({n: s for n, s in found.items() if n < 5}, want, point)
            self.assertEqual(self.json("show", name + "@Champion")["version"], 3, point)
            self.assertEqual(self.json("show", name)["tags"], {"task": "x"}, point)
            self.assertIn("has a copy of every", self.ok("cp", "prod.ml.iris", name), point)
            self.assertEqual(versions(name), found, point)
        # The copy fires copy.begun once, copy.version for each of three versions and copy.finished once. It has five
        # commits: the model, three versions, the aliases.
        self.assertEqual(killed, 1 + 3 + 1 + 5 + 5)
        # A deleted source takes the versions that were not copied with it; the copy stays as it is.
        self.assertTrue(self.killed("copy.version:1", "cp", "prod.ml.iris", "prod.ml.half"))
        self.ok("rm", "--yes", "prod.ml.iris")
        self.refused(3, "cp", "prod.ml.iris", "prod.ml.half")
        self.assertEqual(list(versions("prod.ml.half")), [1])
        self.ok("rm", "--yes", "prod.ml.half")
        self.assertEqual(self.json("fsck")["registry_problems"], [])
        self.json("audit", "verify")

    def compiled_in(self):
        probe = os.path.join(self.scratch, "probe")
        return run("init", probe, MODELFS_FAIL_POINT="kv.commit.begin").returncode == -signal.SIGKILL

    def test_register_is_all_or_nothing(self):
        self.start()
        fired = set()
        count = 1
        for point in ("register.leased", "register.stored", "register.model_made", "publish.staged",
                      "publish.synced", "publish.durable", "publish.sums", "publish.linked", "publish.linked:3",
                      "kv.commit.begin", "kv.commit.begin:2", "kv.commit.begin:3", "kv.commit.applied",
                      "kv.commit.applied:2", "kv.commit.applied:3", "kv.commit.done", "kv.commit.done:2",
                      "kv.commit.done:3"):
            with self.subTest(point):
                files = {"a": os.urandom(5 << 20), "b/c": os.urandom(1000), "d": b"same"}
                new = self.model("new-" + point.replace(":", "-"), files)
                if self.killed(point, "register", new, "prod.ml.iris"):
                    fired.add(point)
                count = self.check_whole(count)
                self.ok("gc")
                count = self.check_whole(count)
                self.ok("register", new, "prod.ml.iris")
                count = self.check_whole(count)
        # The steps of a register may change, but those of this command must have fired.
        self.assertLessEqual({"register.leased", "register.stored", "register.model_made"}, fired)
        self.assertTrue(any(point.startswith("publish.") for point in fired), fired)
        self.assertTrue(any(point.startswith("kv.commit.") for point in fired), fired)

    def test_a_killed_register_leaves_at_most_an_empty_model(self):
        self.start()
        self.assertTrue(self.killed("register.model_made", "register", self.model(), "prod.ml.fresh"))
        self.assertEqual(self.json("ls", "prod.ml.fresh"), [])
        self.assertEqual(self.ok("register", self.model(), "prod.ml.fresh"), "prod.ml.fresh/1\n")

    def test_a_killed_gc_removes_nothing_needed(self):
        self.start()
        fired = set()
        for point in ("gc.marked", "gc.sweeping", "sweep.unlinked", "sweep.unlinked:2", "sweep.unlinked:3"):
            with self.subTest(point):
                gone = self.model("gone-" + point.replace(":", "-"),
                                  {str(n): os.urandom(1000) for n in range(4)})
                self.ok("register", gone, "prod.ml.gone")
                self.ok("rm", "--yes", "prod.ml.gone")
                if self.killed(point, "gc"):
                    fired.add(point)
                self.check_whole(1)
                self.ok("gc")
                self.assertEqual(self.json("gc")["blobs_removed"], 0)
                self.check_whole(1)
        self.assertEqual(fired, {"gc.marked", "gc.sweeping", "sweep.unlinked", "sweep.unlinked:2", "sweep.unlinked:3"})

    def test_a_killed_init_can_be_run_again(self):
        for point in ("kv.create.written", "kv.commit.begin", "kv.commit.applied"):
            with self.subTest(point):
                home = os.path.join(self.scratch, "home-" + point)
                if run("init", home, MODELFS_FAIL_POINT=point).returncode != -signal.SIGKILL:
                    continue
                self.ok("init", home=home)
                self.ok("mkdir", "prod", home=home)


class FullDisk(Case):
    def test_deletions_on_a_full_disk_free_their_space(self):
        for kind in ("ext4", "xfs", "btrfs", "tmpfs"):
            with self.subTest(kind):
                self.give_space_back_on(kind)

    def give_space_back_on(self, kind):
        disk = os.path.join(self.scratch, kind)
        os.mkdir(disk)
        mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk]
        if kind != "tmpfs":
            image = disk + ".img"
            with open(image, "wb") as file:
                file.truncate(320 << 20)  # the minimum for xfs
            made = subprocess.run([f"mkfs.{kind}", "-q", "-F" if kind == "ext4" else "-f", image], capture_output=True)
            self.assertEqual(made.returncode, 0, made.stderr)
            mount = ["mount", "-o", "loop", image, disk]
        mounted = subprocess.run(mount, capture_output=True)
        if mounted.returncode != 0:
            self.skipTest(f"{kind} cannot be mounted here: " + mounted.stderr.decode().strip())
        self.addCleanup(subprocess.run, ["umount", "-l", disk])
        self.home = os.path.join(disk, "home")
        self.ready_registry()
        for name in ("stays", "goes"):
            self.ok("register", self.model(kind + name, {"w": os.urandom(300000)}), "prod.ml." + name)
        with open(disk + "/filler", "wb", buffering=0) as filler:
            for size in (1 << 20, 4096, 4096):
                try:
                    while True:
                        filler.write(b"f" * size)
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
                subprocess.run(["sync", "-f", disk], check=True)
        self.ok("rm", "--yes", "prod.ml.goes")
        self.assertGreater(self.json("gc")["bytes_removed"], 300000)
        self.assertEqual(self.json("fsck")["damaged"], [])

    def test_a_register_on_a_full_disk_fails_and_leaves_nothing(self):
        disk = os.path.join(self.scratch, "disk")
        os.mkdir(disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("tmpfs cannot be mounted here: " + mounted.stderr.decode().strip())
        self.addCleanup(subprocess.run, ["umount", "-l", disk])
        self.home = os.path.join(disk, "home")
        self.ready_registry()
        small = self.model("small", {"w": b"x" * 1000})
        self.ok("register", small, "prod.ml.small")

        big = self.model("big", {"one": os.urandom(3 << 20), "two": os.urandom(32 << 20)})
        message = self.refused(9, "register", big, "prod.ml.big")
        self.assertIn("no space", message.lower())
        self.refused(3, "show", "prod.ml.big")
        self.assertEqual(self.ok("ls", "--names", "prod.ml"), "prod.ml.small\n")
        self.assertEqual(self.json("fsck")["damaged"], [])
        self.ok("gc")
        self.ok("register", small, "prod.ml.small")
        self.ok("rm", "--yes", "prod.ml.small")
        self.json("audit", "verify")


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main()
