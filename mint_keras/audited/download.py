"""Weights from an address, for whoever asks for that; nothing that comes is kept unless its SHA-256 is right."""

import http.client
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from mint_keras import formats
from mint_keras.records import InputError

_HUB = "https://huggingface.co/{}/resolve/main/{}"
_SECONDS = 60.0  # without a byte


def fetch(address: str, known: tuple[str, ...], path: Path) -> None:
    """Fetches a file to `path`, or leaves it alone if it is there.

    Args:
        address: https://..., http://... or hf://OWNER/REPOSITORY/FILE, and its SHA-256 behind it as #sha256=HEX.
        known: What its SHA-256 may be where the address does not say.
        path: The file to write.

    Raises:
        InputError: The address is none of these, nobody says which SHA-256 is right, nobody answers, or another
            file comes.
    """
    place, _, digest = address.partition("#sha256=")
    if match := re.fullmatch(r"hf://([^/]+/[^/]+)/(.+)", place):
        place = _HUB.format(match[1], urllib.parse.quote(match[2]))
    if not place.startswith(("https://", "http://")):
        raise InputError(f"Expected an address, https://... or hf://OWNER/REPOSITORY/FILE, received {address}.")
    allowed = (digest.lower(),) if digest else known
    if not allowed or not all(re.fullmatch("[0-9a-f]{64}", one) for one in allowed):
        hint = "Write it behind the address, #sha256=HEX, or name a --card that knows it."
        raise InputError(f"Expected the SHA-256 of what {address} gives, received {digest or 'none'}. {hint}")
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with formats.atomic_path(path) as temporary:
        try:
            # The scheme was looked at above, and redirections lead to http(s) only.
            with urllib.request.urlopen(place, timeout=_SECONDS) as answer, open(temporary, "wb") as file:  # noqa: S310
                shutil.copyfileobj(answer, file)
        except (urllib.error.URLError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise InputError(f"Expected an answer from {place}, received: {reason}. Fetch it by hand.") from error
        if (arrived := formats.sha256_file(temporary)) not in allowed:
            raise InputError(f"Expected SHA-256 {' or '.join(allowed)} from {place}, received {arrived}: not kept.")
