#!/usr/bin/env python3
"""Keeps the floor plan true: who may include what, every source in CMake, nothing private in the tree,
links that lead somewhere, fail points that are documented.

Prints one line for each breach and exits 1. Needs Python's standard library only.
    tests/structure_test.py [ROOT]
"""

import pathlib
import re
import subprocess
import sys

SOURCE_FOLDERS = ("cas", "store", "fs", "api", "tools", "tests")

# folder, or file -> what its files may include of this repository: a folder with a closing slash (that folder's own
# files, not what is below it) or one file. A file's own folder is always allowed. docs/architecture.md has the
# picture.
VALUES = ("cas/base/", "cas/blob_store.h", "cas/tree.h", "cas/tree_store.h", "cas/tree_times.h", "cas/files.h")
ASKED = ("cas/base/", "cas/", "cas/drafts/draft_store.h", "store/", "store/identity/")
MAY_INCLUDE = {
    "cas/base": (),
    "cas": ("cas/base/",),
    "cas/local": ("cas/", "cas/base/"),
    "cas/drafts": ("cas/local/", "cas/", "cas/base/"),
    "store/kv": ("cas/base/",),
    "store": VALUES,
    "store/identity": ("store/", *VALUES),
    "store/records": ("store/", "store/kv/kv.h", *VALUES),
    "store/access": ("store/records/", "store/", "store/kv/kv.h", *VALUES),
    "store/audit": ("store/records/", "store/", "store/kv/kv.h", *VALUES),
    "store/embedded": ("store/access/", "store/audit/", "store/records/", "store/", "store/kv/kv.h", *VALUES),
    "fs/base": ASKED,
    "fs/drafts": ("fs/base/", *ASKED),
    "fs/sharing": ("fs/drafts/", "fs/base/", *ASKED),
    "fs/kernel": ("fs/sharing/", "fs/drafts/", "fs/base/", *ASKED),
    "fs/zones": ("fs/sharing/", "fs/drafts/", "fs/base/", *ASKED),
    "fs": ("fs/kernel/", "fs/zones/", "fs/sharing/", "fs/drafts/", "fs/base/", *ASKED),
    "api": ("store/", *VALUES),
    "tools/print": ("store/", "store/kv/map_fault.h", *VALUES),
    # The parts that the command puts together, and what it tells them.
    "tools": ("tools/print/", "fs/", "fs/kernel/mount_point.h", "store/", "store/identity/", "store/kv/",
              "store/embedded/embedded_registry.h", "cas/local/", "cas/drafts/", "cas/", "cas/base/"),
    "tools/main.cc": ("tools/commands/commands.h", "tools/", "tools/print/", "cas/base/"),
    "tools/sql": ("tools/", "tools/print/", "store/", *VALUES),
    "tools/commands": ("tools/", "tools/print/", "tools/sql/", "fs/", "fs/kernel/mount_point.h", "store/", "store/identity/",
                       "store/kv/", "store/embedded/embedded_registry.h", "cas/local/", "cas/drafts/",
                       "cas/", "cas/base/"),
}

# A library's header -> the only places that may include it: a folder, or a file.
LIBRARIES = {
    r"lmdb\.h": ("store/kv/lmdb_kv.cc",),
    r"openssl/": ("cas/base/base64.cc", "cas/base/digest.cc"),
    r"xxhash\.h": ("cas/base/checksum.cc",),
    r"utf8proc\.h": ("cas/base/text.cc",),
    r"(fuse3/)?fuse(_lowlevel|_opt|_common|_kernel)?\.h": ("fs/", "fs/kernel/"),
    r"linux/fuse\.h": ("fs/kernel/",),
    r"curl/": ("cas/", "api/"),
    r"yaml-cpp/": ("store/embedded/mlmodel.cc",),
    r"CLI/": ("tools/", "tools/commands/"),
    r"systemd/": ("tools/commands/",),
    r"histedit\.h": ("tools/sql/line_editor.cc",),
    r"spdlog/": ("cas/local/", "store/identity/", "store/audit/", "store/embedded/", "fs/", "fs/base/", "fs/drafts/",
                 "fs/kernel/", "fs/zones/", "api/", "tools/", "tools/commands/", "tools/print/"),
    r"nlohmann/": ("store/", "store/embedded/", "fs/zones/", "api/", "tools/", "tools/commands/", "tools/print/", "tools/sql/"),
}

