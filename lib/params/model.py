"""The parameters from the mixture on: model, training, scoring, influence, and what a job of the grid asks for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lib.params.data import Section


class MixtureParams(Section):
    """How a subset becomes a sequence of homogeneous batches."""

    budget: Literal["fixed_steps", "fixed_epochs"] = Field("fixed_steps", description="steps, or epochs, decide length")
    steps: int = Field(10, ge=1, description="optimizer steps of a run (budget fixed_steps)")
    steps_per_category: int = Field(2, ge=0, description="batches of each present category; the rest is public")
    draws: Literal["own", "shared"] = Field("own", description="batches and adapter start: a run's own, or a seed's")
    epochs: int = Field(1, ge=1, description="passes over every pool, incomplete last batch dropped (fixed_epochs)")


class ModelParams(Section):
    """The base model and how its hidden states become one vector."""

    name: str = Field("bundled:minilm", description="bundled:minilm, a folder, or a name on the Hugging Face hub")
    revision: str = Field("", description="revision on the hub; empty for the newest")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="type of weights and activations")
    pooling: Literal["mean", "cls", "last"] = Field("mean", description="hidden states to one vector")
    append_eos: bool = Field(False, description="end every text with the end-of-sequence token (pooling last needs it)")
    max_length: int = Field(256, ge=2, description="tokens read of a text when encoding, instruction included")
    query_template: str = Field("", description="how an instruction and a query become one text: {instruction}, {text}")
    document_template: str = Field("", description="how a document is written: {text}; empty for the text alone")
    encode_tokens: int = Field(0, ge=0, description="tokens per encoding batch, padding included; 0 for a good choice")
    lora_rank: int = Field(16, ge=1, description="rank of the LoRA update")
    lora_alpha: int = Field(16, ge=1, description="LoRA scale: the update is multiplied by alpha / rank")


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
    loss: Literal["in_batch", "pair"] = Field("in_batch", description="against the whole batch, or the own two texts")
    mask_duplicates: bool = Field(True, description="a copy of a positive of the query is no negative of it")
    micro_batch_tokens: int = Field(0, ge=0, description="tokens per forward pass; 0 chooses from the free memory")
    keep_graph_tokens: int = Field(-1, ge=-1, description="tokens with one forward pass only; -1: by free memory")
    checkpoint_every: int = Field(4, ge=0, description="steps between checkpoints; 0 for none but the last")


class ScoringParams(Section):
    """Which evaluation sets, and how they are encoded."""

    suite: str | list[str] = Field("classroom", description="bundled suite, benchmark or tasks of mteb, or a folder")
    instructions: Literal["off", "queries", "everything"] = Field(
        "everything", description="who gets the task's instruction, if model.query_template is set (documents never do)"
    )
    exclude: tuple[str, ...] = Field((), strict=False, description="tasks of the suite to leave out")
    data_dir: str = Field("", description="folder of hub data sets brought by hand, one sub-folder per set")
    corpus_dir: str = Field("", description="folder for streamed corpora; empty for a folder beside the scores")


class InfluenceParams(Section):
    """The influence regression (paper, section 3; lib.influence.influence)."""

    normalize: Literal["z", "std", "t"] = Field(
        "z", description="z: difference of z-scored scores, std: standardised coefficient, t: effect over its error"
    )
    exclude: tuple[str, ...] = Field(("SummEval",), strict=False, description="tasks left out (SummEval is flawed)")
    terms: Literal["main", "two_way", "saturated"] = Field("main", description="fitted interactions leave the error")
    nan: Literal["refuse", "drop"] = Field("refuse", description="missing scores: stop, or leave the run out")
    correction: Literal["bh", "holm"] = Field("bh", description="which corrected p decides the marks on the heat map")
    alpha: float = Field(0.05, gt=0, lt=1, description="level of the tests, and one minus the coverage of intervals")
    # Half of the 2.07 points that all synthetic data add in the published scores of Wang et al. (2024)
    margin: float = Field(1.0, gt=0, description="points within which two generators count as alike")
    power: float = Field(0.8, gt=0, lt=1, description="power at which a detectable effect is reported")
    seeds_considered: tuple[int, ...] = Field(
        (1, 2, 3, 5, 8), strict=False, min_length=1, description="for what more seeds buy"
    )


class GridParams(Section):
    """What one job of the grid asks for."""

    threads: int = Field(1, ge=1, description="processor threads per job; two jobs of one beat one job of two")
    gpus: int = Field(0, ge=0, description="GPUs per training, scoring or generating job")
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
