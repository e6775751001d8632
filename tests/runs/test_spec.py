"""What a run is: its taps and heads, and what of it the command and the manifest say."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from mint_keras import borders, formats
from mint_keras.commands.train_mint import TrainMint
from mint_keras.options import Common
from mint_keras.records import AUDITED, UNTRAINED, InputError
from mint_keras.runs.run import choose_samples, heads_of
from mint_keras.runs.spec import KIND, HeadKey, RunSpec, read_spec


def test_default_taps() -> None:
    convs = ["conv1", "conv2", "conv3", "conv4"]
    expected = {"vanilla": [*convs, "outcome"], "cnn": convs, "cnn_x3": ["conv1"], "vit": ["conv1"]}
    for head, taps in expected.items():
        assert RunSpec(head).all_taps == taps


def test_groups_of_taps() -> None:
    taps = {"conv1": ["conv1"], "outcome": ["outcome"], "conv4": ["conv4"]}
    combined = {"combination": ["conv1", "conv4"], "combination+outcome": ["conv1", "conv4", "outcome"]}
    assert RunSpec("vanilla", taps=("conv1", "outcome", "conv4")).groups == taps | combined
    assert list(RunSpec("vanilla", taps=("conv1", "conv1")).groups) == ["conv1"]
    convs = ["conv1", "conv2", "conv3", "conv4"]
    assert RunSpec("vanilla", taps=("combination",)).groups == {"combination": convs}
    with pytest.raises(InputError, match="cnn_x3, which has no combination"):
        _ = RunSpec("cnn_x3", taps=("combination",)).groups


def test_trainings_and_where_they_lie(tmp_path: Path) -> None:
    keys = RunSpec("vanilla", taps=("conv1",), num_seeds=2, seed=5).keys
    assert keys == [HeadKey(model, "conv1", seed) for model in (AUDITED, UNTRAINED) for seed in (5, 6)]
    paths = [key.path(tmp_path, 5).relative_to(tmp_path).as_posix() for key in keys]
    assert paths == [
        f"heads/{name}/conv1/head.keras" for name in ("audited", "audited_seed6", "untrained", "untrained_seed6")
    ]
    of_maps = RunSpec("cnn", taps=("conv1",), num_seeds=2, seed=5).keys
    assert of_maps == [key for key in keys if key != HeadKey(UNTRAINED, "conv1", 6)]  # they take minutes each


def test_literal_has_no_standardisation() -> None:
    for literal in (False, True):
        recipe = heads_of(RunSpec("vanilla", taps=("conv4",), literal=literal))["conv4"]
        head = recipe.build({"conv4": (16,)})
        assert ("standardise" in [layer.name for layer in head.layers]) != literal
    RunSpec("cnn_x3", literal=True).check()
    with pytest.raises(InputError, match="received vit_reduced, which is as printed in any case"):
        RunSpec("vit_reduced", literal=True).check()


def test_the_command_asks_for_every_field_with_the_same_default() -> None:
    """They are written twice, so that --help need not load what a run needs."""
    of_command = {field.name: field.default for field in dataclasses.fields(TrainMint)}
    for field in dataclasses.fields(Common):
        del of_command[field.name]
    del of_command["out"]  # where a run lies is no part of it
    assert of_command == {field.name: field.default for field in dataclasses.fields(RunSpec)}


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    externals = ("a", f"web={tmp_path}/b", f"{tmp_path}/run/c")
    spec = RunSpec("cnn", tmp_path / "m", ("conv1",), externals=externals, store=tmp_path / "s", num_seeds=3)
    for may_say_where in (False, True):
        with borders.absolute_paths(may_say_where):
            manifest = formats.make_manifest(KIND, {}, spec.stored(tmp_path / "run"))
        formats.write_json(tmp_path / "run" / formats.MANIFEST, manifest)
        assert (str(tmp_path) in (tmp_path / "run" / formats.MANIFEST).read_text()) == may_say_where
        assert read_spec(tmp_path / "run") == spec


def test_a_run_finds_what_was_moved_with_it(tmp_path: Path) -> None:
    spec = RunSpec("cnn", tmp_path / "a" / "m")
    manifest = formats.make_manifest(KIND, {}, spec.stored(tmp_path / "a" / "run"))
    formats.write_json(tmp_path / "b" / "run" / formats.MANIFEST, manifest)
    assert read_spec(tmp_path / "b" / "run").audited == tmp_path / "b" / "m"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", None),
        ("num_seeds", "x"),
        ("taps", [1]),
        ("literal", 0),
        ("num_train", 1.5),
        ("num_seeds", 10**9),
        ("seed", -1),
    ],
)
def test_what_a_manifest_says_is_of_the_right_kind(name: str, value: object, tmp_path: Path) -> None:
    manifest = formats.make_manifest(KIND, {}, RunSpec("vanilla").stored(tmp_path))
    manifest["config"][name] = value
    formats.write_json(tmp_path / formats.MANIFEST, manifest)
    with pytest.raises(InputError, match=name.replace("_", ".")):
        read_spec(tmp_path).check()


def test_options_of_another_version_are_named(run_folder: Path, tmp_path: Path) -> None:
    shutil.copy(run_folder / formats.MANIFEST, tmp_path)
    manifest = json.loads((tmp_path / formats.MANIFEST).read_text())
    manifest["config"]["novelty"] = 1
    (tmp_path / formats.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="novelty"):
        read_spec(tmp_path)


def test_held_out_people_of_another_folder_of_the_same_name_are_refused(tmp_path: Path) -> None:
    for place in ("ours", "theirs"):
        (tmp_path / place / "faces" / "Ann").mkdir(parents=True)
        (tmp_path / place / "faces" / "Ann" / "1.png").write_bytes(b"a photo")
    ours, theirs = (str(tmp_path / place / "faces") for place in ("ours", "theirs"))
    spec = RunSpec("vanilla", members=ours, held_out=theirs, externals=("synthetic:1/phone/0-9/1",))
    with pytest.raises(InputError, match="both called faces"):
        choose_samples(spec)
