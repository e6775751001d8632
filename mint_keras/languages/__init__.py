"""The wording of what people read, in their language: one catalogue for each, in gettext's .po files.

English is the source. Whatever is measured says what it found in English, and so does every JSON; a page or report is
put into another language when it is written, also that of an older audit. A message of a template is found by its
text. A sentence that was made elsewhere is found by its pattern, in which {0}, {1} ... stand for numbers, names and
further sentences: none of them is made anew, so that a number is the same in every language.
"""

import functools
import json
import re
from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from mint_keras.records import InputError

if TYPE_CHECKING:
    import jinja2

ENGLISH = "en"
NAMES = {ENGLISH: "English", "de": "Deutsch", "es": "español", "fr": "français"}
_HOLE = re.compile(r"\{\d\}")
# Where texts of ours are joined: sentences, and lists.
_JOINT = re.compile(r"(?<=[.?!]) (?=\S)|; |, | and ")
_LETTER = re.compile(r"[^\W\d_]")
_FEW = 8  # letters of a message's longest piece: with fewer, much that is not ours fits
_MOST = 3000  # letters of what is looked up: sentences of ours are shorter


class _Pattern(NamedTuple):
    """A message with holes: its longest piece, what fits all of it, and the message in the language."""

    piece: str
    fits: re.Pattern[str]
    message: str


class _Said(NamedTuple):
    """A text in a language, and how many letters of it no message knows."""

    unknown: int
    text: str


class Language:
    """A catalogue of messages, see the module; its `code` is a key of `NAMES`."""

    def __init__(self, code: str, names: Iterable[str] = ()) -> None:
        """Reads the catalogue of a language.

        Args:
            code: A key of `NAMES`.
            names: What is called the same in every language, such as a database.

        Raises:
            InputError: if there is no such language.
        """
        if code not in NAMES:
            raise InputError(f"Expected a language of {', '.join(NAMES)}, received {code!r}.")
        self.code = code
        catalogue: dict[str, str] = {}
        if code != ENGLISH:
            catalogue = read(resources.files("mint_keras.languages").joinpath(f"{code}.po").read_text("utf-8"))
        self._messages = {**{name: name for name in names}, **catalogue} if catalogue else {}
        self._patterns = []
        for message, said in catalogue.items():  # names are strangers', and no patterns
            pieces = _HOLE.split(message)
            if len(pieces) > 1:
                fits = re.compile("(.*?)".join(map(re.escape, pieces)))
                self._patterns.append(_Pattern(max(pieces, key=len), fits, said))
        # The first of those that fit equally well is taken: whole sentences, and the fewest letters in holes.
        self._patterns.sort(key=lambda one: (not one.fits.pattern.endswith("."), -len(one.fits.pattern)))
        self._best = functools.lru_cache(2**12)(self._translate)  # a page says much of it again and again

    def plain(self, message: str) -> str:
        """Returns a message of ours in this language, its holes open."""
        return self._messages.get(message, message)

    def label(self, message: str, *values: object) -> Markup:
        """Returns a message of a page with its values, which are escaped as everything else in a page is."""
        return Markup(self.plain(message)).format(*values)  # noqa: S704 # the messages are ours

    def say(self, text: str) -> str:
        """Returns a text of ours in this language; whatever no message knows, such as a name, stays as it is."""
        return "\n".join(self._best(line).text for line in text.split("\n")) if self._messages else text

    def templates(self, package: str, is_page: bool = True) -> "jinja2.Environment":
        """Returns the templates of a package in this language: pages, or Markdown, which is no page of a browser."""
        import jinja2  # which --help has no need of

        # Files have whatever names people give them, so all in a page is escaped; one with a gap must not be written.
        undefined = jinja2.StrictUndefined if is_page else jinja2.Undefined
        layout = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": not is_page}
        found = jinja2.Environment(autoescape=is_page, undefined=undefined, **layout)  # type: ignore[arg-type] # noqa: S701
        found.loader = jinja2.PackageLoader(package)
        message = self.label if is_page else lambda message, *values: self.plain(message).format(*values)
        found.globals.update(_=message, say=self.say, lang=self.code)
        return found

    def _translate(self, text: str) -> _Said:
        """Returns a text in this language so that as few letters of it as can be stay as they are."""
        if text in self._messages:
            return _Said(0, self._messages[text])
        best = _Said(len(_LETTER.findall(text)), text)
        if not best.unknown or len(text) > _MOST:
            return best
        tried = []
        for piece, fits, message in self._patterns:
            if piece in text and (match := fits.fullmatch(text)):
                parts = [self._best(part) for part in match.groups()]
                found = _Said(sum(one.unknown for one in parts), message.format(*(one.text for one in parts)))
                # Half a sentence in one language and half in another helps nobody; long names in a sentence do no harm.
                if 2 * found.unknown <= best.unknown or len(_LETTER.findall(piece)) >= _FEW:
                    tried.append(found)
        if text[0].isupper() and all(one.unknown for one in tried):  # it may stand in the middle of another sentence
            num, said = self._best(text[0].lower() + text[1:])
            tried.append(_Said(num, said[0].upper() + said[1:]))
        if all(one.unknown for one in tried):
            for joint in _JOINT.finditer(text):
                begin, end = self._best(text[: joint.start()]), self._best(text[joint.end() :])
                # A name of two words is one text, unless one of its ends is a message.
                rest = begin.unknown + end.unknown + len(_LETTER.findall(joint[0]))
                if 2 * rest <= best.unknown:
                    tried.append(_Said(rest, f"{begin.text}{self.plain(joint[0])}{end.text}"))
        return min([best, *tried], key=lambda one: one.unknown)


def read(catalogue: str) -> dict[str, str]:
    """Returns the messages of a .po file with what they are in its language; those that are not translated stay out."""
    fields: dict[str, str] = {}
    messages, name = {}, ""
    for line in [*catalogue.splitlines(), 'msgid ""']:
        word, _, text = line.partition('"')
        if word.strip() == "msgid":
            messages[fields.get("msgid", "")] = fields.get("msgstr", "")
            fields = {}
        if text and not word.startswith("#"):
            name = word.strip() or name
            fields[name] = fields.get(name, "") + json.loads(f'"{text}')
    return {message: said for message, said in messages.items() if message and said}


@functools.cache
def of(code: str) -> Language:
    """Returns a language by its code, read once."""
    return Language(code)
