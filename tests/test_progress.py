"""Bars are hidden where somebody asked for it, and nowhere else."""

import io
import sys

import pytest

from mint_keras import progress


def shown(monkeypatch: pytest.MonkeyPatch) -> str:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert [2 * number for number in progress.bar([1, 2], desc="doubles")] == [2, 4]
    with progress.bar(total=3, desc="steps", unit="step") as moved:
        moved.update(3)
    return stream.getvalue()


def test_bars_are_shown_unless_they_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "doubles" in (text := shown(monkeypatch))
    assert "steps" in text
    with progress.hidden():
        assert shown(monkeypatch) == ""
        with progress.hidden(False):
            assert "doubles" in shown(monkeypatch)
        assert shown(monkeypatch) == ""
    assert "doubles" in shown(monkeypatch)


def test_an_error_does_not_leave_them_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt), progress.hidden():
        raise KeyboardInterrupt
    assert "doubles" in shown(monkeypatch)


@pytest.mark.parametrize(("is_terminal", "expected"), [(True, 1), (False, 2)])
def test_what_keras_prints(is_terminal: bool, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    assert progress.verbosity() == expected
    with progress.hidden():
        assert progress.verbosity() == 0


def test_what_is_to_be_known_is_said_unless_somebody_asked_for_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("It takes an hour.")
    with progress.hidden():
        progress.say("nothing")
    assert capsys.readouterr().err == "It takes an hour.\n"
