#!/usr/bin/env python3
"""Completion of names by Tab, in a real bash and a real zsh on a pseudo-terminal.

A name of the registry is data: no shell ever runs any part of it, and the command gets exactly that name.

usage: completion_test.py path/to/modelfs [unittest arguments]
"""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

BINARY = ""

# Names of models that a shell would interpret; "touch,pwned" makes the file if it is run.
HOSTILE = [
    "aa$({touch,pwned})",
    "bb`touch${ifs}pwned`",
    "cc;touch${ifs}pwned",
    "dd'q;{touch,pwned};'",
    'ee"q;{touch,pwned};"',
    "ff!touch",
    "gg*",
    "hh?[a-z]",
    "ii\\$(pwned)",
    "jj&touch&pwned",
    "kk|touch",
    "ll>pwned",
    "mm#touch",
    "nn~",
    "oo{touch,pwned}",
    "pp=touch",
    "qq$HOME".lower(),
    "rr--all",
    "ss^touch^pwned^",
    "tt(touch)",
    "\u00fc\u00fc-m\u00f6del",
]
# Pairs of names with a common prefix; the first different character is special to a shell.
TWINS = ["vv$a", "vv;b", "ww$(touch)x", "ww$(touch)y"]


class Shell:
    """A shell on a terminal. Its modelfs command prints the arguments into a file."""

    def __init__(self, argv, env, cwd, setup):
        self.got = b""
        self.prompts = 0
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(argv[0], argv, env)
        self.type(setup + "\n")
        self.until(b"READY>")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def until(self, wanted):
        while wanted not in self.got:
            ready, _, _ = select.select([self.terminal], [], [], 60)
            if not ready:
                raise AssertionError(f"{wanted!r} did not come; this did: {self.got!r}")
            self.got += os.read(self.terminal, 4096)
        self.got = self.got[self.got.index(wanted) + len(wanted):]

    def end(self):
        os.close(self.terminal)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Completion(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="modelfs_completion_")
        cls.home = os.path.join(cls.scratch, "home")
        cls.work = os.path.join(cls.scratch, "work")
        cls.bin = os.path.join(cls.scratch, "bin")
        cls.said = os.path.join(cls.scratch, "said")
        for directory in (cls.work, cls.bin):
            os.mkdir(directory)
        env = {key: value for key, value in os.environ.items() if not key.startswith("MODELFS_")}
        cls.env = dict(env, MODELFS_REGISTRY=cls.home, PATH=cls.bin + ":" + env["PATH"], TERM="dumb", LC_ALL="C.UTF-8",
                       HOME=cls.work, REAL=BINARY, SAID=cls.said)
        # The real command completes; any other call only writes its arguments down.
        with open(os.path.join(cls.bin, "modelfs"), "w") as script:
            script.write('#!/bin/sh\ncase " $* " in *" complete-name "*) exec "$REAL" "$@" ;; esac\n'
                         'printf "%s\\0" "$@" >"$SAID.new" && mv "$SAID.new" "$SAID"\n')
        os.chmod(os.path.join(cls.bin, "modelfs"), 0o755)
        cls.modelfs("init")
        cls.modelfs("mkdir", "-p", "prod.ml")
        for name in HOSTILE + TWINS + ["-dashed"]:
            cls.modelfs("mkdir", "--", "prod.ml." + name)
        files = os.path.join(cls.scratch, "files")
        os.mkdir(files)
        with open(os.path.join(files, "weights"), "w") as out:
            out.write("w")
        cls.modelfs("register", "-p", files, "prod.credit.scorer", "--alias", "Champion")
        with open(os.path.join(cls.bin, "modelfs.bash"), "w") as out:
            out.write(cls.modelfs("completion", "bash"))
        loaded = os.path.join(cls.work, ".local/share/bash-completion/completions")
        os.makedirs(loaded)
        shutil.copy(os.path.join(cls.bin, "modelfs.bash"), os.path.join(loaded, "modelfs"))
        functions = os.path.join(cls.work, "zfunc")
        os.mkdir(functions)
        with open(os.path.join(functions, "_modelfs"), "w") as out:
            out.write(cls.modelfs("completion", "zsh"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.scratch, ignore_errors=True)

    @classmethod
    def modelfs(cls, *arguments):
        done = subprocess.run([BINARY, *arguments], env=cls.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def shells(self):
        quiet = "bind 'set enable-bracketed-paste off' 2>/dev/null; bind 'set bell-style none'; "
        quiet += "unset HISTFILE; bind 'set completion-query-items 0'; bind 'set page-completions off'; "
        quiet += "set -o histexpand; "
        bash = ["bash", "--norc", "--noprofile", "-i"]
        yield "bash, sourced", bash, quiet + f"source {self.bin}/modelfs.bash; PS1=REA''DY'>'"
        yield "bash, loaded", bash, quiet + "source /usr/share/bash-completion/bash_completion; PS1=REA''DY'>'"
        zsh = "unsetopt zle_bracketed_paste prompt_cr prompt_sp 2>/dev/null; unset zle_bracketed_paste; "
        zsh += f"fpath=({self.work}/zfunc $fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=9999; "
        yield "zsh", ["zsh", "-f", "-i"], zsh + "PS1=REA''DY'>'"

    def word(self, shell, typed):
        """The arguments of the command after `typed` and Enter."""
        if os.path.exists(self.said):
            os.unlink(self.said)
        shell.type(typed + "\n")
        shell.until(b"READY>")
        self.assertEqual(sorted(os.listdir(self.work)), self.untouched, f"{typed!r} ran something")
        if not os.path.exists(self.said):
            return None
        with open(self.said) as said:
            return said.read().split("\0")[:-1]

    def each_shell(self, check):
        for name, argv, setup in self.shells():
            self.assertTrue(shutil.which(argv[0]), f"{argv[0]} is missing: scripts/install_deps test")
            with self.subTest(name):
                shell = Shell(argv, self.env, self.work, setup)
                try:
                    self.word(shell, "true")
                    check(shell)
                finally:
                    shell.end()

    def setUp(self):
        self.untouched = sorted(os.listdir(self.work))

    def test_a_name_is_completed_to_exactly_that_name_and_never_run(self):
        def check(shell):
            for name in HOSTILE:
                for before in ("prod.ml.", "models:/prod.ml."):
                    self.assertEqual(self.word(shell, f"modelfs show {before}{name[:2]}\t"), ["show", before + name])

        self.each_shell(check)

    def test_an_open_quote_is_closed(self):
        def check(shell):
            for name in HOSTILE:
                for quote in "'\"":
                    got = self.word(shell, f"modelfs show {quote}prod.ml.{name[:2]}\t")
                    self.assertEqual(got, ["show", "prod.ml." + name], quote)

        self.each_shell(check)

    def test_the_common_prefix_of_several_names_is_inserted_quoted(self):
        def check(shell):
            self.assertEqual(self.word(shell, "modelfs show prod.ml.ww\tx"), ["show", "prod.ml.ww$(touch)x"])
            self.assertEqual(self.word(shell, "modelfs show prod.ml.ww\ty\t"), ["show", "prod.ml.ww$(touch)y"])
            # Both names continue with a special character of the shell, so its quote belongs to the common prefix.
            self.assertEqual(self.word(shell, "modelfs show prod.ml.vv\t;\t"), ["show", "prod.ml.vv;b"])

        self.each_shell(check)

    def test_an_alias_keeps_its_at_sign_and_a_scheme_its_colon(self):
        def check(shell):
            for typed in ("prod.credit.scorer@Ch", "prod.credit.scorer@", "models:/prod.credit.scorer@Ch"):
                whole = typed.partition("@")[0] + "@Champion"
                self.assertEqual(self.word(shell, f"modelfs resolve {typed}\t"), ["resolve", whole])
            self.assertEqual(self.word(shell, "modelfs resolve pr\tcr\tsc\t@\t"), ["resolve", "prod.credit.scorer@Champion"])
            self.assertEqual(self.word(shell, "modelfs resolve prod.credit.scorer/\t"), ["resolve", "prod.credit.scorer/1"])

        self.each_shell(check)

    def test_commands_and_options_are_completed_too(self):
        def check(shell):
            self.assertEqual(self.word(shell, "modelfs reso\tprod.credit.sc\t@\t"), ["resolve", "prod.credit.scorer@Champion"])
            self.assertEqual(self.word(shell, "modelfs gc --dry\t"), ["gc", "--dry-run"])
            named = self.word(shell, f"modelfs -r {self.home} show prod.cr\tsc\t")
            self.assertEqual(named, ["-r", self.home, "show", "prod.credit.scorer"])

        self.each_shell(check)


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main()
