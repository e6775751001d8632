"""What is on the shelf of the package: cards of audited models, the lab's models and bundle, a face network, detector.

In a clone the folders `models/` and `export/` link here, so the names used there work in commands and in manifests.
"""

from pathlib import Path

MODELS, EXPORT = "models", "export"
# The lab model as a clone names it: manifests of runs hold this name, and `find` finds it without a clone too.
LAB = Path(MODELS) / "lab"
# By the name in a clone, which is what commands and the manifests of runs say: the folder of the package.
_PLACES = {
    **{f"{MODELS}/{name}": name for name in ("cards", "lab", "lab2", "lab3", "dlib", "mediapipe")},
    f"{EXPORT}/lab": "bundles/lab",
}


def path(name: str) -> Path:
    """Returns a folder of the shelf.

    Args:
        name: "cards", "lab", "lab2", "lab3", "dlib", "mediapipe" or "bundles/lab".

    Raises:
        FileNotFoundError: if the shelf holds no such thing.
    """
    folder = Path(__file__).parent / name
    if name not in _PLACES.values() or not folder.is_dir():
        raise FileNotFoundError(f"Expected one of {list(_PLACES.values())} on the shelf, received {name!r}.")
    return folder


def find(path_or_name: Path, place: str = MODELS) -> Path:
    """Returns where something is that a user named: the path itself, or, if nothing is there, its place on the shelf.

    So "lab2", "models/lab2" and "models/lab2/members.parquet" work in every folder, with a clone or without one.

    Args:
        path_or_name: A path, or a name of the shelf, perhaps with something inside.
        place: `MODELS`, or `EXPORT` where a bundle is meant: both have a "lab".

    Returns:
        The path as it was given if it is there, or if the shelf has nothing of that name either.
    """
    for parts in (path_or_name.parts, (place, *path_or_name.parts)):
        name = _PLACES.get("/".join(parts[:2]))
        if name is None:
            continue
        found = path(name).joinpath(*parts[2:])
        # Git for Windows may write a link as a file that holds its target: a folder is looked for, not any path.
        is_there = path_or_name.is_dir() if found.is_dir() else path_or_name.exists()
        if found.exists() and not is_there:
            return found
    return path_or_name
