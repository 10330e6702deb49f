"""Ordinary programs on a real mount: each test checks the effect of the program, and its output."""

import errno
import os
import shutil
import stat

import pytest
from conftest import IRIS, run, tree_of


def a_model_directory(scratch, name="source"):
    """Makes files in folders, an executable, an empty file, an empty folder, and a name with a space."""
    source = scratch / name
    (source / "weights" / "deep").mkdir(parents=True)
    (source / "empty folder").mkdir()
    (source / "weights" / "a.bin").write_bytes(bytes(range(256)) * 4096)
    (source / "weights" / "deep" / "b.bin").write_bytes(b"b" * 70001)
    (source / "config.json").write_text("{}\n")
    (source / "nothing").write_bytes(b"")
    (source / "run me.sh").write_text("#!/bin/sh\n")
    (source / "run me.sh").chmod(0o755)
    return source


def versions(model):
    return sorted(os.listdir(model / "versions"))


# ---- cp


def test_cp_r_then_mv_makes_a_version(mount):
    """`cp -r` fills a draft, `mv` commits it; both print nothing; the version has the same bytes and x bits."""
    source = a_model_directory(mount.scratch)
    model = mount.model()
    assert run("cp", "-r", source, model / "versions" / "draft").stderr == ""
    assert run("mv", model / "versions" / "draft", model / "versions" / "1").stderr == ""
    assert versions(model) == ["1"]
    assert tree_of(model / "versions" / "1") == tree_of(source)
    assert os.access(model / "versions" / "1" / "run me.sh", os.X_OK)
    assert not (model / "versions" / "1" / "config.json").stat().st_mode & 0o111
    assert os.getxattr(model / "versions" / "1", "user.modelfs.status") == b"READY"


def test_cp_a_keeps_bytes_and_prints_nothing(mount):
    """`cp -a` sets times, owners and modes; a draft accepts them without an error and keeps the x bit."""
    source = a_model_directory(mount.scratch)
    (source / "weights").chmod(0o555)  # cp writes into it before it removes the w bit
    model = mount.model()
    done = run("cp", "-a", source, model / "versions" / "draft")
    assert done.stdout == done.stderr == ""
    run("mv", model / "versions" / "draft", model / "versions" / "next")
    assert tree_of(model / "versions" / "1") == tree_of(source)


def test_cp_to_a_number_is_refused_and_why_names_the_two_steps(mount):
    """`cp -r X versions/1` prints "Operation not permitted" once; nothing is made; why names the two steps."""
    model = mount.model()
    mount.refuses(f"cp -r {IRIS} {model}/versions/1", "Operation not permitted", "versions/draft")
    assert versions(model) == []


def test_cp_of_a_version_to_another_model_copies_no_bytes(mount):
    """`cp -r` of a version inside the mount: the same bytes, and no new blob in the registry."""
    source = a_model_directory(mount.scratch)
    one, two = mount.model("prod.ml.one"), mount.model("staging.ml.two")
    run("cp", "-r", source, one / "versions" / "draft")
    run("mv", one / "versions" / "draft", one / "versions" / "next")
    before = blobs(mount)
    run("cp", "-r", one / "versions" / "1", two / "versions" / "draft")
    run("mv", two / "versions" / "draft", two / "versions" / "next")
    assert tree_of(two / "versions" / "1") == tree_of(source)
    assert blobs(mount) == before
    assert os.getxattr(two / "versions" / "1", "user.modelfs.sha256") == \
        os.getxattr(one / "versions" / "1", "user.modelfs.sha256")


def blobs(mount):
    return sorted(name for name in tree_of(mount.home / "objects") if "/" in name)


def test_cp_into_a_ready_version_is_refused(mount):
    """`cp`, `touch`, `rm`, `chmod` and `truncate` on a READY version print "Read-only file system"."""
    model = committed(mount)
    for line in (f"cp /etc/hostname {model}/versions/1/new",
                 f"cp /etc/hostname {model}/versions/1/MLmodel",
                 f"touch {model}/versions/1/MLmodel",
                 f"rm -f {model}/versions/1/MLmodel",
                 f"chmod 600 {model}/versions/1/MLmodel",
                 f"truncate -s 0 {model}/versions/1/MLmodel",
                 f"mkdir {model}/versions/1/folder",
                 f"mv {model}/versions/1/MLmodel {model}/versions/1/other"):
        mount.refuses(line, "Read-only file system")
    assert tree_of(model / "versions" / "1") == tree_of(IRIS)


