"""The parameters up to the training data: where files go, which runs, who writes triplets, and what is kept of them."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lib.common.design import CATEGORIES, CODES, DESIGNS, EXTRA, GENERATORS, Run, design_runs

Category = Literal[*CODES]
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # YAML 1.1 reads 1e-3 as text, because it has no point


class Section(BaseModel):
    """A group of parameters: no unknown names, no silent conversion of types (but "1e-3" is a number)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read_exponents(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        found = dict(values)
        for name, field in cls.model_fields.items():
            text = found.get(name)
            if field.annotation in (int, float) and isinstance(text, str) and _EXPONENT.fullmatch(text.strip()):
                number = float(text)
                found[name] = int(number) if field.annotation is int and number.is_integer() else number
        return found


class PathParams(Section):
    """Where files go. Relative paths start at the kit's root."""

    runs: str = Field("runs", description="folder that holds one run folder per profile (not in git)")
    figures: str = Field("runs/figures", description="folder of one figure folder per profile (make publish copies it)")


class GeneratorParams(Section):
    """A generator of the design of that name. A plain name stands for the bundled answers of that name."""

    name: str = Field(pattern=r"^\w[\w.-]*$", description="what its runs and its place in the figure are called")
    generation: dict[str, Any] = Field({}, description="what differs from the section generation for this generator")

    @model_validator(mode="before")
    @classmethod
    def _bundled(cls, value: Any) -> Any:
        bundled = {"name": value, "generation": {"backend": "replay", "bundle": value}}
        return bundled if isinstance(value, str) else value


class StudyParams(Section):
    """Which models are trained."""

    categories: tuple[Category, ...] = Field(CATEGORIES, strict=False, description="the factors of the factorial")
    extra: tuple[Category, ...] = Field(EXTRA, strict=False, description="generated too, but not part of the factorial")
    design: Literal[DESIGNS] = Field("factorial", description="factorial: all subsets; others: lib.common.design")
    seeds: tuple[int, ...] = Field((0, 1), strict=False, min_length=1, description="training seeds per subset")
    category: Category = Field("short_long", description="the category that is compared (design generators)")
    generators: tuple[GeneratorParams, ...] = Field(
        ("classroom", "smollm2-135m"), strict=False, min_length=1, validate_default=True, description="who writes it"
    )
    generator_seeds: tuple[int, ...] = Field((0, 1, 2, 3), strict=False, min_length=2, description="per generator")

    @field_validator("generators")
    @classmethod
    def _told_apart(cls, given: tuple[GeneratorParams, ...]) -> tuple[GeneratorParams, ...]:
        if len({each.name for each in given}) < len(given):
            raise ValueError("each needs a name of its own")
        return given

    def runs(self) -> list[Run]:
        """Return the runs of the design, in a fixed order."""
        if self.design != GENERATORS:
            return design_runs(self.design, self.seeds, self.categories)
        return design_runs(self.design, self.generator_seeds, (self.category,), [each.name for each in self.generators])


class GenerationParams(Section):
    """How an LLM is asked for triplets (paper, section 2 and appendix B; its sampling values are the defaults)."""

    backend: Literal["replay", "openai", "vllm", "released"] = Field(
        "replay", description="who answers: the bundle, a server, vLLM, nobody (triplets at location)"
    )
    bundle: str = Field("classroom", pattern=r"^[\w.-]+$", description="classroom, or a folder of lib/data/generators")
    model: str = Field("", description="name or folder of the generator (as the server knows it for backend openai)")
    revision: str = Field("", description="revision of the generator on the hub; empty = the newest")
    location: str = Field("", description="folder or hub name of released triplets (model says whose)")
    variant: Literal["released", "wang2024", "classroom", "small"] = Field(
        "released", description="whose templates: the paper's code, Wang et al., short texts; small: worked examples"
    )
    n: dict[Category, int] = Field({}, description="triplets per category; 0 or not named = all bundled ones (replay)")
    brainstorms: int = Field(100, ge=1, description="how often each brainstorm prompt is asked, about 20 tasks each")
    seed: int = Field(42, ge=0, description="seed of the slots and, through them, of every single answer")
    system: str = Field("You are a helpful assistant.", description="system prompt; empty = none")
    frequency_penalty: float = Field(0.0, ge=0, le=2, description="how far a used word's logit falls, against loops")
    temperature: float = Field(0.8, ge=0, description="sampling temperature of answers (Wang et al.: 1.0)")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus of answers (Wang et al.: 1.0)")
    brainstorm_temperature: float = Field(1.0, ge=0, description="sampling temperature of brainstorms")
    brainstorm_top_p: float = Field(0.9, gt=0, le=1, description="nucleus of brainstorms (Wang et al.: 1.0)")
    max_tokens: int = Field(4096, ge=1, description="longest answer in tokens; a longer one is rejected as truncated")
    structured: Literal["json_schema", "json_object", "off"] = Field(
        "json_schema", description="what an answer is held to"
    )
    max_chars: int = Field(0, ge=0, description="longest text in the schema, in characters; 0 = only max_tokens")
    base_url: str = Field("http://127.0.0.1:8000/v1", description="address of the server (backend openai)")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the server's key, if any")
    concurrency: int = Field(64, ge=1, description="requests under way at once (backend openai)")
    retries: int = Field(6, ge=0, description="how often a failed request is sent again, waiting longer each time")
    timeout: float = Field(600.0, gt=0, description="seconds one request may take")
    tensor_parallel: int = Field(1, ge=1, description="GPUs the generator is split over (backend vllm)")
    max_model_len: int = Field(8192, ge=64, description="tokens of prompt and answer together (backend vllm)")
    gpu_memory: float = Field(0.9, gt=0, le=1, description="share of a GPU's memory that vLLM may take")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("auto", description="precision of the generator")
    price_in: float = Field(0.0, ge=0, description="price of a million prompt tokens")
    price_out: float = Field(0.0, ge=0, description="price of a million answer tokens")
    gpu_price: float = Field(0.0, ge=0, description="price of one GPU for one hour")
    gpus: int = Field(0, ge=0, description="GPUs the generator runs on, for the cost; 0 = the machine is free")
    currency: str = Field("USD", description="unit of the prices")

    @property
    def writer(self) -> str:
        """Who wrote the answers, as reports name it: the generator, the replayed bundle, or "replay" (classroom's)."""
        if self.backend == "replay":
            return self.bundle if self.bundle != "classroom" else self.backend
        return self.model or self.backend


class CleaningParams(Section):
    """Which triplets are thrown away, and why."""

    rules: bool = Field(True, description="apply the rules on single triplets (refusal, copy, label leak, ...)")
    language: bool = Field(True, description="drop texts that are clearly not in the language their slot asked for")
    language_min_chars: int = Field(60, ge=20, description="shorter texts are not judged by the language detector")
    length_tolerance: float = Field(0.4, ge=0, le=1, description="share by which a text may miss its slot's word count")
    duplicates: bool = Field(True, description="drop exact and near duplicates")
    near_duplicate: float = Field(0.7, gt=0, le=1, description="word-trigram Jaccard from which two texts count as one")
    contamination: Literal["remove", "report", "off"] = Field("remove", description="triplets that quote an evaluation")
    contamination_ngram: int = Field(8, ge=3, le=50, description="words in a row that count as contamination")
    contamination_limit: int = Field(0, ge=0, description="texts compared per evaluation set; 0 = all of them")


class NegativesParams(Section):
    """How hard negatives are mined (the paper's way: params/paper.yaml)."""

    strategy: dict[Category, Literal["llm", "nearest", "random_of_top_k", "none"]] = Field(
        dict.fromkeys(CODES, "llm") | dict.fromkeys(("short_short", "long_long"), "random_of_top_k"),
        description="per category: the LLM's own, the nearest candidate, a seeded draw from the top k, or none",
    )
    top_k: int = Field(10, ge=1, le=1000, description="candidates that survive the filters and may be chosen")
    margin: float = Field(0.05, ge=0, lt=1, description="candidates score below (1 - margin) x the positive; 0 = off")
    same_task: bool = Field(False, description="candidates only from triplets with the same instruction")
    same_language: bool = Field(True, description="candidates only from triplets in the same language")
    encoder: str = Field("bundled:minilm", description="model that embeds queries and candidates: as model.name")
    pooling: Literal["mean", "cls", "last"] = Field("mean", description="pooling of the mining encoder")
    max_length: int = Field(256, ge=8, description="tokens the mining encoder reads of a text")
    query_template: str = Field("{text}", description="how a query is embedded for mining: {instruction} and {text}")
    seed: int = Field(0, ge=0, description="seed of random_of_top_k")


class PublicParams(Section):
    """The public half of the mixture."""

    source: Literal["docstrings", "e5"] = Field("docstrings", description="bundled docstring pairs, or the E5 data")
    n: int = Field(4000, ge=1, description="pairs kept (fewer when the source has fewer)")
    seed: int = Field(0, ge=0, description="seed of the sample (source e5)")
    instruction: str = Field(
        "Given the summary line of a library function, retrieve its description.", description="of the docstring pairs"
    )
    location: str = Field("", description="folder or hub name of the E5 data: one JSONL file per data set (source e5)")
    datasets: tuple[str, ...] = Field((), strict=False, description="data sets to read from location; empty = all")
