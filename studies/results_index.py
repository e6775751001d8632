"""The first page of docs/results: one row for each claim, its number read from the result file that holds it.

`python -m studies.results_index` writes the page again. Dates and machines are not in result files, so they stand here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mint_keras import formats, score_files
from mint_keras.records import ResultRow
from mint_keras.report.tables import format_table
from mint_keras.statistics.intervals import Estimate

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "docs" / "runs"
PAGE = ROOT / "docs" / "results" / "index.md"
_EPYC = "AMD EPYC, 2 cores, busy"
_IDLE = "AMD EPYC, 2 cores, idle"
_MARK = "<!-- rows: written by python -m studies.results_index -->\n\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A row of the page.

    Attributes:
        says: the claim, in the words of somebody who has read nothing else.
        file: the result file in docs/runs.
        read: what gives number and interval, given the content of that file.
        data: on what it was measured.
        command: the script or module that gives the file again; its options stand on `page`.
        date: the day on which it was measured.
        page: the appendix in docs/results, with its heading.
        machine: where it was measured.
    """

    says: str
    file: str
    read: Callable[[Any], tuple[str, str]]
    data: str
    command: str
    date: str
    page: str
    machine: str = _EPYC


def _estimate(content: Mapping[str, Any]) -> tuple[str, str]:
    found = Estimate(**content)
    return f"{found.value:.3f}", f"[{found.low:.3f}, {found.high:.3f}]"


def _judged(part: str, kind: str) -> Callable[[Any], tuple[str, str]]:
    """How many worlds of a part of the validation: with the limit that matters, the upper one of accusations."""

    def read(content: Any) -> tuple[str, str]:
        of = content[part][kind]
        limit = f"at most {of['at_most']:.1%}" if part == "false_accusations" else f"at least {of['at_least']:.1%}"
        return f"{of['num']} of {of['worlds']}", f"{limit}, one-sided, if worlds are independent"

    return read


def _finding(scorer: str, name: str) -> Callable[[Any], tuple[str, str]]:
    """The AUC of a finding of an audit."""

    def read(content: Any) -> tuple[str, str]:
        findings = content["verdicts"][scorer]["findings"]
        return _estimate(next(one["auc"] for one in findings if one["name"] == name))

    return read


def _attack(name: str) -> Callable[[Any], tuple[str, str]]:
    """The AUC per photo of an attack of the bench."""

    def read(content: Any) -> tuple[str, str]:
        ranked = next(of for asked, of in content.items() if asked.endswith(", beside the network before"))
        return _estimate(next(one["photos"]["auc"] for one in ranked if one["name"] == name))

    return read


def _highest(evaluation: str) -> Callable[[Any], tuple[str, str]]:
    """The highest mean AUC of the heads of a run, and which tap has it."""

    def read(rows: Sequence[ResultRow]) -> tuple[str, str]:
        by_tap: dict[str, list[float]] = {}
        for row in rows:
            if (row.scorer, row.model, row.evaluation) == ("vanilla", "audited", evaluation):
                by_tap.setdefault(row.tap, []).append(row.auc)
        tap = max(by_tap, key=lambda name: sum(by_tap[name]) / len(by_tap[name]))
        return f"{sum(by_tap[tap]) / len(by_tap[tap]):.3f}", f"the highest of {len(by_tap)} heads, {tap}"

    return read


def _plus(measure: str) -> Callable[[Any], tuple[str, str]]:
    return lambda content: _estimate(content["mint_plus"][measure])


def _ratio(name: str) -> Callable[[Any], tuple[str, str]]:
    """What a benchmark has to its peer."""

    def read(content: Any) -> tuple[str, str]:
        one = next(one for one in content["measurements"] if one["name"] == name)
        return f"{one['ratio']:.2f} x", f"{one['ours']:.1f} {one['unit']} to {one['peer']:.1f}"

    return read


def _strangers(content: Any) -> tuple[str, str]:
    outcomes = [draw["as it is"]["outcome"] for draw in content["draws"]]
    return f"{outcomes.count('evidence of training use')} of {len(outcomes)}", "all cannot decide"


def _coverage(content: Any) -> tuple[str, str]:
    shares = [row["share"] for world in content["worlds"] for row in world["rows"] if row["method"] == "student"]
    runs = content["worlds"][0]["num_runs"]
    return f"{min(shares):.1%} to {max(shares):.1%}", f"{len(shares)} effects, {runs:,} runs each"


def _parity(content: Any) -> tuple[str, str]:
    worst, least = max(r["relative"] for r in content["records"]), min(r["cosine"] for r in content["records"])
    return f"{worst:.1e}", f"cosine at least {least:.8f}; nothing is saved above 1e-4"


