"""Samples, and what an audited model gives for them, in memory."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mint_keras.aad import observe as observing
from mint_keras.aad import views
from mint_keras.api.audited_model import AuditedModel
from mint_keras.audited import taps
from mint_keras.audited.runtime import FaceFunction
from mint_keras.auditing import look as looks
from mint_keras.data import images
from mint_keras.data import samples as sources
from mint_keras.data.people import as_text, spelling, unknown
from mint_keras.records import REFERENCE, InputError, Observations, SampleTable

UNNAMED = "array"  # the database of faces of which nobody has said it


def samples(
    *given: str | Path | np.ndarray, people: Sequence[str] | np.ndarray = (), database: str = ""
) -> Observations:
    """Lists samples: folders, sample tables, RecordIO files, lab faces; or an array of faces.

    Args:
        given: Sources as `mint train` takes them, such as "faces/members", or one array of RGB faces, (n, size, size,
            3), uint8.
        people: Who is on each face of an array, (n,), None where nobody knows; without it nobody does, and faces cannot
            be split by person. Spellings of a name that differ in case or in spaces, _, - and dots are one person.
        database: What database all of it is of. People who are not members are a reference only if they are of the
            members' own database, so say so where folders have other names, and of faces in an array.

    Raises:
        InputError: if there is no such source, it holds no image, or two folders have one name.

    Example:
        >>> faces = samples("synthetic:1/web/0-9/2")
        >>> len(faces), len(set(faces.people()))
        (20, 10)
        >>> len(samples(np.zeros((4, 112, 112, 3), np.uint8), people=["Ann", "Ann", "Bob", "Bob"]))
        4
    """
    if len(given) == 1 and isinstance(faces := given[0], np.ndarray):
        if faces.ndim != 4 or faces.shape[1] != faces.shape[2] or faces.shape[3] != 3 or faces.dtype != np.uint8:
            raise InputError(f"Expected faces (n, size, size, 3), uint8, received {faces.shape}, {faces.dtype}.")
        databases = np.full(len(faces), database or UNNAMED)
        names = np.array([f"{name}-{row:06d}" for row, name in enumerate(databases.tolist())])
        said = np.asarray(people).tolist() or [None] * len(faces)
        if len(said) != len(faces):
            raise InputError(f"Expected the person on each of {len(faces)} faces, received {len(said)} names.")
        first: dict[str, str] = {}
        of = [spelling(as_text(one), first) or unknown(name) for one, name in zip(said, names.tolist(), strict=True)]
        table = SampleTable(names, databases, np.array(of), np.full(len(faces), ""))
        return Observations(table, {images.PIXELS: faces})
    if any(isinstance(one, np.ndarray) for one in given) or not given:
        raise InputError("Expected sources, or one array of faces, received something else. Join arrays first.")
    named = [str(one) for one in given]
    listed = [sources.list_samples(one) for one in named]
    table = sources.join(listed)
    if not database:
        sources.check_databases(zip(named, listed, strict=True))
    else:
        table = dataclasses.replace(table, database=np.full(len(table), database))
    return Observations(table, {})


def observe(
    model: AuditedModel, faces: Observations, with_maps: bool = False, references: Sequence[AuditedModel] = ()
) -> Observations:
    """Shows faces to a model and keeps what its taps give, the answer to small changes of each face, and more.

    Args:
        model: The model to look into, see `load_model`.
        faces: What `samples` returned, or some rows of it.
        with_maps: Whether whole maps are kept, which cnn heads take: 401 KB a face for R100's conv1.
        references: Networks that look at the same faces and were not trained on the members in question, such as the
            checkpoint before fine-tuning. MINT+ and `LogOdds` look at what the model says beyond them, and `audit`
            takes each of them as a control. A single one is shown the changed faces, too.

    Returns:
        The faces that could be read, with an array for each thing that was observed.

    Raises:
        InputError: if none could be read, or two references have one name.

    Example:
        >>> from mint_keras.api.audited_model import load_model
        >>> seen = observe(load_model("lab"), samples("synthetic:1/web/0-1/2"))
        >>> seen["outcome"].shape[0], "conv1_max" in seen.arrays
        (4, True)
    """
    if len({one.name for one in references}) < len(references):
        raise InputError(f"Expected references of different names, received {[one.name for one in references]}.")
    opener = model.opener(faces, views.NUM_PASSES)
    seen = _show(model, faces, views.face_function(model.network, model.taps, with_maps, model.normalise, opener))
    shown = Observations(seen.table, {name: seen[name] for name in (images.PIXELS,) if name in faces.arrays})
    for one in references:
        given = embed(one, shown, with_views=len(references) == 1).arrays
        seen = seen.adding(**looks.as_reference(f"{REFERENCE}_{one.name}", given))
    return seen


def embed(model: AuditedModel, faces: Observations, with_views: bool = False) -> Observations:
    """Returns the outcomes alone, several times as fast as `observe`, or with what `views.with_views` adds.

    Raises:
        InputError: if none could be read.
    """
    opener = model.opener(faces, views.NUM_PASSES if with_views else 1)
    forward = opener({"": taps.extractor(model.network, [taps.OUTCOME])})[""]
    look: FaceFunction = lambda shown: forward(model.normalise(shown))  # noqa: E731
    return _show(model, faces, views.with_views(look, look) if with_views else look)


def _show(model: AuditedModel, faces: Observations, function: FaceFunction) -> Observations:
    if images.PIXELS in faces.arrays and faces[images.PIXELS].shape[1] != model.framing.size:
        resized = [model.framing.apply(face) for face in faces[images.PIXELS]]
        faces = faces.adding(**{images.PIXELS: np.stack(resized)})
    return observing.observe(faces, function, model.framing)
