"""Every sentence is there in every language, with its holes, its numbers and its caution."""

from __future__ import annotations

import ast
import functools
import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest

from mint_keras import cli, formats, languages
from mint_keras.commands.audit import Audit, audit
from mint_keras.commands.export_tflite import ExportTflite, export_tflite
from mint_keras.commands.score import Score, score
from mint_keras.records import InputError
from mint_keras.report import dossier, plots, states
from mint_keras.statistics import decisions, findings, rule
from mint_keras.statistics.verdict import Verdict
from tests.statistics.test_verdict import REASONS, all_verdicts

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mint_keras"
OTHERS = [code for code in languages.NAMES if code != languages.ENGLISH]
COMMITTED = sorted((ROOT / "docs" / "runs").glob("audit-*.json"))
QUICK = ("audit-lab", "audit-mobilefacenet")  # drawn faces, and photos
TEMPLATES = sorted([*PACKAGE.glob("*/templates/*.html"), *PACKAGE.glob("*/templates/*.md")])
# Whose sentences are read on pages and in reports; with those that it raises where they are reasons of a page.
SPOKEN = {
    **dict.fromkeys(
        ("auditing/across.py", "auditing/changed_photos.py", "auditing/look.py", "auditing/opened.py",
         "auditing/plus.py", "auditing/procedure.py", "data/protocol_files.py", "data/transplant.py",
         "edge/bundle.py", "edge/bundle_calibration.py", "edge/judgement.py", "edge/report.py", "report/dossier.py",
         "report/states.py", "runs/face_quality.py", "statistics/bounds.py", "statistics/conformal.py",
         "statistics/decisions.py", "statistics/findings.py", "statistics/identities.py", "statistics/names.py",
         "statistics/rule.py", "statistics/verdict.py"), False,
    ),
    **dict.fromkeys(("data/decoding.py", "data/files.py", "data/kinds.py", "faces/policies.py"), True),
}  # fmt: skip
# What is read in a terminal only, is a name that stays, or is no text.
ASIDE = re.compile(
    r"  |Case \{0\}, eval|Fewer samples|Too few to train|Who is who: \{0\} of \{1\} lines|.* manifest (in|of) |"
    r"photo with others$|(an audit|a protocol|the figures|a calibration|a database|a JPEG file in) .*\{0\}|"
    r"photos, persons, domain|a calibration with|"
    r"head, tap, seed|Expected (a box|a face where|text in|a database with)|mint plus|embedding norm|Corrupt|"
    r"p-values are not given before|\{0\}, of which the database|.*/audit.json|.*trained the head|of the calibration|"
    # How audits of before schema 3 began their sentences.
    r"Member database held out|Sides dealt out by lot|Photos that were changed|members of$|system volume|network trash"
)
# Sentences that the package makes of pieces, see `rule` and `protocol`: underscores become spaces.
MADE = {"untrained {0}", "foreign {0}", "reference {0}", "look network", "image", "person"}
MADE |= {"train members", "train externals", "test members", "test externals", "held out"}


MARKUP = r"</?\w+>|`[^`]*`|--[a-z-]+"


@functools.cache
def catalogue(code: str) -> dict[str, str]:
    return languages.read((PACKAGE / "languages" / f"{code}.po").read_text("utf-8"))