def _copies(content: Any) -> tuple[str, str]:
    worst = min(content["planted"]["default"].values(), key=lambda one: one["found"])
    return f"{worst['found']} of {worst['planted']}", f"missed at most {worst['missed_at_most']:.1%}"


def _p_values(content: Any) -> tuple[str, str]:
    from mint_keras.statistics import conformal

    valid = [conformal.Validity(**found).is_valid for found in content.values()]
    return f"{sum(valid)} of {len(valid)}", "heads whose p-values held on other people"


def _dead(content: Any) -> tuple[str, str]:
    trainings = [one for one in content["trainings"] if not one["literal"]]
    dead, num = sum(one["is_dead"] for one in trainings), len(trainings)
    bound = f"at most {1 - 0.05 ** (1 / num):.0%} die, if trainings were independent (95%)"
    return f"{dead} of {num}", "trained again from another seed" if dead else bound


_LFW = "LFW, half of its people trained on"
_WORLDS = "worlds of known truth: drawn faces, LFW, UTKFace"
CLAIMS = (
    Claim(
        says="The auditor accuses in worlds where nobody is a member", file="validation.json",
        read=_judged("false_accusations", "audit"), data=_WORLDS, command="scripts/validate_auditor.py",
        date="2026-11-29", page="worlds.md",
    ),
    Claim(
        says="It finds worlds with members", file="validation.json", read=_judged("detections", "audit"),
        data=_WORLDS, command="scripts/validate_auditor.py", date="2026-11-29", page="worlds.md",
    ),
    Claim(
        says="Raw MINT accuracy, taken for membership, accuses", file="validation.json",
        read=_judged("false_accusations", "raw accuracy"), data="worlds of drawn faces with externals",
        command="scripts/validate_auditor.py", date="2026-11-29", page="worlds.md",
    ),
    Claim(
        says="It accuses where people of one photo are split by sex, age or race", file="strangers.json",
        read=_strangers, data="UTKFace, MobileFaceNet", command="studies.worlds.strangers", date="2026-11-29",
        page="worlds.md",
    ),
    Claim(
        says="Real faces: MINT+ tells one photo of a member's from other people's: AUC", file="audit-lfw.json",
        read=_finding("mint plus on photo", "same database"), data=_LFW, command="scripts/audit.py",
        date="2026-11-28", page="audits.md#real-faces-a-model-trained-on-half-of-lfws-people",
    ),
    Claim(
        says="The same where nobody is a member: AUC", file="audit-lfw.json",
        read=_finding("mint plus on photo", "nobody a member"), data=_LFW, command="scripts/audit.py",
        date="2026-11-28", page="audits.md#real-faces-a-model-trained-on-half-of-lfws-people",
    ),
    Claim(
        says="Real faces: the paper's heads, members against another database: AUC", file="lfw-1.jsonl",
        read=_highest("unseen_database"), data=_LFW, command="scripts/train_mint.py", date="2026-11-28",
        page="audits.md#real-faces-a-model-trained-on-half-of-lfws-people",
    ),
    Claim(
        says="The same heads, people who were not members claimed to be: AUC", file="lfw-1.jsonl",
        read=_highest("familiar"), data=_LFW, command="scripts/train_mint.py", date="2026-11-28",
        page="audits.md#real-faces-a-model-trained-on-half-of-lfws-people",
    ),
    Claim(
        says="The same heads, members against other people of their database: AUC", file="lfw-1.jsonl",
        read=_highest("same_database"), data=_LFW, command="scripts/train_mint.py", date="2026-11-28",
        page="audits.md#real-faces-a-model-trained-on-half-of-lfws-people",
    ),
    Claim(
        says="A released network of unknown training, LFW against generated faces: AUC; the verdict is cannot decide",
        file="audit-mobilefacenet.json", read=_finding("embedding norm on outcome", "members and externals"),
        data="LFW, MobileFaceNet", command="scripts/audit.py", date="2026-11-28",
        page="audits.md#a-released-model-mobilefacenet-with-lfw-as-claimed-members",
    ),
    Claim(
        says="A network that memorised 300 people, one photo of a person: AUC of MINT+", file="goal.json",
        read=_plus("identity_photo"), data="drawn faces, 3 models", command="scripts/measure_plus.py",
        date="2026-11-28", page="mint-plus.md#mint-on-the-goal-worlds",
    ),
    Claim(
        says="The same, which photos of a person were used: AUC (0.88 was the goal)", file="goal.json",
        read=_plus("image_with_others"), data="drawn faces, 3 models", command="scripts/measure_plus.py",
        date="2026-11-28", page="mint-plus.md#mint-on-the-goal-worlds",
    ),
    Claim(
        says="MINT+ beside the network before fine-tuning: AUC per photo; 0.98 was the goal",
        file="bench.json",
        read=_attack("mint_plus_with_others_with_references"), data="LFW, 6 fine-tuned MobileFaceNets",
        command="scripts/bench_membership.py", date="2026-11-29",
        page="mint-plus.md#mint-beside-references-on-usable-networks",
    ),
    Claim(
        says="The best published attack there (BaVarIA-t): AUC per photo", file="bench.json", read=_attack("bavaria_t"),
        data="LFW, 6 fine-tuned MobileFaceNets", command="scripts/bench_membership.py", date="2026-11-29",
        page="mint-plus.md#mint-beside-references-on-usable-networks",
    ),
    Claim(
        says="After 3 epochs, which begin with the people's centroids: AUC per photo; 0.95 was the goal",
        file="bench-3.json", read=_attack("mint_plus_with_others_with_references"),
        data="LFW, 6 fine-tuned MobileFaceNets", command="scripts/bench_membership.py", date="2026-11-29",
        page="mint-plus.md#mint-beside-references-on-usable-networks",
    ),
    Claim(
        says="A network that nobody here trained, known members, its loss: AUC; nobody is accused", file="fer2013.json",
        read=lambda content: _estimate(content["checkpoints"]["epoch_102"]["verdicts"][1]["findings"][0]["auc"]),
        data="FER2013, mini-Xception", command="scripts/fer2013.py", date="2026-11-29", page="emotions.md",
    ),
    Claim(
        says="95% intervals of cross-fitted scores hold the truth", file="coverage-folds.json", read=_coverage,
        data="simulated, 60 people a side", command="scripts/measure_coverage.py", date="2026-11-29",
        page="../method.md",
    ),
    Claim(
        says="Conversion of an R100 file (random weights): largest relative error of a tap", file="parity-r100.json",
        read=_parity, data="noise and drawn faces", command="scripts/convert_fr.py", date="2026-11-28",
        page="conversion.md",
    ),
    Claim(
        says="Copies of a photo found, worst of 13 kinds", file="overlap-lfw.json", read=_copies, data="LFW, planted",
        command="scripts/measure_copies.py", date="2026-11-29", page="faces.md",
    ),
    Claim(
        says="Faces read, detected, aligned: speed to insightface's", file="benchmark-faces.json",
        read=_ratio("read, detect, align"), data="117 photos", command="scripts/benchmark.py", date="2026-11-28",
        page="faces.md",
    ),
    Claim(
        says="Extraction through an R100: speed to ONNX Runtime's", file="benchmark-aad.json",
        read=_ratio("R100 float32, Keras"), data="drawn faces", command="scripts/benchmark.py", date="2026-11-28",
        page="aad.md", machine=_IDLE,
    ),
    Claim(
        says="A bundle of an R100's first layer in int8, with VNNI: speed to the whole R100 in ONNX Runtime",
        file="benchmark-edge.json", read=_ratio("R100 conv1, cnn, int8_dynamic (the best)"), data="drawn faces",
        command="scripts/benchmark.py", date="2026-11-28", page="laptop.md",
    ),
    Claim(
        says="The same with AVX2 alone, at best (half precision)",
        file="benchmark-edge-avx2.json", read=_ratio("R100 conv1, cnn, fp16 (the best)"), data="drawn faces",
        command="scripts/benchmark.py", date="2026-11-29", page="laptop.md", machine=_IDLE,
    ),
    Claim(
        says="Bundles of the lab that may show p-values", file="bundles.json", read=_p_values, data="drawn faces",
        command="scripts/export_tflite.py", date="2026-11-28", page="laptop.md#scoring-on-a-laptop",
    ),
    Claim(
        says="Cnn heads that die in training, with the warm-up", file="dead-heads.json", read=_dead,
        data="drawn faces", command="scripts/dead_heads.py", date="2026-11-29", page="lab.md#dead-heads",
    ),
)  # fmt: skip


def _content(file: str) -> Any:
    path = RUNS / file
    return score_files.read_results(path) if path.suffix == ".jsonl" else formats.read_json(path)


def render(claims: Sequence[Claim] = CLAIMS) -> str:
    """Returns the table of the page.

    >>> print(render(CLAIMS[:1]).splitlines()[0].split("|")[1].strip())
    claim
    """
    rows = [["claim", "number", "interval, or what it hangs on", "data", "command", "date", "machine"]]
    for claim in claims:
        number, interval = claim.read(_content(claim.file))
        link = f"[{claim.command.removeprefix('scripts/')}]({claim.page})"
        rows.append([claim.says, number, interval, claim.data, link, claim.date, claim.machine])
    return format_table(rows)


def written(text: str) -> str:
    """Returns the page with its rows as they are now."""
    before, mark, after = text.partition(_MARK)
    return before + mark + render() + "\n\n" + after.partition("\n\n")[2]


if __name__ == "__main__":
    formats.write_text(PAGE, written(PAGE.read_text()))
