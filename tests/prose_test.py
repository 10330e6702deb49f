#!/usr/bin/env python3
"""Keeps the prose plain: the comments of the product's sources, README.md, the folders' READMEs and docs/.

- Of the words of all comments, and of the words of all pages, at most 1 in 1,000 is who, whom, whose or whoever.
- No sentence begins with Who, Whom, Whose, Whoever, What or Whatever: its subject comes first.
- No line of a page is longer than 120 columns, in tables and code blocks too. A line that is only one link may be.

Prints one line for each breach and exits 1. Needs Python's standard library only.
    tests/prose_test.py [ROOT]
    tests/prose_test.py --self-test     tests how this file reads sources and pages
"""

import pathlib
import re
import sys
import unittest

from structure_test import files_of

SOURCE_FOLDERS = ("cas", "store", "fs", "api", "tools")
COLUMNS = 120
WORDS_PER_WHO = 1000

TOKEN = re.compile(r'''
    (?P<line>//(?:\\\n|[^\n])*)
  | (?P<block>/\*.*?\*/)
  | R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"
  | "(?:[^"\\\n]|\\.)*"
  | '(?:[^'\\\n]|\\.)*'
  | (?<!\w)\d(?:'?[\w.])*       # 1'000: no character begins there
''', re.VERBOSE | re.DOTALL)
WORD = re.compile(r"[A-Za-z][A-Za-z']*")
WHO = re.compile(r"\b(?:who|whom|whose|whoever)\b", re.IGNORECASE)
FIRST = r"(?:Who|Whom|Whose|Whoever|What|Whatever)\b"
BEGINS = re.compile(r"(?:^|[.!?:;][\"')`*_]*\s+)[\"'(`*_]*(" + FIRST + r"[^.]{0,60})")
BEGINS_BLOCK = re.compile(r"[\"'(`*_\[]*(" + FIRST + r"[^.]{0,60})", re.IGNORECASE)
ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
LINK_LINE = re.compile(r"\s*(?:[-*+] )?(?:\[[^\]]*\]\(\S+\)|<?\w+://\S+)[.,;:]?")


class Block:
    """Text that belongs together, a paragraph for example: its first line's number, and its lines."""

    def __init__(self, number: int, line: str):
        self.number = number
        self.lines = [line]

    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.lines)).strip()


def comment_blocks(source: str) -> list[Block]:
    """The comments of a C++ source. Comments below each other in one column are one block, but a list's items and
    what an empty comment line separates are blocks of their own."""
    blocks: list[Block] = []
    next_line, column = 0, -1
    for found in TOKEN.finditer(source):
        text = found.group("line") or found.group("block")
        if text is None:
            continue
        number = source.count("\n", 0, found.start()) + 1
        here = found.start() - (source.rfind("\n", 0, found.start()) + 1)
        alone = not source[found.start() - here:found.start()].strip()
        joined = alone and number == next_line and here == column
        body = re.sub(r"^/\*+|\*+/$|^//+!?<?", "", text)
        for offset, line in enumerate(body.split("\n")):
            line = re.sub(r"^\s*\*+(?=\s|$)", "", line) if offset else line
            if not line.strip():
                joined = False
            elif joined and not ITEM.match(line):
                blocks[-1].lines.append(line)
            else:
                blocks.append(Block(number + offset, ITEM.sub("", line, count=1)))
                joined = True
        next_line, column = (number + text.count("\n") + 1, here) if joined else (0, -1)
    return blocks


