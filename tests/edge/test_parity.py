"""Parity that speaks of membership: differences of logits, decisions and AUC, and what is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mint_keras.edge import parity, scorer
from mint_keras.records import InputError, RefusedError, SampleTable, Scores
from mint_keras.statistics import metrics

RNG = np.random.default_rng(1)


def scores(logit: np.ndarray, evaluation: str = "unseen_database", start: int = 0) -> Scores:
    """Half of them members; two faces a person."""
    names = np.array([f"s{number}" for number in range(start, start + len(logit))])
    people = np.array([f"p{number // 2}" for number in range(start, start + len(logit))])
    table = SampleTable(names, np.full(len(logit), "lab"), people, names)
    is_member = np.arange(len(logit)) < len(logit) // 2
    return Scores("vanilla", "conv1", evaluation, 1, table, is_member, logit.astype(np.float32))


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return RNG.normal(size=400) + np.repeat([1.0, -1.0], 200)


def test_equal_scores_differ_in_nothing(logits: np.ndarray) -> None:
    found = parity.compare([scores(logits)], [scores(logits)])
    assert (found["max_logit_difference"], found["decision_flips"], found["faces"]) == (0.0, 0, 400)
    assert found["evaluations"]["unseen_database"]["auc_change"] == [0.0, 0.0, 0.0]
    assert parity.check(found) == ""


def test_differences_are_counted_by_face(logits: np.ndarray) -> None:
    """Two evaluations that share 300 faces; five logits change, three of them cross the threshold."""
    changed = logits.copy()
    changed[:3] = -np.sign(logits[:3]) * 0.5
    changed[3:5] += np.sign(logits[3:5])
    parts = [[scores(x), scores(x[100:], "same_database", 100)] for x in (logits.astype(np.float32), changed)]
    found = parity.compare(*parts)
    difference = np.abs(changed.astype(np.float32) - logits.astype(np.float32).astype(np.float64))
    assert (found["faces"], found["decision_flips"]) == (400, 3)
    assert found["max_logit_difference"] == pytest.approx(difference.max(), rel=1e-6)
    assert found["mean_logit_difference"] == pytest.approx(difference.sum() / 400, rel=1e-5)


def test_a_lost_auc_is_refused_and_a_raised_one_is_not(logits: np.ndarray) -> None:
    worse = logits + RNG.normal(size=400)
    found = parity.compare([scores(logits)], [scores(worse)])
    value, low, high = found["evaluations"]["unseen_database"]["auc_change"]
    expected = [metrics.auc(part.is_member, part.logit) for part in (scores(worse), scores(logits))]
    assert value == pytest.approx(expected[0] - expected[1], abs=1e-9)
    assert low < value < high < 0
    assert "unseen_database dropped by" in parity.check(found)
    assert parity.check(found, tolerance=0.5) == ""
    assert parity.check(parity.compare([scores(worse)], [scores(logits)])) == ""


def test_what_may_have_dropped_is_refused_although_it_did_not(logits: np.ndarray) -> None:
    """Few people leave the change uncertain: the interval decides, not the value."""
    few = np.concatenate([logits[:10], logits[-10:]])
    noisy = few + 0.4 * np.random.default_rng(3).normal(size=20)
    found = parity.compare([scores(few)], [scores(noisy)])
    assert -found["evaluations"]["unseen_database"]["auc_change"][0] < 0.05
    assert "may have dropped" in parity.check(found, tolerance=0.05)


def test_where_few_people_are_known_equal_scores_lose_nothing(logits: np.ndarray) -> None:
    """One person a side leaves every change possible, but for what is no change."""
    before, far = scores(logits[198:202]), logits[198:202].copy()
    near = scores(logits[198:202] + 5e-5 * np.sign(logits[198:202]))
    found = parity.compare([before], [near])
    assert found["evaluations"]["unseen_database"]["auc_change"][1] == -1.0
    assert parity.check(found) == ""
    far[0] += 0.01 * np.sign(far[0])
    said = parity.check(parity.compare([before], [scores(far)]))
    assert said == "its AUC on unseen_database dropped by 0.0000, and may have dropped by 1.0000, over 0.005"


def test_familiar_is_no_evidence(logits: np.ndarray) -> None:
    good, lost = scores(logits), scores(logits, "familiar")
    noise = scores(RNG.normal(size=400), "familiar")
    assert parity.check(parity.compare([good, lost], [good, noise])) == ""


def test_a_dead_head_is_refused(logits: np.ndarray) -> None:
    parity.check_alive([scores(logits)])
    with pytest.raises(RefusedError, match=r"all of them the logit 0\.7"):
        parity.check_alive([scores(np.full(400, 0.7))])


def record(p50: float, refused: str = "") -> dict:
    return {"refused": refused, "latency_ms": {"1": {"p50": p50, "p95": 9.0}}}


def test_the_fastest_of_the_accepted_is_recommended() -> None:
    records = {"fp32": record(3.0), "fp16": record(2.0), "int8": record(1.0, "its AUC dropped")}
    assert parity.recommend(records) == "fp16"
    with pytest.raises(RefusedError, match="int8: its AUC dropped"):
        parity.recommend({"int8": records["int8"]})


def test_latency_is_that_of_the_quietest_round(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([[5.0, 6.0, 7.0], [9.0], [1.0, 2.0, 9.0], [9.0], [3.0, 4.0, 5.0], [9.0]])
    monkeypatch.setattr(scorer, "cost", lambda *_: {"1": (ms := next(taken)), "2": ms, "rss_mib": 80.0})
    found = scorer.costs({"fp32": Path("a"), "fp16": Path("b")}, Path("faces"))
    assert found["fp32"]["latency_ms"]["1"]["p50"] == 2.0


def test_cost_of_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"junk")
    np.save(tmp_path / "faces.npy", np.zeros((1, 112, 112, 3), np.uint8))
    with pytest.raises(InputError, match="scorer that runs"):
        scorer.cost(tmp_path / "x.tflite", tmp_path / "faces.npy")


def test_cost_needs_no_tensorflow() -> None:
    program = "import sys, mint_keras.edge.scorer; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 0
