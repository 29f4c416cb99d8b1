"""Parameters: one YAML file per profile holds every leaf of a run; this module says what each leaf means.

``load("classroom")`` reads ``params/classroom.yaml``, applies dotted overrides, and returns a checked
``Params``. Unknown names, wrong types and impossible values are refused in one sentence.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.design import CATEGORIES, EXTRA
from lib.files import KitError, digest

ROOT = Path(__file__).resolve().parent.parent
Category = Literal["short_short", "short_long", "long_short", "long_long", "sts", "bitext"]


class Section(BaseModel):
    """A group of leaves: no unknown names, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PathParams(Section):
    """Where files go. Relative paths start at the kit's root."""

    runs: str = Field("runs", description="folder that holds one run folder per profile (not in git)")
    figures: str = Field("figures", description="folder that holds one figure folder per profile")


class StudyParams(Section):
    """Which models are trained."""

    categories: tuple[Category, ...] = Field(CATEGORIES, strict=False, description="the factors of the factorial")
    extra: tuple[Category, ...] = Field(EXTRA, strict=False, description="generated too, but not part of the factorial")
    design: Literal["factorial", "isolation", "crossed"] = Field(
        "factorial", description="factorial: all subsets with public data; others see lib.designs")
    seeds: tuple[int, ...] = Field((0, 1), strict=False, min_length=1, description="training seeds per subset")


class GenerationParams(Section):
    """How an LLM is asked for triplets (paper, section 2 and appendix B; its sampling values are the defaults)."""

    backend: Literal["replay", "openai", "vllm", "transformers", "released"] = Field(
        "replay", description="who answers: the bundled answers, an OpenAI-compatible server, vLLM or transformers here; "
        "released: nobody, the triplets at location are used")
    model: str = Field("", description="name or folder of the generator (as the server knows it for backend openai)")
    revision: str = Field("", description="revision of the generator on the hub; empty = the newest (vllm, transformers)")
    location: str = Field("", description="folder or hub name of released triplets (backend released; model says whose)")
    variant: Literal["released", "wang2024", "classroom"] = Field(
        "released", description="whose templates: the paper's released code, Wang et al., or short texts for a laptop")
    templates: str = Field("", description="folder of template files in the released form; empty = the kit's own")
    compare_indices: bool = Field(
        False, description="bitext languages differ by position in the list, as in the released code, not by name")
    n: dict[Category, int] = Field(
        {}, description="triplets asked for per category; not named or 0 = all bundled answers (replay only)")
    brainstorms: int = Field(100, ge=1, description="how often each brainstorm prompt is asked, about 20 tasks each")
    seed: int = Field(42, ge=0, description="seed of the slots and, through them, of every single answer")
    system: str = Field("You are a helpful assistant.", description="system prompt; empty = none")
    temperature: float = Field(0.8, ge=0, description="sampling temperature of answers (Wang et al.: 1.0)")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus of answers (Wang et al.: 1.0)")
    brainstorm_temperature: float = Field(1.0, ge=0, description="sampling temperature of brainstorms")
    brainstorm_top_p: float = Field(0.9, gt=0, le=1, description="nucleus of brainstorms (Wang et al.: 1.0)")
    max_tokens: int = Field(4096, ge=1, description="longest answer in tokens; a longer one is rejected as truncated")
    structured: Literal["json_schema", "json_object", "off"] = Field(
        "json_schema", description="hold the LLM to the category's JSON schema, to any JSON object, or to nothing")
    max_chars: int = Field(0, ge=0, description="longest text in the schema, in characters; 0 = no limit but max_tokens")
    base_url: str = Field("http://127.0.0.1:8000/v1", description="address of the server (backend openai)")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the server's key, if it wants one")
    concurrency: int = Field(64, ge=1, description="requests under way at once (backend openai)")
    retries: int = Field(6, ge=0, description="how often a failed request is sent again, waiting longer each time")
    timeout: float = Field(600.0, gt=0, description="seconds one request may take")
    tensor_parallel: int = Field(1, ge=1, description="GPUs the generator is split over (backend vllm)")
    max_model_len: int = Field(8192, ge=64, description="tokens of prompt and answer together (backend vllm)")
    gpu_memory: float = Field(0.9, gt=0, le=1, description="share of GPU memory vLLM may take")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("auto", description="precision of the generator")
    batch_size: int = Field(16, ge=1, description="answers written at once (backend transformers)")
    price_in: float = Field(0.0, ge=0, description="price of a million prompt tokens")
    price_out: float = Field(0.0, ge=0, description="price of a million answer tokens")
    gpu_price: float = Field(0.0, ge=0, description="price of one GPU for one hour")
    gpus: int = Field(0, ge=0, description="GPUs the generator runs on, for the cost; 0 = the machine is free")
    currency: str = Field("USD", description="unit of the prices")


