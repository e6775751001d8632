"""The restricted reader of pickles admits what it is told, and nothing is imported."""

import collections
import io
import os
import pickle
import sys

import pytest

from mint_keras.data import pickles
from mint_keras.records import InputError

ORDERED = {("collections", "OrderedDict"): collections.OrderedDict}


def load(content: bytes, **settings: object) -> object:
    return pickles.load(io.BytesIO(content), ORDERED, **settings)  # type: ignore[arg-type]


def test_plain_values_and_what_is_allowed() -> None:
    value = [1, "a", b"b", (2.5, None), {"k": collections.OrderedDict(x=1)}]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert load(pickle.dumps([1, "a", (2.5, None), value[4]], protocol)) == [1, "a", (2.5, None), value[4]]
    assert load(b"S'caf\\xe9'\n.", encoding="bytes") == b"caf\xe9"


def test_nothing_else_is_named_or_imported() -> None:
    for item in (os.system, collections.Counter, eval):
        for protocol in (0, 2, 4):
            with pytest.raises(InputError, match=r"asks for .*: not read"):
                load(pickle.dumps(item, protocol))
    with pytest.raises(InputError, match=r"asks for antigravity\.geohash"):
        load(b"cantigravity\ngeohash\n.")
    assert "antigravity" not in sys.modules
    with pytest.raises(InputError, match=r"asks for collections\.OrderedDict\.__init__"):
        load(b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.")


def test_references_need_a_reader() -> None:
    with pytest.raises(InputError, match="refers to other data"):
        load(b"\x80\x02K\x07Q.")
    assert pickles.load(io.BytesIO(b"\x80\x02K\x07Q."), {}, lambda key: f"<{key}>") == "<7>"


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02]q\x00(K\x01", b".", b"\x82\x01.", b"\x80\xff."])
def test_broken_ones_are_one_error(content: bytes) -> None:
    with pytest.raises(InputError, match="complete pickle"):
        load(content)


def test_a_text_that_is_given_to_calls_again_and_again_is_refused() -> None:
    text = b"X" + (100_000).to_bytes(4, "little") + b"a" * 100_000 + b"q\x00"
    many = b"\x80\x02" + text + b"(" + b"c_codecs\nencode\nh\x00\x85R" * 50 + b"t."
    with pytest.raises(InputError, match="as much to calls"):
        pickles.load(io.BytesIO(many), pickles.ARRAYS)


def test_the_file_is_left_behind_the_pickle() -> None:
    file = io.BytesIO(pickle.dumps(1) + pickle.dumps([2]) + b"rest")
    assert [pickles.load(file, {}), pickles.load(file, {}), file.read()] == [1, [2], b"rest"]