def page_blocks(page: str) -> list[Block]:
    """The prose of a page: its paragraphs, headings, list items and cells of tables, without code and link targets."""
    blocks: list[Block] = []
    joined, fenced = False, False
    for number, line in enumerate(page.splitlines(), 1):
        if line.lstrip().startswith("```"):
            joined, fenced = False, not fenced
            continue
        if fenced:
            continue
        line = re.sub(r"(`+).+?\1", "`x`", line)
        line = re.sub(r"\]\([^)]*\)", "]", line)
        if line.lstrip().startswith("|"):
            blocks += [Block(number, cell) for cell in re.split(r"(?<!\\)\|", line) if re.search(r"\w", cell)]
            joined = False
        elif not line.strip():
            joined = False
        elif line.startswith("#"):
            blocks.append(Block(number, line.lstrip("# ")))
            joined = False
        elif ITEM.match(line):
            blocks.append(Block(number, ITEM.sub("", line, count=1)))
            joined = True
        elif joined:
            blocks[-1].lines.append(line)
        else:
            blocks.append(Block(number, line))
            joined = True
    return blocks


def beginnings(blocks: list[Block], at_first: re.Pattern[str] = BEGINS) -> list[tuple[int, str]]:
    """The sentences that begin as none may: the number of the block's first line, and how the sentence begins."""
    found = []
    for block in blocks:
        text = block.text()
        first = at_first.match(text)
        starts = [first] if first else []
        starts += [begin for begin in BEGINS.finditer(text) if begin.start() > 0]
        found += [(block.number, begin.group(1)) for begin in starts]
    return found


def who_words(blocks: list[Block]) -> tuple[int, list[tuple[int, str]]]:
    """How many words the blocks have, and each line with a who in it, once for each."""
    words, found = 0, []
    for block in blocks:
        words += len(WORD.findall(" ".join(block.lines)))
        for line in block.lines:
            found += [(block.number, line.strip())] * len(WHO.findall(line))
    return words, found


def long_lines(page: str) -> list[tuple[int, int]]:
    """Numbers and lengths of the lines that are too long."""
    return [(number, len(line)) for number, line in enumerate(page.splitlines(), 1)
            if len(line) > COLUMNS and not LINK_LINE.fullmatch(line)]


def prose_breaches(kind: str, texts: dict[str, list[Block]], at_first: re.Pattern[str]) -> list[str]:
    breaches, total, every = [], 0, []
    for name, blocks in texts.items():
        breaches += [f"{name}:{number}: begins a sentence so: {begin}" for number, begin in beginnings(blocks, at_first)]
        words, found = who_words(blocks)
        total += words
        every += [f"{name}:{number}: {line}" for number, line in found]
    if len(every) * WORDS_PER_WHO > total:
        breaches += every
        breaches.append(f"{kind}: {len(every)} of {total} words are who, whom, whose or whoever, as listed above; "
                        f"1 in {WORDS_PER_WHO} may be")
    print(f"prose: {kind}: {len(texts)} files, {total} words, of which {len(every)} are who, whom, whose or whoever "
          f"({1000 * len(every) / max(total, 1):.2f} in 1,000)")
    return breaches


def is_page(name: str) -> bool:
    return name.endswith(".md") and (name.startswith("docs/") or name.rpartition("/")[2] == "README.md")


def main(root: pathlib.Path) -> int:
    every = files_of(root)
    sources = [name for name in every if name.split("/")[0] in SOURCE_FOLDERS and name.endswith((".cc", ".h"))]
    pages = {name: (root / name).read_text() for name in every if is_page(name)}
    if len(sources) < 10 or "README.md" not in pages:
        print(f"prose: only {len(sources)} sources and {len(pages)} pages under {root}; is it the repository?")
        return 1
    breaches = prose_breaches("comments", {name: comment_blocks((root / name).read_text()) for name in sources}, BEGINS)
    breaches += prose_breaches("pages", {name: page_blocks(page) for name, page in pages.items()}, BEGINS_BLOCK)
    breaches += [f"{name}:{number}: {length} columns; {COLUMNS} at most"
                 for name, page in pages.items() for number, length in long_lines(page)]
    for breach in breaches:
        print(breach)
    print(f"prose: {len(breaches)} breaches")
    return 1 if breaches else 0