class CleaningParams(Section):
    """Which triplets are thrown away, and why."""

    rules: bool = Field(True, description="apply the rules on single triplets (refusal, copy, label leak, ...)")
    language: bool = Field(True, description="drop texts that are clearly not in the language their slot asked for")
    language_min_chars: int = Field(60, ge=20, description="shorter texts are not judged by the language detector")
    language_margin: float = Field(
        0.1, ge=0, description="how far (log-probability per character) another language must lead to drop a text")
    length_tolerance: float = Field(
        0.4, ge=0, le=1, description="share by which a text may miss its slot's word count before it is dropped")
    duplicates: bool = Field(True, description="drop exact and near duplicates")
    near_duplicate: float = Field(
        0.7, gt=0, le=1, description="Jaccard similarity of word trigrams from which two texts count as one")
    permutations: int = Field(128, ge=16, le=512, description="MinHash permutations: more is more exact and slower")
    contamination: Literal["remove", "report", "off"] = Field(
        "remove", description="what happens to triplets that share an n-gram with an evaluation text")
    contamination_ngram: int = Field(8, ge=3, le=50, description="words in a row that count as contamination")
    contamination_limit: int = Field(0, ge=0, description="texts compared per evaluation set; 0 = all of them")
    seed: int = Field(0, ge=0, description="seed of the MinHash permutations")


class NegativesParams(Section):
    """How hard negatives are mined (the paper's way: params/paper.yaml)."""

    strategy: dict[Category, Literal["llm", "nearest", "random_of_top_k", "none"]] = Field(
        {"short_short": "random_of_top_k", "short_long": "llm", "long_short": "llm", "long_long": "random_of_top_k",
         "sts": "llm", "bitext": "llm"},
        description="per category: the LLM's own, the nearest candidate, a seeded draw from the top k, or none")
    top_k: int = Field(10, ge=1, le=1000, description="candidates that survive the filters and may be chosen")
    skip: int = Field(0, ge=0, le=1000, description="nearest candidates left out before the top k begins")
    margin: float = Field(
        0.05, ge=0, lt=1,
        description="false-negative guard: a candidate must score below (1 - margin) x the positive's score; 0 = off")
    same_task: bool = Field(False, description="candidates only from triplets with the same instruction")
    same_language: bool = Field(True, description="candidates only from triplets in the same language")
    encoder: str = Field("bundled:minilm", description="model that embeds queries and candidates: as model.name")
    pooling: Literal["mean", "cls", "last"] = Field("mean", description="pooling of the mining encoder")
    max_length: int = Field(256, ge=8, description="tokens the mining encoder reads of a text")
    query_template: str = Field("{text}", description="how a query is embedded for mining: {instruction} and {text}")
    block: int = Field(1024, ge=1, description="queries scored at once; memory is threads x block x chunk, never n x n")
    chunk: int = Field(8192, ge=1, description="candidates scored at once")
    seed: int = Field(0, ge=0, description="seed of random_of_top_k")


class PublicParams(Section):
    """The public half of the mixture."""

    source: Literal["docstrings", "e5"] = Field("docstrings", description="docstrings of installed packages, or the E5 data")
    n: int = Field(4000, ge=1, description="pairs kept (fewer when the source has fewer)")
    seed: int = Field(0, ge=0, description="seed of the sample")
    packages: tuple[str, ...] = Field(
        ("numpy", "scipy", "pandas", "sklearn", "statsmodels", "networkx", "matplotlib", "torch"), strict=False,
        min_length=1, description="import names of the packages whose docstrings are read (source docstrings)")
    instruction: str = Field(
        "Given the summary line of a library function, retrieve its description.",
        description="instruction of the docstring pairs")
    min_words: int = Field(12, ge=1, description="shortest description that is kept (source docstrings)")
    max_words: int = Field(110, ge=10, description="descriptions are cut at the last sentence before this many words")
    location: str = Field("", description="folder or hub name of the E5 data: one JSONL file per data set (source e5)")
    datasets: tuple[str, ...] = Field((), strict=False, description="data sets to read from location; empty = all")