def committed(mount, name="prod.ml_team.iris_model", count=1):
    model = mount.model(name)
    for _ in range(count):
        run("cp", "-r", IRIS, model / "versions" / "draft")
        run("mv", model / "versions" / "draft", model / "versions" / "next")
    return model


# ---- rsync, tar, install, mv


def test_rsync_fills_a_draft(mount):
    """`rsync -a X/ versions/draft/` prints nothing; none of its temporary names is left."""
    source = a_model_directory(mount.scratch)
    model = mount.model()
    assert run("rsync", "-a", f"{source}/", f"{model}/versions/draft/").stderr == ""
    (source / "config.json").write_text('{"changed": true}\n')
    assert run("rsync", "-a", "--delete", f"{source}/", f"{model}/versions/draft/").stderr == ""
    run("mv", model / "versions" / "draft", model / "versions" / "next")
    assert tree_of(model / "versions" / "1") == tree_of(source)


def test_rsync_of_a_whole_model_moves_an_alias(mount):
    """`rsync -a` of a symlink first makes it under a temporary name, then moves the alias in one step."""
    model = committed(mount, count=2)
    outside = mount.scratch / "aliases"
    outside.mkdir()
    (outside / "Champion").symlink_to("../versions/2")
    run("ln", "-s", "../versions/1", model / "aliases" / "Champion")
    run("rsync", "-a", f"{outside}/", f"{model}/aliases/")
    assert os.readlink(model / "aliases" / "Champion") == "../versions/2"
    assert os.listdir(model / "aliases") == ["Champion"]


def test_tar_unpacks_into_a_draft(mount):
    """`tar -x` prints nothing."""
    source = a_model_directory(mount.scratch)
    archive = mount.scratch / "model.tar"
    run("tar", "-C", source, "-cf", archive, ".")
    model = mount.model()
    (model / "versions" / "draft").mkdir()
    assert run("tar", "-C", model / "versions" / "draft", "-xf", archive).stderr == ""
    run("mv", model / "versions" / "draft", model / "versions" / "next")
    assert tree_of(model / "versions" / "1") == tree_of(source)


def test_tar_with_acls_and_attributes_of_a_version(mount):
    """`tar --acls --xattrs` of a version, with its user.modelfs.*, unpacks into a draft and prints nothing."""
    model = committed(mount)
    archive = mount.scratch / "model.tar"
    both = ("--acls", "--xattrs", "--xattrs-include=user.*")
    run("tar", *both, "-C", model / "versions" / "1", "-cf", archive, ".")
    (model / "versions" / "draft").mkdir()
    assert run("tar", *both, "-C", model / "versions" / "draft", "-xf", archive).stderr == ""
    run("mv", model / "versions" / "draft", model / "versions" / "next")
    assert tree_of(model / "versions" / "2") == tree_of(IRIS)


def test_tar_with_acls_and_attributes_from_elsewhere(mount):
    """An ACL is accepted without effect. For an attribute that the registry does not keep, tar prints one warning,
    "Operation not supported", but unpacks the file and exits with 0."""
    source = a_model_directory(mount.scratch)
    run("setfacl", "-m", "u:1234:r", source / "config.json")
    run("setfattr", "-n", "user.origin", "-v", "elsewhere", source / "run me.sh")
    archive = mount.scratch / "model.tar"
    run("tar", "--acls", "--xattrs", "-C", source, "-cf", archive, ".")
    model = mount.model()
    (model / "versions" / "draft").mkdir()
    said = run("tar", "--acls", "--xattrs", "-C", model / "versions" / "draft", "-xf", archive).stderr
    assert said.count("\n") == 1 and "user.origin" in said and "Operation not supported" in said
    run("mv", model / "versions" / "draft", model / "versions" / "next")
    assert tree_of(model / "versions" / "1") == tree_of(source)


def test_tar_out_of_a_version_restores_the_model(mount):
    """`tar -c` of a version and `tar -x` elsewhere gives the same files."""
    model = committed(mount)
    out = mount.scratch / "out"
    out.mkdir()
    run("bash", "-c", f"tar -C {model}/versions/1 -cf - . | tar -C {out} -xf -")
    assert tree_of(out) == tree_of(IRIS)


def test_install_keeps_the_executable_bit(mount):
    """`install -D -m 755` makes the folders and an executable; `-m 644` a plain file."""
    model = mount.model()
    draft = model / "versions" / "draft"
    draft.mkdir()
    run("install", "-D", "-m", "755", "/bin/true", draft / "bin" / "true")
    run("install", "-m", "644", "/etc/passwd", draft / "passwd")
    run("mv", draft, model / "versions" / "next")
    assert run(model / "versions" / "1" / "bin" / "true").returncode == 0
    assert stat.S_IMODE((model / "versions" / "1" / "passwd").stat().st_mode) & 0o111 == 0