def template_of(node: ast.AST) -> str:
    """A string or f-string of the source with its holes numbered, as catalogues have it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    text, num = "", 0
    for part in node.values if isinstance(node, ast.JoinedStr) else ():
        text += part.value if isinstance(part, ast.Constant) else f"{{{num}}}"
        num += not isinstance(part, ast.Constant)
    return text


def texts_of(path: Path, with_errors: bool = True) -> set[str]:
    """The strings of a module but for what documents it."""
    tree, skipped = ast.parse(path.read_text()), set()
    for node in ast.walk(tree):
        inside: list[ast.AST] = []
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside = [node.value]
        elif isinstance(node, ast.JoinedStr):
            specs = [part.format_spec for part in node.values if isinstance(part, ast.FormattedValue)]
            inside = [*node.values, *(part for spec in specs if spec for part in ast.walk(spec))]
        elif isinstance(node, ast.Raise) and not with_errors:
            inside = list(ast.walk(node))
        skipped |= set(map(id, inside))
    return {text for node in ast.walk(tree) if id(node) not in skipped and (text := template_of(node))}


def labels() -> set[str]:
    """The messages of all templates."""
    found = set()
    for path in TEMPLATES:
        for call in jinja2.Environment().parse(path.read_text()).find_all(jinja2.nodes.Call):
            if isinstance(call.node, jinja2.nodes.Name) and call.node.name in ("_", "say"):
                said = getattr(call.args[0], "right", call.args[0])  # say(given or "text")
                found |= {said.value} if isinstance(said, jinja2.nodes.Const) else set()
    return found


@pytest.mark.parametrize("code", OTHERS)
def test_all_catalogues_have_the_same_messages_and_all_holes(code: str) -> None:
    found = catalogue(code)
    assert set(found) == set(catalogue(OTHERS[0]))
    for message, said in found.items():
        assert sorted(re.findall(r"\{\d\}", message)) == sorted(re.findall(r"\{\d\}", said)), message
        assert re.findall(r"</?\w+>|`[^`]*`|--[a-z-]+", message) == re.findall(r"</?\w+>|`[^`]*`|--[a-z-]+", said), (
            message
        )
        assert (message[0] == " ", message[-1] == " ") == (said[0] in "  ", said[-1] == " "), message
        # Nothing was left in English, but for what is the same.
        assert said != message or len(re.findall("[A-Za-z]{3,}", message)) <= 2, message
    text = (PACKAGE / "languages" / f"{code}.po").read_text("utf-8")
    messages = re.findall("^msgid (.*)$", text, re.MULTILINE)
    assert len(messages) == len(set(messages)), "a message twice"


def test_no_label_and_no_sentence_is_missing() -> None:
    known = set(catalogue(OTHERS[0]))
    assert not sorted(labels() - known)
    for name, with_errors in SPOKEN.items():
        sentences = {
            text
            for text in texts_of(PACKAGE / name, with_errors)
            if len(re.findall("[A-Za-z]{2,}", text)) > 2 and " " in text.strip() and not ASIDE.match(text)
        }
        lost = {text for text in sentences - known if text[0].lower() + text[1:] not in known}
        assert not sorted(lost), name


def test_no_message_is_of_yesterday() -> None:
    sources = set().union(*map(texts_of, PACKAGE.rglob("*.py"))) | labels()
    sources |= {text[0].lower() + text[1:] for text in sources}
    assert not sorted(set(catalogue(OTHERS[0])) - sources - MADE)


# What an English sentence is careful by, and what carries it.
CAUTION = {
    r"\bmay\b": {"de": "kann|können|vielleicht|dienen", "es": "pued|quizá", "fr": "peu[tvx]"},
    r"\bat most\b": {"de": "höchstens", "es": "como máximo", "fr": "au plus|plus"},
    r"\bat least\b": {"de": "mindestens", "es": "al menos", "fr": "au moins"},
    r"\bno proof|no acquittal|cannot prove": {
        "de": "kein Beweis|kein Freispruch|nichts",
        "es": "no (una )?pr|No puede probar",
        "fr": "pas une? |ne pr|rien prouver|non une",
    },
    r"\bcannot decide\b": {
        "de": "nicht entscheid", "es": "no (se )?puede decidir", "fr": "impossible de trancher|ne peut pas trancher",
    },
    r"\b(not|no|nothing|nobody|none|never|neither|nor|without)\b": {
        "de": r"\b(nicht|kein\w*|nichts|niemand\w*|nie|ohne|weder|un[gtb]\w+|zurückgehalten\w*)\b",
        "es": r"\b(no|ni|sin|nada|nadie|ningun\w*|ningún|nunca|tampoco|falta)\b",
        "fr": r"\b(ne|n|pas|non|ni|sans|rien|aucun\w*|jamais|personne|inconnu\w*|illisible)\b",
    },
}  # fmt: skip


@pytest.mark.parametrize("code", OTHERS)
def test_every_language_is_as_careful_as_the_english(code: str) -> None:
    for words, carried in CAUTION.items():
        for message, said in catalogue(code).items():
            if re.search(words, message, re.IGNORECASE):
                assert re.search(carried[code], said, re.IGNORECASE), (words, message, said)


@pytest.mark.parametrize("code", OTHERS)
def test_whatever_a_verdict_says_is_said_in_every_language(code: str) -> None:
    verdicts = all_verdicts()
    rows = [row for found in verdicts for row in found.findings]
    rows += [row for _, _, _, *tainted in REASONS.values() for of in tainted for found in of.values() for row in found]
    spoken = languages.Language(code, {text for row in rows for text in (row.name, row.question)} | {"a", "b"})
    for found in verdicts:
        for pair in ({"a": found}, {"a": found, "b": verdicts[-1]}):
            decided = decisions.decide_once(pair)
            said = [sentence for one in decided for sentence in (*one.plain, one.others, one.reason, *one.sentences)]
            for sentence in (found.headline, *said, *found.text().split("\n")):
                assert not unknown(spoken, sentence), (sentence, spoken.say(sentence))
                assert numbers(spoken.say(sentence)) == numbers(sentence)
    for text in (
        *findings.ROLES.values(),
        *findings.TRUTHS.values(),
        *(part for two in rule.REFERENCES.values() for part in two),
    ):
        assert not unknown(spoken, text)
    for item in states._ITEMS:
        assert not unknown(spoken, item.name)


def unknown(spoken: languages.Language, text: str) -> int:
    """How many letters of a text are no part of any message."""
    return spoken._best(text).unknown


def numbers(text: str) -> list[str]:
    """The numbers of a text, in whatever order its language has them."""
    return sorted(re.findall(r"\d[\d.,]*\d|\d", text))


@pytest.mark.parametrize("code", OTHERS)
def test_photos_that_could_not_be_scored_are_said_in_every_language(code: str, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"no image")
    for out in (None, tmp_path / "out"):
        with pytest.raises(InputError) as found:
            score(Score(Path("lab"), (str(tmp_path / "photo.png"),), out=out, language=code))
        for line in (str(found.value), found.value.done):
            assert not re.search(r"\b(photos? could|Expected|received|Why|by photo)\b", line), line
        assert bool(found.value.done) == (out is not None)
        assert str(out or "photo.png") in f"{found.value} {found.value.done}"


@pytest.mark.parametrize(
    "path",
    [path if path.stem in QUICK else pytest.param(path, marks=pytest.mark.slow) for path in COMMITTED],
    ids=lambda path: path.stem,
)
def test_committed_audits_have_the_same_numbers_in_every_language(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("save_findings", "save_curves"):
        monkeypatch.setattr(plots, name, lambda path, *_: path.write_bytes(b"PNG"))
    monkeypatch.setattr(dossier.pdf, "write", lambda *_: False)
    shutil.copy(path, tmp_path / dossier.AUDIT)
    before, found = (tmp_path / dossier.AUDIT).read_bytes(), {}
    for code in languages.NAMES:
        dossier.write(tmp_path, dossier.Case(language=code))
        page = (tmp_path / dossier.REPORT).read_text()
        assert f'<html lang="{code}">' in page
        page = re.sub(r"<style>.*?</style>|[0-9a-f]{64}|1,234\.5", "", html.unescape(page), flags=re.DOTALL)
        found[code] = numbers(page), numbers((tmp_path / dossier.VERDICT).read_text())
    assert len(found[languages.ENGLISH][0]) > 50
    for code in OTHERS:
        assert found[code] == found[languages.ENGLISH], code
    assert (tmp_path / dossier.AUDIT).read_bytes() == before  # whatever the language, it is English
    # Made again without saying so, it is in the language of before.
    dossier.write(tmp_path, dossier.Case(case="7"))
    assert '<html lang="fr">' in (tmp_path / dossier.REPORT).read_text()


def test_a_committed_audit_leaves_no_english_but_names() -> None:
    content = formats.read_json(ROOT / "docs" / "runs" / "audit-mobilefacenet.json")
    verdicts = {name: Verdict.of(one) for name, one in content["verdicts"].items()}
    decided = decisions.decide_once(verdicts)
    found = dossier.Read({"identities": [], **content}, verdicts, decided, states.read(content, verdicts))
    for code in OTHERS:
        spoken = languages.Language(code, [*verdicts, "lfw"])
        left = [line for line in dossier.text(found).split("\n") if unknown(spoken, line)]
        assert not left


class TestLanguage:
    def test_a_sentence_within_a_sentence_is_said_too(self) -> None:
        spoken = languages.Language("de", ["web"])
        said = spoken.say("Cannot decide: too few identities in same database.")
        assert said == "Nicht entscheidbar: zu wenige Identitäten in „dieselbe Datenbank“."
        assert spoken.say("all members are of one database, web.") == "alle Mitglieder sind aus einer Datenbank, web."

    def test_names_and_what_is_not_ours_stay_and_braces_are_none_of_ours(self) -> None:
        spoken = languages.Language("es", ["Rock and Roll"])
        for text in ("Rock and Roll", "{0} and {x}", "", "IMG_7.jpg", "A text of somebody, and more of it"):
            assert spoken.say(text) == text
        assert "{x}" in spoken.say("Left out: the same photo as {x}.")
        assert spoken.label("by {0}", "<b>") == "por &lt;b&gt;"

    def test_half_a_sentence_is_not_said(self) -> None:
        text = "The sides of something differ in ways that nobody foresaw (pixel statistics)."
        assert languages.of("fr").say(text) == text

    def test_english_is_as_it_is(self) -> None:
        assert languages.of("en").say("cannot decide") == "cannot decide"

    def test_what_takes_long_to_take_apart_is_left(self) -> None:
        text = ", ".join("{0} (a): AUC b, c. So d" for _ in range(300))
        assert languages.of("de").say(text) == text


@pytest.mark.parametrize("words", [["lab/samples", "--out", "{out}"], ["--serve", "--port", "0"]])
def test_a_language_that_there_is_none_of_is_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(out=tmp_path / "out") for word in words]
    assert cli.main(["score", "--bundle", "lab", *given, "--language", "xx"]) == cli.BAD_INPUT
    assert capsys.readouterr().err == "error: Expected a language of en, de, es, fr, received 'xx'.\n"


@pytest.mark.parametrize(
    "run",
    [
        lambda out: audit(Audit(Path("nowhere"), out, language="xx")),
        lambda out: export_tflite(ExportTflite(Path("nowhere"), out, language="xx")),
        lambda out: languages.of("xx"),
    ],
)
def test_it_shows_before_anything_else(run: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Expected a language of en, de, es, fr, received 'xx'"):
        run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_with_braces_is_a_name() -> None:
    assert languages.Language("de", ["a{1}", "{0}"]).say("a{1}") == "a{1}"
    assert languages.Language("de", ["a{1}"]).say("about nothing") == "about nothing"