class MixtureParams(Section):
    """How a subset becomes a sequence of homogeneous batches."""

    budget: Literal["fixed_steps", "fixed_epochs"] = Field(
        "fixed_steps", description="fixed_steps: every subset trains equally long; fixed_epochs: every pool is passed epochs times")
    steps: int = Field(10, ge=1, description="optimizer steps of a run (budget fixed_steps)")
    steps_per_category: int = Field(
        2, ge=0, description="batches of each present category, the same whatever the subset; the rest is public (fixed_steps)")
    epochs: int = Field(1, ge=1, description="passes over every pool, incomplete last batch dropped (budget fixed_epochs)")


class ModelParams(Section):
    """The base model and how its hidden states become one vector."""

    name: str = Field("bundled:minilm", description="bundled:minilm, a folder, or a name on the Hugging Face hub")
    revision: str = Field("", description="revision on the hub; empty for the newest")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="type of weights and activations")
    pooling: Literal["mean", "cls", "last"] = Field("mean", description="hidden states to one vector")
    normalize: bool = Field(True, description="scale embeddings to length 1, so that the dot product is the cosine")
    append_eos: bool = Field(False, description="end every text with the end-of-sequence token (pooling last needs it)")
    max_length: int = Field(256, ge=2, description="tokens read of a text when encoding (training.max_length when training)")
    query_template: str = Field("", description="how an instruction and a query become one text: {instruction}, {text}")
    document_template: str = Field("", description="how a document is written: {text}; empty for the text alone")
    encode_tokens: int = Field(0, ge=0, description="tokens per encoding batch, padding included; 0 for a good choice")
    lora_rank: int = Field(16, ge=1, description="rank of the LoRA update")
    lora_alpha: int = Field(16, ge=1, description="LoRA scale: the update is multiplied by alpha / rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the input of the LoRA update, in training")
    lora_targets: tuple[str, ...] = Field(
        (), strict=False, description="linear layers that get LoRA, by the end of their names; empty for all of the model's blocks")


class TrainingParams(Section):
    """The contrastive LoRA recipe (paper, appendix; see the comments in params/paper.yaml)."""

    batch_size: int = Field(24, ge=2, description="triplets per optimizer step, all in one loss")
    max_length: int = Field(64, ge=2, description="tokens read of a text when training")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of AdamW")
    warmup_steps: int = Field(2, ge=0, description="steps of linear warm-up")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="learning rate after the warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay on the adapter")
    clip_norm: float = Field(1.0, ge=0, description="largest gradient norm; 0 for no clipping")
    temperature: float = Field(0.05, gt=0, description="temperature of InfoNCE")
    loss: Literal["in_batch", "pair"] = Field(
        "in_batch", description="in_batch: all positives and hard negatives of the batch; pair: the query's own two only")
    hard_negatives: bool = Field(True, description="use the triplets' hard negatives")
    mask_duplicates: bool = Field(True, description="a copy of the positive, or a known positive of the same query, is no negative")
    base_dropout: bool = Field(False, description="keep the base model's own dropout on in training")
    attention: Literal["auto", "padded", "ragged", "varlen"] = Field(
        "auto", description="padded: sorted, right-padded; ragged and varlen: texts laid end to end (processor, GPU)")
    micro_batch_tokens: int = Field(0, ge=0, description="tokens per forward pass; 0 chooses from the free memory")
    keep_graph_tokens: int = Field(
        -1, ge=-1, description="tokens whose graphs are kept instead of a second forward pass; -1 chooses from the free memory")
    fused_lora: bool = Field(True, description="compute each LoRA linear as one operation")
    last_layer_pruning: bool = Field(True, description="last layer only at the pooled token, where pooling uses one token")
    shared_prefix: bool = Field(True, description="run the instruction that a batch's queries share once (decoders, padded)")
    checkpointing: bool = Field(False, description="gradient checkpointing inside GradCache: less memory, a third forward pass")
    checkpoint_every: int = Field(4, ge=0, description="steps between checkpoints; 0 for none but the last")


