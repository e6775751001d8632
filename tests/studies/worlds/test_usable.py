"""Fine-tuned networks and what is made of photos, from maps that were kept: the same as the whole network makes."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, vectors
from mint_keras.aad import views
from mint_keras.aad.observe import run
from mint_keras.audited import zoo
from mint_keras.data import samples
from mint_keras.records import AUDITED, InputError, Sample, tabulate
from studies.worlds import drawing, scores, usable
from studies.worlds.networks import PIXELS
from studies.worlds.spec import World, WorldsSpec

pytestmark = pytest.mark.usefixtures("loaded_once", "filled_to_eight")


@pytest.fixture(scope="module", autouse=True)
def views_of_all() -> Iterator[None]:
    """Two views of a face in place of seven: of each the same is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "VIEWS", dict([*views.VIEWS.items()][:2]))
        yield


@pytest.fixture(scope="module")
def lab(audited_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> usable.UsableLab:
    spec = usable.UsableSpec(
        first=audited_folder, trainable="stage4", data="synthetic:1/web/100-135/2", claimed=16, least_photos=2,
        photos=2, epochs=1, batch_size=32, num_spare=0, num_untrained=0, looks={"look": Path("lab2")},
    )  # fmt: skip
    return usable.UsableLab(spec, tmp_path_factory.mktemp("usable"))


@pytest.mark.slow
def test_everybody_is_a_member_or_not_and_nobody_is_spare(lab: usable.UsableLab) -> None:
    seen = lab.look(1)
    (others,) = seen.people.others.values()
    members = set(seen.people.members.people())
    assert len(members) == 16
    assert not members & set(others.people())
    assert len(members | set(others.people())) == 36


@pytest.mark.slow
def test_kept_maps_give_what_the_whole_network_gives(lab: usable.UsableLab) -> None:
    alone = usable.UsableLab(dataclasses.replace(lab.spec, looks={}), lab.out)
    found = alone.observe(alone.people, 1)[AUDITED]
    whole = run(views.face_function(zoo.load_audited(alone.folder(1))), alone.people.faces[:6])
    for name in ("outcome", "view_cosines", "view_norm_ratios", "view_outcomes", "conv1_max", "conv4_max"):
        np.testing.assert_allclose(found[name][:6], whole[name], rtol=0.01, atol=0.01 * np.abs(whole[name]).max())
    assert not np.allclose(found["outcome"], alone.observe(alone.people, 1)[usable.BEFORE]["outcome"], rtol=0.1)


@pytest.mark.slow
def test_worlds_are_scored_as_those_of_drawn_networks(lab: usable.UsableLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "NAIVE", scores.NORM)  # a head wants more photos than there are here
    spec = WorldsSpec(claimed=16, held_out=16, externals=2, photos=2)
    found = scores.score(spec, World(1, 1, "membership"), lab.look(1))
    models = {one.model for one in found}
    assert models == {AUDITED, usable.BEFORE, "look"}
    assert all(np.isfinite(one.logit).all() for one in found)


@pytest.mark.slow
def test_every_photo_is_there_compressed_as_well(lab: usable.UsableLab) -> None:
    seen = lab.look(1)
    again = drawing.recompressed(seen.people.members)
    plain, compressed = (seen.of(table)[AUDITED]["outcome"] for table in (seen.people.members, again))
    cosines = (vectors.unit_rows(plain) * vectors.unit_rows(compressed)).sum(axis=1)
    assert 0.5 < np.median(cosines) < 0.9999


@pytest.mark.slow
def test_traits_are_learned_from_other_faces(
    lab: usable.UsableLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of drawn people it is said that whoever has an even number is old, female and not white."""
    listed = samples.list_samples("synthetic:1/web/100-135/2")
    even, odd = (json.dumps({"age": 20 + 30 * k, "gender": k, "race": k}) for k in (1, 0))
    said = [even if name[-1] in "02468" else odd for name in listed.people().tolist()]
    monkeypatch.setattr(
        usable.samples, "list_samples", lambda source: dataclasses.replace(listed, attributes=np.array(said))
    )
    told = usable.UsableLab(dataclasses.replace(lab.spec, labelled="named"), lab.out)
    guessed = told.look(0).traits
    assert set(guessed) == set(drawing.TRAITS)
    for of in guessed.values():
        even, odd = (
            [value for name, value in of.items() if (name[-1] in "02468") == is_even] for is_even in (True, False)
        )
        assert np.mean(even) > np.mean(odd)


@pytest.mark.slow
def test_another_database_is_seen_by_the_same_networks(lab: usable.UsableLab) -> None:
    table = samples.list_samples("synthetic:1/scan/0-3/2")
    twice = table.take(np.array([0, 1, 2, 3, 0]))
    photos = lab.photos(twice, "scan")
    assert photos.table.sample_id.tolist() == table.sample_id[:4].tolist()
    by_network = lab.observe(photos)
    assert set(by_network) == {PIXELS, AUDITED, "look"}
    assert {len(seen) for seen in by_network.values()} == {4}


@pytest.mark.slow
def test_what_is_there_is_not_made_again(lab: usable.UsableLab) -> None:
    figures = lab.train(1)
    before = formats.sha256_file(lab.folder(1) / formats.MODEL)
    assert usable.UsableLab(lab.spec, lab.out).train(1) == figures
    assert formats.sha256_file(lab.folder(1) / formats.MODEL) == before
    assert {"auc", "before"} <= set(figures)


@pytest.mark.slow
def test_too_few_people_are_refused(lab: usable.UsableLab, tmp_path: Path) -> None:
    few = usable.UsableLab(usable.UsableSpec(first=lab.spec.first, trainable="stage4", data=lab.spec.data), tmp_path)
    with pytest.raises(InputError, match="220 people"):
        _ = few.people


def test_traits_are_read_from_names() -> None:
    said = Sample("a", "utk", "a", "", attributes={"age": "41", "gender": "1", "race": "3"})
    found = usable.traits(tabulate([said, Sample("b", "utk", "b", "")]))
    assert {name: values.tolist() for name, values in found.items()} == {
        "sex": [1, -1], "age": [41, -1], "race": [3, -1],
    }  # fmt: skip
