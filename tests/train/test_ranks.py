"""Two processes that train one adapter together (gloo, processor) against one process at the same whole batch."""

import pytest

from lib.common.design import Triplet, write_triplets
from lib.common.files import KitError, read_jsonl
from lib.params.params import load
from lib.train.ranks import LOG, processes, train_together

# AdamW's first steps are as large as the learning rate whatever the gradient: where that is nearly zero, rounding
# decides the sign. At the paper's kind of rate those steps stay below the tolerance.
CUT = {
    "training.learning_rate": 1e-4,
    "training.batch_size": 12,
    "training.max_length": 48,
    "mixture.steps": 4,
    "mixture.steps_per_category": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A run folder's worth of triplets of many lengths, so that the ranks get unequal shares of texts."""
    folder = tmp_path_factory.mktemp("ranks")
    words = "harbour lantern ferry copper meadow archive violin glacier orchard compass timber saddle".split()

    def text(number, length):
        return " ".join(words[(number * 7 + i * (1 + number % 5)) % len(words)] for i in range(1 + length % 30))

    for name, offset in (("public.jsonl", 0), ("triplets/short_short.jsonl", 1000)):
        rows = [
            Triplet(
                "Find the note that is meant.",
                text(offset + i, i),
                text(offset + i + 1, 3 * i),
                text(offset + i + 2, 5 * i),
                "public" if not offset else "short_short",
            )
            for i in range(60)
        ]
        write_triplets(folder / "together/classroom/data" / name, rows)
        write_triplets(folder / "alone/classroom/data" / name, rows)
    return folder


def prepared(folder, count):
    """Return (parameters, overrides) of a tiny training by ``count`` processes below ``folder``."""
    overrides = {**CUT, "paths.runs": str(folder), "grid.processes": count}
    return load("classroom", overrides), overrides


def adapter(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "classroom/models/ss/seed3/adapter_model.safetensors")


@pytest.mark.long
def test_two_processes_train_the_adapter_of_one(data):
    from lib.embedder.embedder import Embedder
    from lib.train import mixture
    from lib.train.trainer import train

    params, overrides = prepared(data / "together", 2)
    train_together(params, "classroom", overrides, "ss", 3)
    alone, _ = prepared(data / "alone", 0)
    folder = alone.run_dir / "models/ss/seed3"

    def train_here(where):
        pools = mixture.read_pools(where.run_dir / "data", ("short_short",))
        batches = mixture.plan(pools, ("short_short",), where.mixture, where.training.batch_size, 3)
        target = where.run_dir / "models/ss/seed3"
        start = mixture.start_seed(("short_short",), where.mixture, 3)
        return train(Embedder.from_params(where.model), pools, batches, where.training, target, start, progress=False)

    one, two = train_here(alone), train_here(params)
    assert (one["world_size"], two["world_size"]) == (1, 2)  # the second call only loaded what the ranks had trained
    assert one["effective_batch"] == two["effective_batch"] == 12
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    first, second = adapter(data / "alone"), adapter(data / "together")
    assert first.keys() == second.keys()
    assert max(abs(first[name] - second[name]).max() for name in first) < 1e-5
    assert max(abs(first[name]).max() for name in first if "lora_B" in name) > 1e-4  # something was learned
    assert [row["step"] for row in read_jsonl(folder / "log.jsonl")] == [1, 2, 3, 4]


@pytest.mark.long
def test_a_failing_rank_is_named_in_one_sentence(data):
    params, overrides = prepared(data / "together", 2)
    with pytest.raises(KitError, match="there are no training data for long_long"):
        train_together(params, "classroom", overrides, "ll", 0)
    assert (params.run_dir / "models/ll/seed0" / LOG).exists()


def test_one_process_is_the_normal_case(tmp_path):
    params, overrides = prepared(tmp_path, 0)
    assert processes(params) == 1
    train_together(params, "classroom", overrides, "ss", 0)
    assert not any(tmp_path.iterdir())
    assert processes(load("classroom", {"grid.gpus": 4})) == 4