class ScoringParams(Section):
    """Which evaluation sets, and how they are encoded."""

    suite: str | list[str] = Field(
        "classroom", description="the bundled suite, a benchmark or tasks of mteb, or a folder of your own sets")
    instructions: Literal["off", "queries", "everything"] = Field(
        "everything", description="who gets the task's instruction, if model.query_template is set (documents never do)")
    instruction_overrides: dict[str, str] = Field({}, description="task name to the instruction to use instead of mteb's")
    exclude: tuple[str, ...] = Field((), strict=False, description="tasks of the suite to leave out")
    batch_tokens: int = Field(0, ge=0, description="tokens per encoding batch; 0 for the embedder's own choice")
    time_limit: float = Field(0.0, ge=0, description="seconds allowed per task; 0 for no limit")
    attempts: int = Field(2, ge=1, description="how often a failing task is tried within one run")
    allow_missing: bool = Field(False, description="write the score file although some tasks failed (they are named)")
    data_dir: str = Field("", description="folder of hub data sets brought by hand, one sub-folder per set")
    large_corpus: int = Field(200_000, ge=1, description="documents from which a corpus is streamed to disk as float16")
    corpus_dir: str = Field("", description="folder for streamed corpora; empty for a folder beside the scores")


class InfluenceParams(Section):
    """The influence regression (paper, section 3; lib.influence)."""

    normalize: Literal["z", "std", "t"] = Field(
        "z", description="normalized influence: z (scores z-scored over the runs, then mean difference; the paper does not "
                         "define its own), std (standardised coefficient) or t (effect over its standard error)")
    terms: Literal["main", "two_way", "saturated"] = Field(
        "main", description="regression terms: interactions that are fitted leave the error")
    nan: Literal["refuse", "drop"] = Field("refuse", description="missing scores: stop, or go on as if the run did not happen")
    correction: Literal["bh", "holm"] = Field("bh", description="which corrected p decides the marks on the heat map")
    alpha: float = Field(0.05, gt=0, lt=1, description="level of the tests, and one minus the coverage of the intervals")
    power: float = Field(0.8, gt=0, lt=1, description="power at which a detectable effect is reported")
    seeds_considered: tuple[int, ...] = Field((1, 2, 3, 5, 8), strict=False, min_length=1,
                                              description="seeds per subset for 'what would more seeds buy'")
    bootstrap: int = Field(4000, ge=200, description="bootstrap resamples over tasks")
    seed: int = Field(0, ge=0, description="seed of the bootstrap and of sign patterns too many to enumerate")


class GridParams(Section):
    """What one job of the grid asks for."""

    threads: int = Field(1, ge=1, description="processor threads per job; two jobs of one beat one job of two on small models")
    gpus: int = Field(0, ge=0, description="GPUs per training, scoring or generating job")
    processes: int = Field(0, ge=0, description="processes that train one adapter together; 0: one per GPU of the job")
    mem_mb: int = Field(4000, ge=100, description="memory per job in MB, as asked of a cluster")
    minutes: int = Field(60, ge=1, description="longest time one job may take, as asked of a cluster")
    retries: int = Field(1, ge=0, description="how often a failed job is tried again (it resumes from its checkpoint)")


class PlanParams(Section):
    """Reference figures for `make plan`: what nobody can measure before the study runs. They change no result."""

    device: str = Field("", description="device the reference figures are for; empty: none are given")
    devices: int = Field(1, ge=1, description="such devices at work at the same time")
    price: float = Field(0.0, ge=0, description="price of a device per hour, in generation.currency; 0: not shown")
    triplet_tokens: float = Field(200.0, gt=0, description="tokens of a triplet, instruction included")
    answer_tokens: float = Field(360.0, gt=0, description="tokens a generator reads and writes per triplet")
    train_tokens_per_second: float = Field(0.0, ge=0, description="training speed of a device, real tokens; 0: unknown")
    encode_tokens_per_second: float = Field(0.0, ge=0, description="encoding speed of one device; 0: unknown")
    generate_tokens_per_second: float = Field(0.0, ge=0, description="generating speed of one device; 0: unknown")
    start_seconds: float = Field(60.0, ge=0, description="start of a job: imports, weights, data")
    base_gb: float = Field(0.0, ge=0, description="weights of the base model on disk")
    generator_gb: float = Field(0.0, ge=0, description="weights of the generator on disk")
    adapter_mb: float = Field(1.0, ge=0, description="one adapter on disk")
    corpus_gb: float = Field(0.0, ge=0, description="largest corpus of the suite as float16 vectors")


