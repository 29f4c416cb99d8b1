"""Claims: the headline claims of the paper, each decided by a rule on the results at hand and on their replication."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lib.common.bundled import DATA
from lib.common.files import KitError
from lib.influence import gain_verdicts, verdicts
from lib.influence.verdicts import Evidence, Verdict, settle

CLAIMS = DATA / "claims.yaml"
RULES = {
    rule.__name__: rule
    for rule in (
        verdicts.effect,
        verdicts.no_improvement,
        verdicts.tasks_improving,
        verdicts.sparse_effects,
        verdicts.trade_off,
        verdicts.interaction_with,
        gain_verdicts.concentrated_gain,
        gain_verdicts.average_gain,
        gain_verdicts.generator_parity,
        gain_verdicts.cost_ratio,
        gain_verdicts.published_gain,
    )
}
ONE_STUDY = {
    "interaction_with",
    "generator_parity",
    "cost_ratio",
    "published_gain",
    "concentrated_gain",
}  # no second view
_KEYS = {"id", "claim", "source", "published", "test"}


def load(path: str | Path = CLAIMS) -> list[dict]:
    """Return the claims of a YAML file. Raises KitError for a claim without a known test."""
    import yaml

    try:
        claims = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["claims"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise KitError(f"{path} holds no list of claims ({error}); mend it or restore it from git") from None
    for claim in claims:
        if set(claim) != _KEYS:
            wrong = sorted(set(claim) ^ _KEYS)[0]
            raise KitError(
                f"claim {claim.get('id', claim)!r} in {path} must have {', '.join(sorted(_KEYS))}; see {wrong!r}"
            )
        if claim["test"].get("kind") not in RULES:
            raise KitError(
                f"claim {claim['id']!r} has the unknown test {claim['test'].get('kind')!r}; "
                f"the tests are {', '.join(RULES)}"
            )
    return claims


def evaluate(evidence: Evidence, claims: list[dict] | None = None) -> pd.DataFrame:
    """Return one row per claim: id, claim, verdict, numbers, published, source, test (its kind), rule (in words)."""
    rows = []
    for claim in load() if claims is None else claims:
        rule = RULES[claim["test"]["kind"]]
        try:
            verdict = judge(evidence, claim["test"])
        except KeyError as error:
            raise KitError(f"claim {claim['id']!r}: its test lacks {error}; see lib/data/claims.yaml") from None
        rows.append(
            {
                "id": claim["id"],
                "claim": claim["claim"],
                "verdict": verdict.verdict,
                "numbers": verdict.numbers,
                "published": claim["published"],
                "source": claim["source"],
                "test": claim["test"]["kind"],
                "rule": rule.__doc__.strip().split("\n")[0],
            }
        )
    return pd.DataFrame(rows)


def judge(evidence: Evidence, test: dict) -> Verdict:
    """Return the verdict of one test: what the study shows, and whether the replication shows it again."""
    rule = RULES[test["kind"]]
    first = rule(evidence, test)
    again = None if test["kind"] in ONE_STUDY else evidence.second()
    return settle(first, None if again is None else rule(again, test))


def cells(judged: pd.DataFrame, claims: list[dict] | None = None) -> pd.DataFrame:
    """Return the heat map's cells that a claim is about: factor, type, published, verdict."""
    verdict = judged.set_index("id")["verdict"]
    rows = [
        {
            "factor": claim["test"]["factor"],
            "type": claim["test"]["type"],
            "published": claim["published"],
            "verdict": verdict[claim["id"]],
        }
        for claim in (load() if claims is None else claims)
        if claim["test"]["kind"] == "effect"
    ]
    return pd.DataFrame(rows, columns=["factor", "type", "published", "verdict"])
