"""Bundled data, and pairs from docstrings: complete, exact against ast, deterministic, free of leaks."""

import ast
import json
import os
import subprocess
import sys

import pytest

from lib import sources
from lib.cleaning.dedup import jaccard, shingles, words
from lib.files import KitError
from lib.params import PublicParams
from lib.sources import docstrings

SMALL = PublicParams(n=150, packages=("networkx",))


@pytest.fixture(scope="module")
def pairs():
    return sources.docstring_pairs(SMALL)


def test_bundled_answers_are_all_there():
    counts = {category: len(sources.responses(category)) for category in sources.CODES}
    assert counts == {"short_short": 320, "short_long": 200, "long_short": 200, "long_long": 160, "sts": 150,
                      "bitext": 120}
    assert all(set(row) == {"slots", "response"} for row in sources.responses("sts"))
    assert all(text.strip() for text in sources.brainstorm("short_long"))


def test_unknown_names_are_refused_in_one_sentence():
    with pytest.raises(KitError, match="no bundled responses answers for 'long_ling'; there are bitext, long_long"):
        sources.responses("long_ling")
    with pytest.raises(KitError, match="no bundled brainstorm answers for 'sts'"):
        sources.brainstorm("sts")
    with pytest.raises(KitError, match="no bundled data 'classroom/nothing'"):
        sources.data_path("classroom/nothing")


def test_suite_texts_hold_every_text_and_no_label():
    texts = sources.suite_texts()
    assert len(texts) == 31
    raw = [json.loads(line) for line in open(sources.suite_path() / "LibraryDeskIntents.jsonl", encoding="utf-8")]
    assert {row["text"] for row in raw} == set(texts["LibraryDeskIntents"])
    assert not {row["label"] for row in raw} & set(texts["LibraryDeskIntents"])
    titles = [json.loads(line) for line in open(sources.suite_path() / "FieldNotes.corpus.jsonl", encoding="utf-8")]
    assert {row["title"] for row in titles} | {row["text"] for row in titles} <= set(texts["FieldNotes"])
    summaries = [json.loads(line) for line in open(sources.suite_path() / "MinutesSumm.jsonl", encoding="utf-8")]
    assert {text for row in summaries for text in row["machine_summaries"]} <= set(texts["MinutesSumm"])


def test_reference_tables():
    assert len(sources.reference("mteb_eng_v1_tasks")) == 56
    with pytest.raises(KitError):
        sources.reference("mteb_eng_v9")


def test_a_malformed_line_names_file_and_line(tmp_path):
    (tmp_path / "Broken.jsonl").write_text('{"text": "fine"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(KitError, match=r"Broken\.jsonl, line 2"):
        sources.suite_texts(tmp_path)


def test_docstrings_are_those_that_ast_finds():
    """The quick reader parses only the pieces around docstrings; it must find what parsing whole files finds."""
    found, expected = [], []
    for path in docstrings.source_files("networkx")[:120]:
        source = path.read_text(encoding="utf-8")
        found += docstrings.docstrings(source)
        nodes = [node for node in ast.walk(ast.parse(source))
                 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
        expected += [text for node in nodes if (text := ast.get_docstring(node)) and "\n\n" in text]
    assert len(expected) > 300
    assert sorted(found) == sorted(expected)


def test_tricky_sources_do_not_confuse_the_reader():
    source = '''
def first(a="x: y", b={"k": "def z():"}):  # comment: here
    """Return the first of two things.

    It looks at both of them, one after the other.
    """
    if a:
        """This is no docstring.

        It stands inside a branch."""

async def second(
    a: int,
) -> int:
    r"""Wait for the second \\thing.

    Then give it back."""

def third():
    x = 1
    """Not a docstring either.

    It comes after a statement."""

def broken(:
    """Never parsed.

    The header is not Python."""
'''
    assert [text.split("\n")[0] for text in docstrings.docstrings(source)] == [
        "Return the first of two things.", "Wait for the second \\thing."]


def test_split_keeps_prose_only():
    text = ("Compute the :func:`median` of an array.\n\nThe median is the middle value of a *sorted* copy; ``nan`` "
            "values are\nleft out here. See `the guide <https://x.org>`_ for more about it.\n\n.. note:: skipped\n\n"
            "Parameters\n----------\na : array\n    The input.\n")
    assert docstrings.split(text, 8, 60) == (
        "Compute the median of an array.",
        "The median is the middle value of a *sorted* copy; nan values are left out here. "
        "See the guide for more about it.")
    assert docstrings.split(text, 8, 18)[1].endswith("left out here.")
    assert docstrings.split("Compute it all.\n\nParameters\n----------\na : the one input of it.\n", 3, 60) is None
    assert docstrings.split("Compute it all.\n\nToo short a text.", 12, 60) is None


def test_pairs_are_clean(pairs):
    assert len(pairs) == 150
    for pair in pairs:
        assert pair.category == "public" and pair.instruction == SMALL.instruction and pair.negative == ""
        assert SMALL.min_words <= len(pair.positive.split()) <= SMALL.max_words
        assert words(pair.query) != words(pair.positive)
    assert len({tuple(words(pair.query)) for pair in pairs}) == 150
    sets = [shingles(pair.positive) for pair in pairs]
    assert max(jaccard(sets[i], sets[j]) for i in range(150) for j in range(i)) < 0.6


def test_pairs_that_leak_into_an_evaluation_set_are_dropped(pairs):
    leaked = pairs[3]
    again = sources.docstring_pairs(SMALL, {"Mine": [f"Somebody quotes it: {leaked.positive}"]})
    assert leaked.positive not in {pair.positive for pair in again}
    assert leaked.positive in {pair.positive for pair in sources.docstring_pairs(SMALL, {})}


def test_a_missing_package_is_named():
    with pytest.raises(KitError, match="'no_such_package' of public.packages is not installed"):
        sources.docstring_pairs(PublicParams(packages=("no_such_package",)))


def test_pairs_depend_neither_on_hashing_nor_on_importing():
    """Two processes with other hash seeds give the same pairs, and the packages read are not imported."""
    code = ("import sys\nfrom lib import sources\nfrom lib.params import PublicParams\nfrom lib.files import digest\n"
            "found = sources.docstring_pairs(PublicParams(n=100, packages=('networkx',)))\n"
            "print(digest([[t.id, t.query, t.positive] for t in found]), 'networkx' in sys.modules)")
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")}
    assert len(runs) == 1 and runs.pop().split()[1] == "False"


@pytest.mark.slow
def test_all_packages_give_thousands_of_pairs():
    found = sources.docstring_pairs(PublicParams(n=100_000))
    assert len(found) > 5_500
    packages = {pair.id.split("-")[0] for pair in found}
    assert packages == set(PublicParams().packages)
    assert sources.docstring_pairs(PublicParams(n=4_000)) == sources.docstring_pairs(PublicParams(n=4_000))
