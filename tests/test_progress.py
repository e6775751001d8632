"""Bars are seen on a terminal, in a log once a minute, and not at all where somebody asked for quiet."""

import io
import sys

import pytest

from mint_keras import progress


@pytest.mark.parametrize(("is_terminal", "expected"), [(True, 1), (False, 2)])
def test_what_keras_prints(is_terminal: bool, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    assert progress.verbosity() == expected
    with progress.hidden():
        assert progress.verbosity() == 0
        with progress.hidden(False):
            assert progress.verbosity() == expected
    assert progress.verbosity() == expected


def test_a_hidden_bar_prints_nothing(capsys: pytest.CaptureFixture) -> None:
    with progress.hidden():
        assert list(progress.bar([1, 2], desc="numbers")) == [1, 2]
    assert not capsys.readouterr().err
    list(progress.bar([1, 2], desc="numbers"))
    assert "numbers" in capsys.readouterr().err
