"""What the classifiers of fine-tuned networks began as: networks of two recipes are not compared."""

from pathlib import Path

from mint_keras import formats
from mint_keras.audited import zoo
from mint_keras.records import InputError
from mint_keras.training import fine_tuning


def began(models: Path, is_adding: bool = False) -> str:
    """Returns what those of the networks in a folder began as: "" if at random, as all did once, or if there are none.

    Args:
        models: The folder, with a folder for each network.
        is_adding: Whether one more is to be trained, as they are today.

    Raises:
        InputError: if they are of two recipes, or would be.
    """
    folders = (path.parent for path in models.glob(f"*/{formats.MODEL}"))
    found = {formats.read_manifest(folder, zoo.KIND)["config"].get("classifier", "") for folder in folders}
    if len(found := found | ({fine_tuning.CLASSIFIER} if is_adding else set())) > 1:
        raise InputError(
            f"Expected networks of one recipe in {models}, received classifiers that began as {sorted(found)}, where "
            "'' is at random. Take another --out."
        )
    return "".join(found)
