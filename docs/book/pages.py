"""The pages of the book that are made: contents, galleries, claims, a page per profile, and links beside pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from lib.common.bundled import ROOT
from lib.params.params import Params, load

STUDIES = {"classroom": "The study", "classroom-isolation": "Each category by itself"}
STUDIES |= {"classroom-crossed": "With and without public data", "classroom-generators": "Who wrote the triplets"}
STUDIES |= {"decoder": "On a decoder"}
READ = "commands glossary statistics designs beyond profiles generator own teaching formats code speed faults tried"
READ = READ.split()
# how a cell of a notebook names the figure that it shows
_SHOWN = re.compile(r'\bshow\("(\w+)"\)|\bdesign\("(\w+)", "(\w+)"\)|"(data_\w+)"')
_ROW = re.compile(r"\| \[(\w+)\]\(\S+\) \(\[svg\]\(\S+\)\) \| (.*?) \| \[\S+\]\(\S+\) \| notebooks/(\w+)\.ipynb \|.*")


def write(source: Path) -> None:
    """Write all of them into ``source``, where the kit's own pages lie already."""
    cells = set().union(*(link_pictures(path) for path in sorted(source.glob("notebooks/*.ipynb"))))
    studies = sorted((path.parent for path in source.glob("figures/*/INDEX.md")), key=lambda path: path.name)
    for folder in studies:
        page = gallery((folder / "INDEX.md").read_text(encoding="utf-8"), folder.name, cells)
        (folder / "INDEX.md").write_text(page, encoding="utf-8")
        (folder / "claims.md").write_text(told(folder), encoding="utf-8")
    (source / "claims.md").write_text(together(studies), encoding="utf-8")
    (source / "profiles").mkdir()
    profiles = sorted(path.stem for path in ROOT.glob("params/*.yaml"))
    for name in profiles:
        (source / "profiles" / f"{name}.md").write_text(profile(name), encoding="utf-8")
    page = (source / "README.md").read_text(encoding="utf-8") + contents(source, studies, profiles)
    (source / "index.md").write_text(page, encoding="utf-8")
    (source / "README.md").unlink()


def link_pictures(path: Path) -> set[str]:
    """Put a line with links to numbers and gallery above every cell that shows a figure; return the places so named."""
    notebook, cells, places = json.loads(path.read_text(encoding="utf-8")), [], set()
    for cell in notebook["cells"]:
        found = _SHOWN.findall("".join(cell["source"])) if cell["cell_type"] == "code" and cell["outputs"] else []
        for shown, design, figure, of_data in found:
            name, study = shown or figure or of_data, f"classroom-{design}" if design else "classroom"
            folder = path.parent.parent / "figures" / study
            if (place := f"cell-{study}-{name}") not in places and (folder / f"{name}.csv").is_file():
                places.add(place)
                line = f"Numbers of the picture *{name}*: [{name}.csv](../figures/{study}/{name}.csv); all pictures: "
                line = f"({place})=\n{line}[gallery](../figures/{study}/INDEX.md)."
                cells.append({"cell_type": "markdown", "metadata": {}, "source": line})
        cells.append(cell)
    path.write_text(json.dumps(notebook | {"cells": cells}), encoding="utf-8")
    return places


def gallery(index: str, study: str, cells: set[str]) -> str:
    """INDEX.md as a gallery: each row of its table a section with picture, table and the cell that drew it."""
    lines, inputs = [f"# {STUDIES.get(study, study)}: figures"], ""
    for line in index.splitlines()[1:]:
        if row := _ROW.fullmatch(line):
            name, question, notebook = row.groups()
            place = f"cell-{study}-{name}"
            drawn = f"[{notebook}](#{place})" if place in cells else f"[{notebook}](../../notebooks/{notebook}.ipynb)"
            lines += ["", f"## {name}", "", f"{question}", "", f"![{question}]({name}.png)", ""]
            lines += [f"Numbers: [{name}.csv]({name}.csv); vector: [{name}.svg]({name}.svg); drawn by {drawn}."]
        elif line.startswith("Inputs "):
            inputs = line  # of use to few, so last
        elif not line.startswith(("| figure |", "|---|---|---|---|---|")):
            lines.append(line)
    return "\n".join([*lines, "", inputs]) + "\n"


