"""Claims: the headline claims of the paper, each decided by a rule on the results at hand and on their replication."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lib.common.bundled import DATA
from lib.common.design import CROSSED, FACTORIAL
from lib.common.files import KitError
from lib.influence import contrast_verdicts, gain_verdicts, verdicts
from lib.influence.verdicts import Evidence, Verdict, settle

CLAIMS = DATA / "claims.yaml"
RULES = {
    rule.__name__: rule
    for rule in (
        *(verdicts.effect, verdicts.no_improvement, verdicts.tasks_improving, verdicts.sparse_effects),
        *(verdicts.trade_off, verdicts.interaction_with, gain_verdicts.concentrated_gain, gain_verdicts.average_gain),
        *(gain_verdicts.published_gain, contrast_verdicts.generator_parity, contrast_verdicts.cost_ratio),
        contrast_verdicts.alone,
    )
}
# rules that take no second view: the second study is not asked again
ONE_STUDY = {"interaction_with", "generator_parity", "cost_ratio", "published_gain", "concentrated_gain", "alone"}
_KEYS = {"id", "claim", "source", "published", "test"}


def load(path: str | Path = CLAIMS, design: str = FACTORIAL) -> list[dict]:
    """Return the claims of a YAML file about a design: those that name it under ``designs``, or name none where it is
    one with a regression. Raises KitError for a claim without a known test."""
    import yaml

    try:
        claims = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["claims"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise KitError(f"{path} holds no list of claims ({error}); mend it or restore it from git") from None
    for claim in claims:
        if wrong := sorted((set(claim) - {"designs"}) ^ _KEYS):
            keys = ", ".join(sorted(_KEYS))
            raise KitError(f"claim {claim.get('id', claim)!r} in {path} must have {keys}; see {wrong[0]!r}")
        if (kind := claim["test"].get("kind")) not in RULES:
            raise KitError(f"claim {claim['id']!r} has the unknown test {kind!r}; the tests are {', '.join(RULES)}")
    return [claim for claim in claims if design in claim.get("designs", (FACTORIAL, CROSSED))]


def evaluate(evidence: Evidence, claims: list[dict] | None = None) -> pd.DataFrame:
    """Return one row per claim: id, claim, verdict, numbers, published, source, test (its kind), rule (in words)."""
    rows = []
    for claim in load() if claims is None else claims:
        kind = claim["test"]["kind"]
        try:
            verdict = judge(evidence, claim["test"])
        except KeyError as error:
            raise KitError(f"claim {claim['id']!r}: its test lacks {error}; see lib/data/claims.yaml") from None
        row = {"id": claim["id"], "claim": claim["claim"], "verdict": verdict.verdict, "numbers": verdict.numbers}
        row |= {"published": claim["published"], "source": claim["source"], "test": kind}
        rows.append(row | {"rule": " ".join(RULES[kind].__doc__.split("\n\n")[0].split())})
    return pd.DataFrame(rows)


def judge(evidence: Evidence, test: dict) -> Verdict:
    """Return the verdict of one test: what the study shows, and whether the replication shows it again."""
    rule = RULES[test["kind"]]
    first = rule(evidence, test)
    again = None if test["kind"] in ONE_STUDY else evidence.second()
    return settle(first, None if again is None else rule(again, test))


def cells(judged: pd.DataFrame, claims: list[dict] | None = None) -> pd.DataFrame:
    """Return the heat map's cells that a claim is about: factor, type, published, verdict."""
    verdict, columns = judged.set_index("id")["verdict"], ["factor", "type", "published", "verdict"]
    about = [claim for claim in (load() if claims is None else claims) if claim["test"]["kind"] == "effect"]
    rows = [(c["test"]["factor"], c["test"]["type"], c["published"], verdict[c["id"]]) for c in about]
    return pd.DataFrame(rows, columns=columns)
