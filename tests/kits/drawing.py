"""What the tests of figures share: the command without heavy packages, second studies, own results."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from planted import study

from lib.influence.influence import analyse
from lib.params.model import InfluenceParams

ROOT = Path(__file__).resolve().parents[2]
QUICK = InfluenceParams()
# Runs the command with every heavy package made unimportable: figures come from results.csv alone.
BLOCKED = """
import sys, resource
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "mteb", "transformers", "sentence_transformers", "peft", "datasets"):
            raise ImportError(f"{name} must not be needed for figures")
sys.meta_path.insert(0, Blocker())
from lib.__main__ import main
code = main(sys.argv[1:])
print("cpu", resource.getrusage(resource.RUSAGE_SELF).ru_utime)
raise SystemExit(code)
"""


def command(results: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    """Run `python -m lib figures` with the heavy packages blocked."""
    arguments = [sys.executable, "-c", BLOCKED, "figures", "--results", str(results), "--out", str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def again(first, second) -> pd.DataFrame:
    """The table of a second study: every effect twice, the marks of the first, and whether they returned."""
    keys = ["level", "task", "type", "factor"]
    one, two = (analyse(table, QUICK).effects[[*keys, "effect", "se", "p", "p_bh"]] for table in (first, second))
    both = one.merge(two, on=keys, suffixes=("", "_2"))
    names = {"effect": "first", "se": "first_se", "p": "first_p"}
    both = both.rename(columns=names | {f"{old}_2": new.replace("first", "second") for old, new in names.items()})
    marked = both["p_bh"] < 0.05
    same = np.sign(both["first"]) == np.sign(both["second"])
    both = both.assign(marked_first=marked, same_sign=same, returned=marked & same & (both["second_p"] < 0.05))
    return both.drop(columns=["p_bh", "p_bh_2"])


def own_results(tmp_path, aliased=False):
    """A table of somebody's own: three categories of other names, no public data, no subsets."""
    table = study({"STS": 3, "Chess": 3}, effects={("sl", "STS"): 3.0}, base_rows=False).query("ll == 0")
    table = table.rename(columns={"ss": "puzzles", "sl": "recipes", "ls": "law"}).drop(
        columns=["ll", "public", "subset", "metric"]
    )
    table = table.query("puzzles == recipes") if aliased else table
    table.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def whole(folder: Path) -> None:
    """Assert that every SVG holds words and no date, and that no picture is cut at its border."""
    import matplotlib.image as image

    for path in sorted(folder.glob("*.svg")):
        text = path.read_text()
        assert text.count("<text") > 5, path.name
        assert "<dc:date>" not in text
        pixels = image.imread(path.with_suffix(".png"))[..., :3]
        edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
        assert all((edge > 0.98).all() for edge in edges), f"{path.name} touches its border"