# Of no use to anyone who reads the project elsewhere: the paths of one machine, the hosts of registries.
# Written in two pieces, so that this file is not its own first breach.
FORBIDDEN = re.compile(
    "|".join((
        r"(?<![\w.])/" + r"work/",
        r"\bpypi\." + r"org", r"pythonhosted\." + r"org", r"registry\.npmjs\." + r"org",
        r"proxy\.golang\." + r"org", r"crates\." + r"io/", r"repo1?\.maven\." + r"org",
        r"(deb|snapshot|security)\.debian\." + r"org", r"artifact-" + r"registry",
    )))

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def files_of(root: pathlib.Path) -> list[str]:
    """The tracked files and the new ones that are not ignored; without git, all but build/."""
    listed = subprocess.run(
        ["git", "-C", str(root), "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        capture_output=True, check=False) if (root / ".git").exists() and has_git() else None
    if listed is not None and listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return sorted(name for name in names if (root / name).is_file())
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in ("build", ".git"))


def has_git() -> bool:
    try:
        return subprocess.run(["git", "--version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def allowed(name: str, wanted: str, permitted: tuple[str, ...]) -> bool:
    """`permitted` names files, and folders whose own files are meant."""
    return any(wanted == one or one == folder_of(wanted) + "/" for one in permitted) or \
        folder_of(name) == folder_of(wanted)


def include_breaches(root: pathlib.Path, sources: list[str]) -> list[str]:
    breaches = []
    for name in sources:
        folder = folder_of(name)
        text = (root / name).read_text()
        for bracket, wanted in INCLUDE.findall(text):
            if name.startswith("tests/"):
                continue
            if bracket == '"':
                if not (root / wanted).is_file():
                    breaches.append(f'{name}: includes "{wanted}", which is no file of the repository; '
                                    "include from the root, third parties in <>")
                elif wanted.startswith("tests/"):
                    breaches.append(f'{name}: includes "{wanted}"; nothing includes tests/')
                elif folder not in MAY_INCLUDE:
                    breaches.append(f"{name}: folder {folder} is not on the floor plan")
                elif not allowed(name, wanted, MAY_INCLUDE.get(name, MAY_INCLUDE[folder])):
                    breaches.append(f'{name}: may not include "{wanted}"')
                continue
            for library, places in LIBRARIES.items():
                if re.match(library, wanted) and name not in places and folder + "/" not in places:
                    breaches.append(f"{name}: may not include <{wanted}>; its place is {', '.join(places)}")
            if folder == "cas/base" and "/" in wanted:
                if not wanted.startswith(("fmt/", "sys/", "tl/", "openssl/", "linux/")):
                    breaches.append(f"{name}: cas/base includes std, fmt and tl::expected only, not <{wanted}>")
    return breaches


def unlisted_sources(root: pathlib.Path, sources: list[str], every: list[str]) -> list[str]:
    """A .cc file must be named, relative to it, in the CMakeLists.txt of a folder above it."""
    listed = set()
    for name in every:
        if name.rpartition("/")[2] != "CMakeLists.txt" or "/" not in name:
            continue
        text = re.sub(r"#.*", "", (root / name).read_text())
        words = re.findall(r"[\w./{}$-]+\.cc\b", text)
        for call in re.findall(r"^\s*\w+\((\w+)", text, re.MULTILINE):
            # A function of that file that makes file names of its first argument, as tests/fuzz does.
            words += [word.replace("${name}", call) for word in words if "${name}" in word]
        for word in words:
            word = re.sub(r"^\$\{(PROJECT|CMAKE)_SOURCE_DIR\}/", "/", word)
            word = re.sub(r"^\$\{CMAKE_CURRENT_(SOURCE|LIST)_DIR\}/", "", word)
            path = word[1:] if word.startswith("/") else f"{folder_of(name)}/{word}"
            parts: list[str] = []
            for part in path.split("/"):
                if part == "..":
                    parts.pop()
                elif part != ".":
                    parts.append(part)
            listed.add("/".join(parts))
    return [f"{name}: no CMakeLists.txt lists it, so nobody builds it"
            for name in sources if name.endswith(".cc") and name not in listed]


def forbidden_words(root: pathlib.Path, every: list[str]) -> list[str]:
    breaches = []
    for name in every:
        try:
            text = (root / name).read_text()
        except UnicodeDecodeError:
            continue  # binary
        for number, line in enumerate(text.splitlines(), 1):
            found = FORBIDDEN.search(line)
            if found:
                breaches.append(f"{name}:{number}: {found.group(0)!r} says something about one machine")
    return breaches


def headings(page: str) -> list[str]:
    """The headings of a page, code blocks left out."""
    return re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)


def anchor(heading: str) -> str:
    """The anchor that a page's renderer makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def dead_links(root: pathlib.Path, every: list[str]) -> list[str]:
    """A page's link to a file of the repository leads there, and to a heading that the file has."""
    breaches = []
    for name in every:
        if not name.endswith(".md"):
            continue
        text = re.sub(r"```.*?```", "", (root / name).read_text(), flags=re.DOTALL)
        for target, part in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
            if "://" in target:
                continue
            path = (root / name).parent / target if target else root / name
            if not path.exists():
                breaches.append(f"{name}: links to {target}, which does not exist")
            elif part and part not in map(anchor, headings(path.read_text())):
                breaches.append(f"{name}: links to {target}#{part}, and no heading has that anchor")
    return breaches


def dead_references(root: pathlib.Path, every: list[str]) -> list[str]:
    """A reference by words, as `docs/formats.md, "reclaim"`, names a heading or bold words of that page."""
    breaches = []
    for name in every:
        if not name.endswith((".md", ".h", ".cc", ".py")):
            continue
        text = re.sub(r"\s+(?:(?://|#)\s*)?", " ", (root / name).read_text())
        for page, words in re.findall(r'\b((?:docs|cas|store|fs|tools)/\w+\.md), "([^"\\]+)"', text):
            named = (root / page).read_text() if (root / page).is_file() else ""
            if words.lower() not in [title.lower() for title in headings(named) + re.findall(r"\*\*([^*]+)\*\*", named)]:
                breaches.append(f'{name}: refers to {page}, "{words}", which is not a heading there')
    return breaches


# Where names are quoted for SQL.
QUOTES_SQL = ("store/sql_name.cc",)
PRINTED_COMMAND = re.compile(r"modelfs (?:[a-z-]+ )+[^\n]*\{|\b(?:GRANT|REVOKE) [^\n]*\{|: umount [^\n]*\{")


def unquoted_commands(root: pathlib.Path, sources: list[str]) -> list[str]:
    """What is printed to be typed again is made by ShellCommand and SqlGrant, which quote the names in it."""
    breaches = []
    for name in sources:
        if name.startswith("tests/") or name in QUOTES_SQL:
            continue
        text = re.sub(r'"\s*\n\s*"', "", (root / name).read_text())
        for literal in re.findall(r'(?<!R)"((?:[^"\\\n]|\\.)*)"', text):
            if PRINTED_COMMAND.search(literal):
                breaches.append(f'{name}: "{literal}": a command or statement with a name in it; '
                                "use ShellCommand (cas/base/shell_word.h) or SqlGrant (store/sql_name.h)")
    return breaches


def unlisted_fail_points(root: pathlib.Path, sources: list[str]) -> list[str]:
    """docs/testing.md lists the fail points, all and only."""
    in_code = set()
    for name in sources:
        if not name.startswith("tests/") and name.endswith(".cc"):
            in_code |= set(re.findall(r'FAIL_POINT\("([^"]+)"\)', (root / name).read_text()))
    text = (root / "docs/testing.md").read_text()
    section = text[text.index("## Fail points"):].partition("\n## Seeds")[0]
    listed = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", section)) - {"tests/structure_test.py"}
    return [f"docs/testing.md: does not list the fail point {name}" for name in sorted(in_code - listed)] + \
        [f"docs/testing.md: lists the fail point {name}, which is not in the code" for name in sorted(listed - in_code)]


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    every = files_of(root)
    sources = [name for name in every
               if name.split("/")[0] in SOURCE_FOLDERS and name.endswith((".cc", ".h"))]
    if len(sources) < 10:
        print(f"structure: only {len(sources)} sources under {root}; is it the repository?")
        return 1
    breaches = include_breaches(root, sources) + unlisted_sources(root, sources, every) + \
        forbidden_words(root, every) + dead_links(root, every) + dead_references(root, every) + \
        unlisted_fail_points(root, sources) + unquoted_commands(root, sources)
    for breach in breaches:
        print(breach)
    print(f"structure: {len(sources)} sources, {len(every)} files, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
