# The grid: which notebook runs when. papermill executes, Snakemake decides; `make reproduce` calls it.
#
#   01_generate ── 02_inspect
#        └──────── 03_train[run, seed] ── 04_score[run, seed] ── results.csv ── 05_influence
#
# Another design than the factorial (study.design) takes the same jobs for the runs that both have; its results.csv lies
# in a folder of its own, and its figures are drawn from it without a notebook. Compared generators have an 01 each.
#
# A checkpoint folder is never a declared output: Snakemake deletes the outputs of a failed job, and a killed
# training is to go on from its checkpoint. One small result file is declared, written last; the executed
# notebook stands under `log:` so that a failure keeps it. Whether a finished job is still what the parameters would
# make is told by the records beside the results (lib.grid.results), not by Snakemake's own memory.
import json
import shlex
import sys

from lib.common.design import FACTORIAL, generator_of
from lib.grid.jobs import answers
from lib.params.params import load

OVERRIDES = json.loads(bytes.fromhex(config.get("overrides", "7b7d")))  # hex: Snakemake would parse JSON as YAML
PROFILE = config.get("profile", "classroom")
P = load(PROFILE, OVERRIDES)
DATA, MODELS, SCORES_DIR, RUN = str(P.data_dir), str(P.models_dir), str(P.scores_dir), str(P.run_dir)
INSPECT, RESULTS = str(P.inspect_file), str(P.results_file)
INFLUENCE = str(P.influence_file)
SCORES = [f"{SCORES_DIR}/{run.name}/seed{run.seed}.csv" for run in P.study.runs()] + [f"{SCORES_DIR}/base/seed0.csv"]
ANSWERS = {job: f"{asked.data_dir}/manifest.json" for job, asked in answers(P).items()}  # "generate": the study's own

# Snakemake formats shell commands, so the braces of the JSON are doubled.
OVERRIDES_TEXT = shlex.quote(json.dumps(OVERRIDES)).replace("{", "{{").replace("}", "}}")
OVERRIDES_YAML = shlex.quote(f"overrides: {json.dumps(OVERRIDES)}").replace("{", "{{").replace("}", "}}")
PAPERMILL = (f"{sys.executable} -I lib/grid/kernel_server.py papermill --cwd notebooks --kernel python3 --no-progress-bar "
             f"-p params_file {shlex.quote(PROFILE)} -y {OVERRIDES_YAML} ")
OF_THE_KIT = f"--profile {shlex.quote(PROFILE)} --overrides {OVERRIDES_TEXT}"
THREADS = P.grid.threads
RESOURCES = dict(mem_mb=P.grid.mem_mb, runtime=P.grid.minutes, gpu=P.grid.gpus)

workdir: workflow.basedir

wildcard_constraints:
    run=r"[a-z+-]+(@[\w.-]+)?",
    seed=r"\d+",

localrules: all, collect

rule all:
    input: INFLUENCE, INSPECT

rule generate:
    output: f"{DATA}/manifest.json"
    log: notebook=f"{RUN}/notebooks/01_generate.ipynb"
    threads: THREADS
    resources: **RESOURCES
    retries: P.grid.retries
    shell: PAPERMILL + "notebooks/01_generate.ipynb {log.notebook}"

for number, (job, manifest) in enumerate(ANSWERS.items()):
    if job != "generate":
        rule:
            name: f"generate_{number}"
            output: manifest
            log: notebook=f"{RUN}/notebooks/01_generate/{job}.ipynb"
            params: generator=job
            threads: THREADS
            resources: **RESOURCES
            retries: P.grid.retries
            shell: PAPERMILL + "-p generator {params.generator} notebooks/01_generate.ipynb {log.notebook}"

rule inspect:
    input: rules.generate.output
    output: INSPECT
    log: notebook=f"{RUN}/notebooks/02_inspect.ipynb"
    threads: THREADS
    resources: **{**RESOURCES, "gpu": 0}
    retries: P.grid.retries
    shell: PAPERMILL + "notebooks/02_inspect.ipynb {log.notebook}"

rule train:  # a generator's runs have an equal share of what all of them answered
    input: lambda w: list(ANSWERS.values()) if generator_of(w.run) else ANSWERS["generate"]
    output: f"{MODELS}/{{run}}/seed{{seed}}/train.json"
    log: notebook=f"{RUN}/notebooks/03_train/{{run}}-seed{{seed}}.ipynb"
    threads: THREADS
    resources: **RESOURCES
    retries: P.grid.retries
    shell: PAPERMILL + "-p subset {wildcards.run} -p seed {wildcards.seed} -p explain False notebooks/03_train.ipynb {log.notebook}"

rule score:
    input: lambda w: [] if w.run == "base" else rules.train.output[0].format(run=w.run, seed=w.seed)
    output: f"{SCORES_DIR}/{{run}}/seed{{seed}}.csv"
    log: notebook=f"{RUN}/notebooks/04_score/{{run}}-seed{{seed}}.ipynb"
    threads: THREADS
    resources: **RESOURCES
    retries: P.grid.retries
    shell: PAPERMILL + "-p subset {wildcards.run} -p seed {wildcards.seed} -p explain False notebooks/04_score.ipynb {log.notebook}"

rule collect:
    input: SCORES
    output: RESULTS
    shell: f"{sys.executable} -m lib collect {OF_THE_KIT}"

if P.study.design == FACTORIAL:
    rule influence:
        input: RESULTS, INSPECT
        output: INFLUENCE
        log: notebook=f"{RUN}/notebooks/05_influence.ipynb"
        threads: THREADS
        resources: **{**RESOURCES, "gpu": 0}
        shell: PAPERMILL + "notebooks/05_influence.ipynb {log.notebook}"
else:
    rule contrast:
        input: RESULTS
        output: INFLUENCE
        localrule: True
        shell: f"{sys.executable} -m lib contrast {OF_THE_KIT}"