def test_mv_from_outside_into_a_draft_takes_the_source(mount):
    """`mv X versions/draft` copies, then removes the source; `mv FILE draft/` too."""
    source = a_model_directory(mount.scratch)
    want = tree_of(source)
    model = mount.model()
    assert run("mv", source, model / "versions" / "draft").stderr == ""
    assert not source.exists()
    run("mv", model / "versions" / "draft", model / "versions" / "1")
    assert tree_of(model / "versions" / "1") == want


def test_mv_from_outside_to_a_number_leaves_the_source_whole(mount):
    """`mv X versions/1` prints "Operation not permitted"; the source is still there, whole."""
    source = a_model_directory(mount.scratch)
    want = tree_of(source)
    model = mount.model()
    mount.refuses(f"mv {source} {model}/versions/1", "Operation not permitted", "modelfs register")
    assert tree_of(source) == want
    assert versions(model) == []


def test_mv_to_the_wrong_number_is_refused(mount):
    """`mv draft versions/7` prints "Numerical result out of range"; an empty draft "No data available"."""
    model = mount.model()
    run("cp", "-r", IRIS, model / "versions" / "draft")
    mount.refuses(f"mv {model}/versions/draft {model}/versions/7", "Numerical result out of range", "1")
    (model / "versions" / "empty").mkdir()
    mount.refuses(f"mv {model}/versions/empty {model}/versions/1", "No data available")
    run("rmdir", model / "versions" / "empty")
    run("mv", model / "versions" / "draft", model / "versions" / "1")


def test_mv_renames_a_model_with_its_contents(mount):
    """`mv c/s/m c/s/m2` keeps versions and aliases; a move to another schema is refused, and copies nothing."""
    model = committed(mount)
    run("ln", "-s", "../versions/1", model / "aliases" / "Champion")
    renamed = model.parent / "renamed"
    run("mv", model, renamed)
    assert os.readlink(renamed / "aliases" / "Champion") == "../versions/1"
    assert tree_of(renamed / "versions" / "1") == tree_of(IRIS)
    (mount.root / "prod" / "elsewhere").mkdir()
    mount.refuses(f"mv {renamed} {mount.root}/prod/elsewhere/", "Operation not permitted")
    assert os.listdir(mount.root / "prod" / "elsewhere") == []


def test_a_commit_without_a_signature_is_refused(mount):
    """`mv` of a draft with an MLmodel without a signature prints "Operation not permitted"; why names the file."""
    model = mount.model()
    draft = model / "versions" / "draft"
    run("cp", "-r", IRIS, draft)
    (draft / "MLmodel").write_text("flavors: {}\n")
    mount.refuses(f"mv {draft} {model}/versions/1", "Operation not permitted", "MLmodel")
    run("cp", IRIS / "MLmodel", draft / "MLmodel")
    run("mv", draft, model / "versions" / "1")


# ---- ln


def test_ln_in_its_forms(mount):
    """`ln -s` sets an alias. Onto an existing alias `ln -s` and `ln -sf` mean "inside the version" and are refused;
    why recommends `ln -sfn`. `-sfn` and `-sfT` move the alias. A hard link is refused."""
    model = committed(mount, count=3)
    alias = model / "aliases" / "Champion"

    run("ln", "-s", "../versions/1", alias)
    assert os.readlink(alias) == "../versions/1"
    mount.refuses(f"ln -s ../versions/2 {alias}", "Read-only file system", "ln -sfn")
    mount.refuses(f"ln -sf ../versions/2 {alias}", "Read-only file system", "ln -sfn")
    assert os.readlink(alias) == "../versions/1"
    run("ln", "-sfn", "../versions/2", alias)
    assert os.readlink(alias) == "../versions/2"
    run("ln", "-sfT", "../versions/3", alias)
    assert os.readlink(alias) == "../versions/3"
    mount.refuses(f"ln -sT ../versions/1 {alias}", "File exists")
    mount.refuses(f"ln {model}/versions/1/MLmodel {model}/versions/1/other", "failed to create hard link")
    assert os.listdir(model / "aliases") == ["Champion"]