class Params(Section):
    """Every leaf of a run."""

    profile: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="name of the run folder and the figure folder")
    paths: PathParams = PathParams()
    study: StudyParams = StudyParams()
    generation: GenerationParams = GenerationParams()
    cleaning: CleaningParams = CleaningParams()
    negatives: NegativesParams = NegativesParams()
    public: PublicParams = PublicParams()
    mixture: MixtureParams = MixtureParams()
    model: ModelParams = ModelParams()
    training: TrainingParams = TrainingParams()
    scoring: ScoringParams = ScoringParams()
    influence: InfluenceParams = InfluenceParams()
    grid: GridParams = GridParams()
    plan: PlanParams = PlanParams()

    @property
    def run_dir(self) -> Path:
        """The folder of this profile's data, models, scores and results."""
        return ROOT / self.paths.runs / self.profile

    @property
    def figure_dir(self) -> Path:
        """The folder of this profile's figures."""
        return ROOT / self.paths.figures / self.profile

    def hash(self, *sections: str) -> str:
        """Digest of the named sections (all but ``paths`` when none is named), for provenance."""
        left_out = None if sections else {"paths", "grid", "plan"}
        return digest(self.model_dump(mode="json", include=set(sections) or None, exclude=left_out))


def find(name_or_path: str | Path) -> Path:
    """Return the YAML file of a profile name or path (tried as given, then from the kit's root)."""
    given = Path(name_or_path)
    for candidate in (given, ROOT / given, ROOT / "params" / f"{name_or_path}.yaml"):
        if candidate.is_file():
            return candidate.resolve()
    profiles = sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))
    near = difflib.get_close_matches(given.stem, profiles, n=1)
    raise KitError(f"no parameter file {name_or_path}; the profiles are {', '.join(profiles)}"
                   + (f" (did you mean {near[0]}?)" if near else ""))


def load(name_or_path: str | Path = "classroom", overrides: dict[str, Any] | None = None) -> Params:
    """Read a profile and apply ``overrides``, a dict of dotted leaves such as ``{"training.steps": 4}``.

    Raises KitError, one sentence naming the leaf, for an unreadable file or a value that does not fit.
    """
    import yaml

    path = find(name_or_path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise KitError(f"{path}{line} cannot be read as YAML; mend it or restore it from git") from error
    if not isinstance(values, dict):
        raise KitError(f"{path} holds no parameters; it must be a YAML mapping like params/classroom.yaml")
    for dotted, value in (overrides or {}).items():
        _assign(values, dotted, value)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise KitError(_sentence(error, path)) from None


def _assign(values: dict, dotted: str, value: Any) -> None:
    *sections, leaf = str(dotted).split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise KitError(f"override {dotted!r} goes below {section!r}, which is a value and not a section")
    values[leaf] = value


def _sentence(error: ValidationError, path: Path) -> str:
    """Turn pydantic's first complaint into one sentence that names the leaf and the mend."""
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = _known_names()
        near = difflib.get_close_matches(dotted, names, n=1, cutoff=0.5)
        return f"unknown parameter {dotted!r} in {path.name}" + (f"; did you mean {near[0]!r}?" if near else "")
    if first["type"] == "missing":
        return f"parameter {dotted!r} is missing in {path.name}; add it, see params/classroom.yaml"
    message = first["msg"][0].lower() + first["msg"][1:].rstrip(".")
    return f"parameter {dotted!r} in {path.name} is {first['input']!r}: {message}"


def _known_names() -> list[str]:
    names = []
    for section, field in Params.model_fields.items():
        names.append(section)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += [f"{section}.{leaf}" for leaf in field.annotation.model_fields]
    return names


def describe() -> list[tuple[str, str, str]]:
    """Return (dotted name, default, description) of every leaf, for the reference table."""
    rows = []
    for section, field in Params.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            rows += [(f"{section}.{leaf}", repr(f.default), f.description or "")
                     for leaf, f in field.annotation.model_fields.items()]
    return rows
