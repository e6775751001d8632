"""Weights from an address, for whoever asks for that; nothing that comes is kept unless its SHA-256 is right."""

import hashlib
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from mint_keras import formats
from mint_keras.records import InputError

_HUB = "https://huggingface.co/{}/resolve/main/{}"
_CHUNK, _SECONDS = 2**20, 60.0


def fetch(address: str, known: tuple[str, ...], path: Path) -> None:
    """Fetches a file to `path`, or leaves it alone if it is there; what arrives is kept only if its SHA-256 is right.

    Args:
        address: https://..., http://... or hf://OWNER/REPOSITORY/FILE, and the SHA-256 behind it as #sha256=HEX.
        known: The SHA-256 that it may have, of a card, where the address has none.
        path: The file to write.

    Raises:
        InputError: The address is none of these, nobody said which SHA-256 it must have, the network does not
            answer, or another file came.
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
    arrived = hashlib.sha256()
    with formats.atomic_path(path) as temporary:
        try:
            # The scheme was looked at above, and redirections lead to http(s) only.
            with urllib.request.urlopen(place, timeout=_SECONDS) as answer, open(temporary, "wb") as file:  # noqa: S310
                while chunk := answer.read(_CHUNK):
                    arrived.update(chunk)
                    file.write(chunk)
        except urllib.error.URLError as error:
            raise InputError(f"Expected an answer from {place}, received: {error.reason}. Fetch it by hand.") from error
        if arrived.hexdigest() not in allowed:
            received = f"received {arrived.hexdigest()}, which is not kept"
            raise InputError(f"Expected a file of SHA-256 {' or '.join(allowed)} from {place}, {received}.")