class ReadsSources(unittest.TestCase):
    def texts(self, source: str) -> list[str]:
        return [block.text() for block in comment_blocks(source)]

    def test_lines_below_each_other_are_one_block(self):
        self.assertEqual(self.texts("// The user\n// who made it.\nint x;\n// Another.\n"),
                         ["The user who made it.", "Another."])

    def test_a_comment_behind_code_goes_on_in_its_column_only(self):
        self.assertEqual(self.texts("int x;  // one\n        // more\n// The next.\n"), ["one more", "The next."])

    def test_an_empty_comment_line_and_a_list_item_begin_a_block(self):
        self.assertEqual(self.texts("// First\n//\n// second:\n// - third\n//   line\n// 2. fourth\n"),
                         ["First", "second:", "third line", "fourth"])

    def test_a_block_comment_is_read_without_its_stars(self):
        self.assertEqual(self.texts("/* One\n * line.\n */ int x; /* two */\n"), ["One line.", "two"])

    def test_texts_characters_and_numbers_hold_no_comment(self):
        self.assertEqual(self.texts('auto a = "// who"; auto b = "\\"// who";\n'), [])
        self.assertEqual(self.texts('auto a = R"x(\n// who)")x";  // after\n'), ["after"])
        self.assertEqual(self.texts("char c = '\"';  // quote\nint n = 1'000;  // don't\n"), ["quote", "don't"])

    def test_a_sentence_that_begins_so_is_found_with_its_line(self):
        blocks = comment_blocks("int x;\n// Reads it. What is\n// read is kept. Somewhat: Whoever asks\n// Whatsoever\n")
        self.assertEqual(beginnings(blocks), [(2, "What is read is kept"), (2, "Whoever asks Whatsoever")])
        self.assertEqual(beginnings(comment_blocks("// Asks what it is, and who.\n// What it is.\n")),
                         [(1, "What it is")])
        self.assertEqual(beginnings(comment_blocks("// - Whose it is\n")), [(1, "Whose it is")])
        self.assertEqual(beginnings(comment_blocks("// The reader says\n// What it wants\n")), [])

    def test_who_is_counted_as_a_word_only(self):
        self.assertEqual(who_words(comment_blocks("// Who, whom and whose: whoever. Whole\nint who;\n")),
                         (6, [(1, "Who, whom and whose: whoever. Whole")] * 4))


class ReadsPages(unittest.TestCase):
    def test_code_and_targets_are_no_prose(self):
        page = "A `who` and [a page](who.md).\n\n```sh\nwho # Who\n```\nThe end.\n"
        self.assertEqual([block.text() for block in page_blocks(page)], ["A `x` and [a page].", "The end."])

    def test_headings_items_cells_and_paragraphs_begin_sentences(self):
        page = ("# Whose it is\nwho may\n\n| what | kept |\n|---|---|\n| a | `b` who |\n- what else\n  whose\n"
                "**Who** asks. Whom else?\n")
        self.assertEqual([number for number, _ in beginnings(page_blocks(page), BEGINS_BLOCK)], [1, 2, 4, 7, 7])

    def test_a_line_may_have_120_columns(self):
        self.assertEqual(long_lines("x" * 120 + "\n" + "é" * 121 + "\n"), [(2, 121)])

    def test_a_line_that_is_one_link_may_be_longer(self):
        target = "x" * 120
        self.assertEqual(long_lines(f"- [a page]({target}),\nhttps://{target}\n"), [])
        self.assertEqual(long_lines(f"see [a page]({target})\n"), [(1, len(target) + 14)])


class Judges(unittest.TestCase):
    def test_one_word_in_a_thousand_may_be_who(self):
        for words, breaches in ((1000, 0), (999, 2)):
            blocks = page_blocks("Asks who. " + "word " * (words - 2))
            self.assertEqual(len(prose_breaches("test", {"page": blocks}, BEGINS_BLOCK)), breaches)

    def test_pages_are_docs_and_readmes(self):
        self.assertEqual([is_page(name) for name in ("docs/a/b.md", "cas/README.md", "README.md", "tests/a.md", "docs/a")],
                         [True, True, True, False, False])


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(not unittest.main(argv=sys.argv[:1], exit=False).result.wasSuccessful())
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()))