def told(folder: Path) -> str:
    """claims.csv of a study, a section per claim: a table of long sentences cannot be read on a narrow screen."""
    table = pd.read_csv(folder / "claims.csv", keep_default_na=False)
    lines = [f"# {STUDIES.get(folder.name, folder.name)}: claims", ""]
    lines += ["[Figures](INDEX.md) · [all claims](../../claims.md)"]
    for row in table.itertuples():
        lines += ["", f"## {row.claim}", "", f"**{row.verdict}**: {row.numbers}", ""]
        lines += [f"Published: {row.published or 'no number'} ({row.source}). Decided so: {row.rule}"]
    return "\n".join(lines) + "\n"


def together(studies: list[Path]) -> str:
    """The page of all claims: a row per claim, its verdict in every study that can decide it."""
    tables = [pd.read_csv(folder / "claims.csv").assign(study=folder.name) for folder in studies]
    table = pd.concat(tables, ignore_index=True)
    table["verdict"] = table["verdict"].replace("not testable here", "–")
    wide = table.pivot(index="claim", columns="study", values="verdict").reindex(table["claim"].unique()).fillna("")
    heads = [f"[{STUDIES.get(name, name)}](figures/{name}/claims.md)" for name in wide.columns]
    lines = ["# Claims of the paper, and what these studies say of them", "", "| claim | " + " | ".join(heads) + " |"]
    lines += ["|---|" + "---|" * len(heads)]
    lines += [f"| {claim} | " + " | ".join(row) + " |" for claim, row in zip(wide.index, wide.to_numpy(), strict=True)]
    lines += [
        "",
        "*Reproduced* and *contradicted* need two studies; *in one study* and *opposite in one study* say that",
    ]
    lines += [
        "only one shows it; *below noise*: too small to be seen; –: that study cannot tell; blank: not asked.",
        "",
    ]
    return "\n".join([*lines, _tree("", [f"figures/{folder.name}/claims" for folder in studies])])


def profile(name: str) -> str:
    """A page per parameter file: every parameter with its value, whether the file sets it, and what it means."""
    params, text = load(name), (ROOT / "params" / f"{name}.yaml").read_text(encoding="utf-8")
    lines = [f"# Profile `{name}`", "", "A value in bold is set by the file, any other is the default.", ""]
    lines += ["<details><summary>The file with its comments</summary>", ""]
    lines += ["```yaml", text.strip(), "```", "", "</details>"]
    for section, field in Params.model_fields.items():
        part = getattr(params, section)
        if hasattr(part, "model_fields_set"):
            lines += ["", f"## {section}", "", "| parameter | value | meaning |", "|---|---|---|"]
            for key, about in type(part).model_fields.items():
                lines.append(_row(key, getattr(part, key), about.description, key in part.model_fields_set))
        elif field.description and section != "profile":
            lines += ["", f"`{section}`: {part} ({field.description})"]
    return "\n".join(lines) + "\n"


def _row(key: str, value, meaning: str | None, given: bool) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=lambda one: one.model_dump()).replace("|", "\\|")
    shown = "empty" if value == "" else f"`{shown}`"
    meaning = (meaning or "").replace("|", "\\|")
    return f"| `{key}` | {f'**{shown}**' if given else shown} | {meaning} |"


def contents(source: Path, studies: list[Path], profiles: list[str]) -> str:
    """The table of contents, hidden at the end of the first page; the theme shows it beside every page."""
    notebooks = sorted(path.stem for path in source.glob("notebooks/*.ipynb"))
    galleries = [f"{STUDIES.get(one.name, one.name)} <figures/{one.name}/INDEX>" for one in studies]
    parts = {
        "Notebooks": [f"{name.replace('_', ' ')} <notebooks/{name}>" for name in notebooks],
        "Results": [*galleries, "Claims <claims>"],
        "Pages": [f"docs/{name}" for name in READ] + ["params/LOG", "params/cluster/README"],
        "Profiles": [f"profiles/{name}" for name in profiles],
        "Data": [path.relative_to(source).with_suffix("").as_posix() for path in sorted(source.glob("lib/**/*.md"))],
    }
    blocks = ["", *(_tree(caption, entries) for caption, entries in parts.items() if entries)]
    return "\n".join(blocks)


def _tree(caption: str, entries: list[str]) -> str:
    head = [":hidden:", ":maxdepth: 1", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["```{toctree}", *head, "", *entries, "```", ""])
