"""The book: notebooks with their outputs, figures, claims, profiles and the pages of docs/ as a site without a server.

    .venv/bin/python docs/book/build.py [folder]        what `make book` does; about a minute, no network

The sources are laid out as in the kit (so that every relative link holds), with pages made of the tables and parameter
files beside them; Sphinx makes the site; then every link of it is followed, and every request to another host refused.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import pages  # noqa: E402

_LINK = re.compile(r"\]\(([^)\s#]+)")


def gather(source: Path) -> None:
    """Copy every page, notebook and figure, and all that they link to, to the same place below ``source``."""
    waiting = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("figures/*/*")]
    seen = set()
    while waiting:
        path = waiting.pop().resolve()
        if path in seen or not path.is_file() or not path.is_relative_to(ROOT):
            continue
        seen.add(path)
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        if path.suffix in (".md", ".ipynb"):
            links = _LINK.findall(path.read_text(encoding="utf-8"))
            waiting += [path.parent / link for link in links if "://" not in link]


def broken(site: Path) -> Iterator[str]:
    """Yield a sentence per link that leads nowhere, and per request that a page would make to another host."""
    from bs4 import BeautifulSoup

    soups = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in site.rglob("*.html")}
    places = {path: {tag["id"] for tag in soup.find_all(id=True)} for path, soup in soups.items()}
    for path, soup in soups.items():
        found = [(tag, tag[name]) for name in ("href", "src") for tag in soup.find_all(attrs={name: True})]
        for tag, address in found:
            target = urlsplit(address)
            if target.scheme or target.netloc:
                if target.scheme != "data" and tag.name != "a":
                    yield f"{path.relative_to(site)} asks another host: {address}"
                continue
            there = (path.parent / unquote(target.path)).resolve() if target.path else path
            if not there.is_file():
                yield f"{path.relative_to(site)} links to {address}, which is not there"
            elif there in places and target.fragment and unquote(target.fragment) not in places[there]:
                yield f"{path.relative_to(site)} links to {address}, a place that is not on that page"
    for path in (*site.rglob("*.css"), *site.rglob("*.html")):
        for address in re.findall(r"(?:url\(|@import)\s*['\"]?(https?:[^'\")]+)", path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)} asks another host: {address}"


def main(site: Path) -> int:
    """Make the site in a folder, replacing an earlier one only by a whole one; return the number of broken links."""
    with tempfile.TemporaryDirectory() as scratch:
        source, fresh = Path(scratch, "source"), Path(scratch, "site")
        gather(source)
        pages.write(source)
        sphinx = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", HERE, "-d", Path(scratch, "trees")]
        quiet = os.environ | {"PYTHONWARNINGS": "ignore"}  # of notebooks whose cells have no names
        if code := subprocess.run([*sphinx, str(source), str(fresh)], env=quiet).returncode:
            return code
        wrong = list(broken(fresh))
        print(*wrong, sep="\n", end="\n" * bool(wrong))
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(fresh, site)
    print(f"open {site / 'index.html'}; no server is needed")
    return len(wrong)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "runs" / "book").resolve()))