def test_ln_takes_a_number_and_an_absolute_path(mount):
    """The target may be `2`, `../versions/2` or any path that ends in the version; it reads as `../versions/2`."""
    model = committed(mount, count=2)
    run("ln", "-s", "2", model / "aliases" / "A")
    run("ln", "-s", model / "versions" / "2", model / "aliases" / "B")
    for name in ("A", "B"):
        assert os.readlink(model / "aliases" / name) == "../versions/2"
    mount.refuses(f"ln -s ../versions/9 {model}/aliases/C", "No such file or directory")
    mount.refuses(f"ln -s ../versions/1 {model}/aliases/latest", "Invalid argument", "latest")
    mount.refuses(f"ln -s ../versions/1 {model}/aliases/v3", "Invalid argument")


def test_mv_T_and_rm_on_aliases(mount):
    """`mv -T tmp Champion` moves the alias and removes the other; `rm` deletes; the eleventh alias is refused."""
    model = committed(mount, count=2)
    aliases = model / "aliases"
    run("ln", "-s", "../versions/1", aliases / "Champion")
    run("ln", "-s", "../versions/2", aliases / "Next")
    run("mv", "-T", aliases / "Next", aliases / "Champion")
    assert os.listdir(aliases) == ["Champion"]
    assert os.readlink(aliases / "Champion") == "../versions/2"
    run("rm", aliases / "Champion")
    assert os.listdir(aliases) == []
    for number in range(10):
        run("ln", "-s", "../versions/1", aliases / f"alias-{number}")
    mount.refuses(f"ln -s ../versions/1 {aliases}/eleventh", "Disk quota exceeded", "10")


def test_an_alias_is_a_directory_too(mount):
    """`model@Alias/` lists and reads as the version, follows the alias, and an open file keeps its version."""
    model = committed(mount)
    draft = model / "versions" / "draft"
    run("cp", "-r", model / "versions" / "1", draft)
    (draft / "extra.txt").write_text("second\n")
    run("mv", draft, model / "versions" / "next")
    run("ln", "-s", "../versions/1", model / "aliases" / "Champion")
    directory = model.parent / f"{model.name}@Champion"
    assert tree_of(directory) == tree_of(IRIS)
    with open(directory / "MLmodel", "rb") as held:
        run("ln", "-sfn", "../versions/2", model / "aliases" / "Champion")
        assert (directory / "extra.txt").read_text() == "second\n"
        assert held.read() == (IRIS / "MLmodel").read_bytes()


# ---- find, du, ls, getfattr


def test_find_and_du_and_ls_see_the_model(mount):
    """`find`, `du` and `ls -lR` print the files and sizes, the aliases as links, and no error or hidden name."""
    model = committed(mount)
    run("ln", "-s", "../versions/1", model / "aliases" / "Champion")
    names = run("find", ".", cwd=model).stdout.split()
    assert sorted(names) == sorted(
        [".", "./aliases", "./aliases/Champion", "./versions", "./versions/1"] +
        [f"./versions/1/{name}" for name in tree_of(IRIS)])
    size = sum(len(data) for data in tree_of(IRIS).values() if data is not None)
    printed = run("find", model / "versions" / "1", "-type", "f", "-printf", "%s\n").stdout
    assert sum(int(line) for line in printed.split()) == size
    assert int(run("du", "-s", "--block-size=1", model / "versions" / "1").stdout.split()[0]) >= size
    listing = run("ls", "-lR", mount.root)
    assert listing.stderr == ""
    assert "Champion -> ../versions/1" in listing.stdout
    assert "MLmodel" in listing.stdout
    assert ".info" not in listing.stdout and ".modelfs" not in listing.stdout
    assert "latest" not in listing.stdout and "@Champion" not in listing.stdout


def test_getfattr_and_setfattr_on_models_and_versions(mount):
    """`setfattr` sets a tag or a description, `getfattr -d` prints it with the registry's own attributes."""
    model = committed(mount)
    run("setfattr", "-n", "user.tag.task", "-v", "classification", model)
    run("setfattr", "-n", "user.description", "-v", "three kinds of iris", model)
    printed = run("getfattr", "-d", ".", cwd=model).stdout
    assert 'user.tag.task="classification"' in printed
    assert 'user.description="three kinds of iris"' in printed
    assert 'user.modelfs.name="prod.ml_team.iris_model"' in printed
    version = run("getfattr", "-d", "versions/1", cwd=model).stdout
    assert 'user.modelfs.status="READY"' in version and 'user.modelfs.version="1"' in version
    run("setfattr", "-x", "user.tag.task", model)
    assert "user.tag.task" not in run("getfattr", "-d", ".", cwd=model).stdout
    assert mount.json("show", "prod.ml_team.iris_model")


