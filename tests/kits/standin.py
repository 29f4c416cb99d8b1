"""A copy of the kit whose notebooks do next to nothing: the real Snakefile, papermill and reports around quick jobs.

A job writes its name into ``journal`` and does what the file of its name in ``faults/`` says: ``raise``, ``killed``
(as the kernel's out-of-memory killer does it), ``memory`` (more than it may have), or nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from grids import ROOT

HEAD = """
import os, pathlib, signal, time
from lib.common.files import digest, digest_file, read_json, write_bytes, write_digests, write_json, write_text
from lib.params.params import load
from lib.generate.dataset import share_out
from lib.params.params import answering, of_run
from lib.params.provenance import decisive
from lib.params.provenance import MADE, data_hash
from lib.score.score import wanted_sets, write_record

params = load(params_file, overrides)
if globals().get("generator"):
    params = answering(params, generator)
if "subset" in globals():
    share_out(params)
    params = of_run(params, subset)
home = pathlib.Path(os.environ["STANDIN"])

def begin(name):
    with open(home / "journal", "a") as journal:
        journal.write(name + "\\n")
    fault = home / "faults" / name.replace(" ", "-")
    kind = fault.read_text() if fault.exists() else ""
    print(f"{name} begins", flush=True)
    if kind == "raise":
        raise ValueError(f"planted in {name}")
    if kind == "killed":
        time.sleep(0.5)  # a kernel sends what was printed a moment later
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "memory":
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
        bytearray(64 << 30)
"""
CELLS = {
    "01_generate": """
begin(f"generate {generator}".strip())
write_json(params.data_dir / MADE, {"made_of": decisive(params, "data")})
write_json(params.data_dir / "manifest.json", {})
if generator:
    from lib.common.design import Triplet, write_triplets
    n, category = params.generation.n["short_long"], params.study.category
    rows = [Triplet(f"task {i % 7}", f"{generator} {i}", f"answer {i}", id=str(i)) for i in range(n)]
    files = [write_triplets(params.data_dir / "triplets" / f"{category}.jsonl", rows),
             write_triplets(params.data_dir / "public.jsonl", [])]
    count = {"asked": n, "valid": n, "rejected": {}, "cleaned": {}, "duplicates": 0, "parsed": n}
    report = {"generator": "replay", "categories": {category: count | {"tokens_in": None, "tokens_out": None}},
              "prices": {"price_in": 0, "price_out": 0, "gpu_price": 0, "gpus": 0, "currency": "USD"}}
    write_json(params.data_dir / "generation.json", report)
    write_digests(params.data_dir / "manifest.json", files)""",
    "02_inspect": """
begin("inspect")
write_json(params.inspect_file, {})""",
    "03_train": """
begin(f"train {subset} {seed}")
folder = params.models_dir / subset / f"seed{seed}"
content = digest([subset, seed, params.training.learning_rate]).encode() * 64 * int(os.environ.get("ADAPTER_KB", 1))
weights = write_bytes(folder / "adapter_model.safetensors", content)
config = write_json(folder / "adapter_config.json", {})
write_json(folder / "train.json", {"seconds": 0.5, "made_of": decisive(params, "model"),
                                    "data_hash": data_hash(params.data_dir), "adapter": digest_file(weights),
                                    "adapter_config": digest_file(config)})""",
    "04_score": """
begin(f"score {subset} {seed}")
import random
from lib.common.design import BASE, levels, parse_run
chosen, public = ((), False) if subset == BASE else parse_run(subset)
codes = levels(chosen, params.study.categories)
start = [subset, int(public), *codes.values(), seed]
rows = [["subset", "public", *codes, "seed", "task", "type", "metric", "score", "params_hash", "score_seconds"]]
for i, (kind, task) in enumerate(zip(["STS", "STS", "Retrieval", "Retrieval"], sorted(wanted_sets(params)))):
    luck = random.Random(f"{subset} {seed} {i} {params.training.learning_rate}").random()
    score = 0.5 + 0.02 * len(chosen) + 0.01 * luck
    rows.append([*start, task, kind, "m", score, params.hash("model"), 0.1])
