"""Runs the README's first page line by line, as a person types it, and checks that every line of it is tested here."""

import json
import os
import pathlib
import re

from conftest import IRIS, REPOSITORY, tree_of


def test_the_first_page(registry):
    """Every command of the README's example, in order, has the promised exit code and effect."""
    models = registry.root
    model = models / "prod" / "ml_team" / "iris_model"
    env = registry.env

    def line(text, cwd=None):
        return registry.sh(text.replace("/models", str(models)).replace("$iris", str(IRIS)), cwd=cwd).stdout

    try:
        # The fixture has run `modelfs init`; a second run must say that a registry exists.
        assert registry.modelfs("init", check=False).returncode != 0
        line("mkdir -p /models && modelfs mount /models -d")
        assert os.path.ismount(models)
        line("mkdir -p /models/prod/ml_team/iris_model")
        line("cp -r $iris /models/prod/ml_team/iris_model/versions/draft")
        line("mv /models/prod/ml_team/iris_model/versions/draft /models/prod/ml_team/iris_model/versions/1")
        line("ln -s ../versions/1 aliases/Champion", cwd=model)
        line("cp -r versions/1 versions/tuned && echo '# tuned' >> versions/tuned/MLmodel && "
             "mv versions/tuned versions/next", cwd=model)
        with open(model / "aliases" / "Champion" / "MLmodel", "rb") as held:
            line("ln -sfn ../versions/2 aliases/Champion", cwd=model)
            assert held.read() == (IRIS / "MLmodel").read_bytes()
        assert (model / "aliases" / "Champion" / "MLmodel").read_text().endswith("# tuned\n")
        got = line("setfattr -n user.tag.task -v classification . ; getfattr -d .", cwd=model)
        assert 'user.tag.task="classification"' in got
        line("mkdir -p /models/staging/ml_team/iris_model")
        line("cp -r versions/2 /models/staging/ml_team/iris_model/versions/draft", cwd=model)
        line("mv /models/staging/ml_team/iris_model/versions/draft "
             "/models/staging/ml_team/iris_model/versions/next")
        staged = models / "staging" / "ml_team" / "iris_model" / "versions" / "1"
        assert tree_of(staged) == tree_of(model / "versions" / "2")
        listed = line("modelfs ls")
        assert "prod" in listed and "staging" in listed
        assert "Champion" in line("modelfs show prod.ml_team.iris_model")
        resolved = line("modelfs resolve prod.ml_team.iris_model@Champion").strip()
        assert resolved == str(model / "versions" / "2")
        line("modelfs why")
        line("modelfs register $iris prod.ml_team.iris_model --alias Challenger")
        assert os.readlink(model / "aliases" / "Challenger") == "../versions/3"
        assert tree_of(model / "versions" / "3") == tree_of(IRIS)
        shown = json.loads(line("modelfs show prod.ml_team.iris_model --json"))
        assert "iris_model" in json.dumps(shown)
        line("""modelfs sql 'CREATE GROUP `data-science`; GRANT USE CATALOG ON CATALOG prod TO `data-science`'""")
        line("""modelfs grant USE_SCHEMA,EXECUTE prod.ml_team data-science""")
        line("""modelfs grants prod.ml_team.iris_model --effective""")
        line("cd / && modelfs umount /models")
        assert not os.path.ismount(models)
        assert os.listdir(models) == []
    finally:
        if os.path.ismount(models):
            registry.kill()
            registry.sh(f"modelfs umount {models}", check=False)
    assert env["MODELFS_REGISTRY"] == str(registry.home)


def test_every_command_of_the_readme_is_tested_here():
    """This file runs every command of the README's first page, so that none is an untested promise."""
    readme = (REPOSITORY / "README.md").read_text()
    example = re.search(r"```sh\niris=.*?\n```", readme, re.DOTALL).group(0)
    here = pathlib.Path(__file__).read_text()
    # Run in other files, by the fixture, or by no test (an editor).
    elsewhere = ("iris=", "export MODELFS_REGISTRY", "modelfs init", "cd ", "python3 -c", "m = mlflow", "print(m", "vi ",
                 "```")
    for text in example.splitlines():
        command = re.sub(r"\s+#.*", "", text).strip()
        if not command or text.startswith(" ") or command.startswith(elsewhere):
            continue
        squeezed = re.sub(r'"\s*\n\s*"', "", here)
        assert command in squeezed, f"README's {command!r} is run by no line here"


def test_a_failed_mount_in_the_background_reports_the_error(registry):
    """`mount -d` over a missing directory, a file, or a live mount: a message, a non-zero exit code, no process."""
    missing = registry.modelfs("mount", registry.scratch / "missing", "-d", check=False)
    assert missing.returncode != 0 and "missing" in missing.stderr
    (registry.scratch / "file").write_text("")
    assert registry.modelfs("mount", registry.scratch / "file", "-d", check=False).returncode != 0
    registry.start()
    again = registry.modelfs("mount", registry.root, "-d", check=False)
    assert again.returncode != 0 and str(registry.root) in again.stderr
    registry.stop()


def test_a_mount_after_a_killed_daemon_finds_everything_whole(registry):
    """kill -9 of the daemon, then `mount` over the dead mount point: everything is there as before."""
    registry.start()
    model = registry.model()
    registry.sh(f"cp -r {IRIS} {model}/versions/draft && mv {model}/versions/draft {model}/versions/1")
    registry.sh(f"ln -s ../versions/1 {model}/aliases/Champion && cp -r {IRIS} {model}/versions/kept")
    registry.process.kill()
    registry.process.wait()
    registry.start()
    assert tree_of(model / "versions" / "1") == tree_of(IRIS)
    assert os.readlink(model / "aliases" / "Champion") == "../versions/1"
    assert tree_of(model / "versions" / "kept") == tree_of(IRIS)
    registry.sh(f"mv {model}/versions/kept {model}/versions/next")
    assert tree_of(model / "versions" / "2") == tree_of(IRIS)
    registry.stop()


def test_sigterm_drains_and_unmounts(registry):
    """SIGTERM ends the daemon with exit code 0 and leaves nothing mounted."""
    registry.start()
    registry.process.terminate()
    assert registry.process.wait(60) == 0
    registry.process = None
    assert not os.path.ismount(registry.root)