def test_hidden_names_are_reachable(mount):
    """`.modelfs/status`, `.info/model.json` and `versions/latest` can be opened by name."""
    model = committed(mount, count=2)
    assert run("cat", mount.root / ".modelfs" / "status").stdout
    assert "iris_model" in run("cat", model / ".info" / "model.json").stdout
    assert os.readlink(model / "versions" / "latest").rstrip("/").endswith("2")
    assert tree_of(model / "versions" / "latest" / ".") == tree_of(IRIS)


# ---- Python's own


def test_shutil_fills_and_moves(mount):
    """copytree and move fill a draft; move to a number is PermissionError and leaves the source whole."""
    source = a_model_directory(mount.scratch)
    want = tree_of(source)
    model = mount.model()
    shutil.copytree(source, model / "versions" / "draft")
    os.rename(model / "versions" / "draft", model / "versions" / "next")
    assert tree_of(model / "versions" / "1") == want
    with pytest.raises(PermissionError):
        shutil.move(source, model / "versions" / "2")
    assert tree_of(source) == want
    shutil.move(source, model / "versions" / "draft")
    assert not source.exists()
    os.replace(model / "versions" / "draft", model / "versions" / "2")
    assert tree_of(model / "versions" / "2") == want
    shutil.copytree(model / "versions" / "2", mount.scratch / "copy")
    assert tree_of(mount.scratch / "copy") == want


def test_shutil_rmtree_never_reaches_a_version(mount):
    """rmtree of a version, and `rm -r` of a model, fail at the first file and remove nothing; os.rmdir deletes them."""
    model = committed(mount)
    with pytest.raises(OSError) as refused:
        shutil.rmtree(model / "versions" / "1")
    assert refused.value.errno == errno.EROFS
    mount.refuses(f"rm -rf {model}", "Read-only file system")
    assert tree_of(model / "versions" / "1") == tree_of(IRIS)
    with pytest.raises(OSError) as refused:
        os.rmdir(model)
    assert refused.value.errno == errno.ENOTEMPTY
    os.rmdir(model / "versions" / "1")
    assert versions(model) == []
    os.rmdir(model)
    assert not model.exists()


def test_a_draft_can_be_removed(mount):
    """`rm -r` of a draft removes it, with everything in it."""
    model = mount.model()
    run("cp", "-r", IRIS, model / "versions" / "draft")
    run("rm", "-r", model / "versions" / "draft")
    assert versions(model) == []


def test_os_symlink_and_replace_move_an_alias(mount):
    """os.symlink to a temporary name, os.replace over the alias: the alias moves, and the temporary name is gone."""
    model = committed(mount, count=2)
    aliases = model / "aliases"
    os.symlink("../versions/1", aliases / "Champion")
    os.symlink("../versions/2", aliases / ".tmp.Champion")
    os.replace(aliases / ".tmp.Champion", aliases / "Champion")
    assert os.readlink(aliases / "Champion") == "../versions/2"
    assert os.listdir(aliases) == ["Champion"]


def test_os_walk_scandir_and_stat_agree(mount):
    """walk, scandir and stat give the same inodes, sizes and kinds; a version keeps its inode after a remount."""
    model = committed(mount)
    version = model / "versions" / "1"
    with os.scandir(version) as entries:
        seen = {entry.name: entry.inode() for entry in entries}
    assert seen == {name: os.stat(version / name).st_ino for name in os.listdir(version)}
    assert [files for _, _, files in os.walk(version)] and os.path.isdir(version)
    root_inode = os.stat(version).st_ino
    mount.stop()
    mount.start()
    assert os.stat(version).st_ino == root_inode
    assert {name: os.stat(version / name).st_ino for name in os.listdir(version)} == seen


def test_names_that_break_a_rule_are_refused(mount):
    """Upper case, a dot or an @ gives EINVAL, and why explains it; 256 bytes give ENAMETOOLONG."""
    catalog = mount.root / "prod"
    catalog.mkdir()
    for name in ("Upper", "with.dot", "at@sign", "with space", "new\nline", "cafe\u0301", "zero\u200bwidth"):
        with pytest.raises(OSError) as refused:
            os.mkdir(catalog / name)
        assert refused.value.errno == errno.EINVAL, name
    for name, said in ((b"bad\xff", errno.EINVAL), (b"n" * 256, errno.ENAMETOOLONG)):
        with pytest.raises(OSError) as refused:
            os.mkdir(os.fsencode(catalog) + b"/" + name)
        assert refused.value.errno == said
    assert mount.why(catalog / "Upper")