path = params.scores_dir / subset / f"seed{seed}.csv"
write_record(params, subset, seed)
text = "".join(",".join(map(str, row)) + "\\n" for row in rows)
write_digests(path.with_suffix(".manifest.json"), [write_text(path, text)])""",
    "05_influence": """
begin("influence")
write_json(params.run_dir / "influence.json", {"inputs": {"results.csv": digest_file(params.results_file)},
                                               "made_of": decisive(params, "influence")})""",
}
RUN = 'subset = "ss"\nseed = 0\nexplain = True'
PARAMETERS = {
    "01_generate": 'generator = ""',
    "02_inspect": "",
    "03_train": RUN,
    "04_score": RUN,
    "05_influence": 'results = ""',
}


class Kit:
    """The copy in ``folder``; ``real`` names the notebooks that are the kit's own."""

    def __init__(self, folder: Path, real: tuple[str, ...] = (), **overrides: object):
        self.folder, self.home, self.runs = folder / "kit", folder, folder / "runs"
        sets = sorted(path.stem for path in (ROOT / "lib" / "data" / "classroom" / "suite").glob("*.yaml"))
        self.overrides = {
            "paths.runs": str(self.runs),
            "paths.figures": str(folder / "figures"),
            "grid.retries": 0,
            "scoring.exclude": sets[4:],
            **overrides,
        }
        shutil.copytree(ROOT / "lib", self.folder / "lib", ignore=shutil.ignore_patterns("__pycache__", "data"))
        (self.folder / "lib" / "data").symlink_to(ROOT / "lib" / "data")
        shutil.copytree(ROOT / "params", self.folder / "params")
        shutil.copy(ROOT / "Snakefile", self.folder)
        server = self.folder / "lib" / "grid" / "kernel_server.py"  # these jobs need no torch
        light = 'PRELOAD = ("papermill.cli", "ipykernel.kernelapp", "lib.params.params", "pandas", "matplotlib.pyplot")'
        text, found = re.subn(r"PRELOAD = \(.*?\)\.split\(\)\n", light + "\n", server.read_text(), flags=re.S)
        assert found == 1
        server.write_text(text)
        (self.folder / "notebooks").mkdir()
        (folder / "faults").mkdir()
        for name, cell in CELLS.items():
            if name in real:
                shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", self.folder / "notebooks")
            else:
                self._write(name, cell)

    def _write(self, name: str, cell: str) -> None:
        head = 'params_file = "classroom"\noverrides = {}\n' + PARAMETERS[name]
        book = nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_code_cell(head, metadata={"tags": ["parameters"]}),
                nbformat.v4.new_code_cell(HEAD),
                nbformat.v4.new_code_cell(cell),
            ]
        )
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.folder / "notebooks" / f"{name}.ipynb")

    @property
    def run(self) -> Path:
        return self.runs / "classroom"

    def fault(self, job: str, kind: str = "") -> None:
        """Plant a fault in a job ("train ss 0"), or take it out again."""
        path = self.home / "faults" / job.replace(" ", "-")
        path.write_text(kind) if kind else path.unlink()

    def start(self, what: str = "reproduce", design: str = "", **environment: str) -> subprocess.Popen:
        """Start ``python -m lib reproduce`` (or another command) as the leader of a process group."""
        command = [sys.executable, "-m", "lib", what, "--overrides", json.dumps(self.overrides)]
        command += ["--design", design] if design else []
        around = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "STANDIN": str(self.home),
            "TQDM_DISABLE": "1",
            **environment,
        }
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=around,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def reproduce(self, what: str = "reproduce", design: str = "", **environment: str) -> subprocess.CompletedProcess:
        """Run the grid to its end (or another command)."""
        process = self.start(what, design, **environment)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def journal(self) -> list[str]:
        """The jobs that began since the last call, in order."""
        path = self.home / "journal"
        jobs = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return jobs
