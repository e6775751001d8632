"""What was audited, for the first page of a report: which file, which photos, and what is known of both."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import borders, formats, shelf
from mint_keras.audited import cards, zoo
from mint_keras.data import inspection, protocol_files, samples
from mint_keras.runs.run import Run, named_samples


def model(path: Path) -> dict[str, Any]:
    """Returns which file an audited model is, where it comes from, and whether it is known to recognise faces."""
    folder, kind = shelf.find(path), zoo.kind_of(path)
    manifest = formats.read_manifest(folder, kind)
    digests = [manifest["model_sha256"], *manifest["inputs"].values()]
    card = next((found for digest in digests if (found := cards.find_card(str(digest)))), None)
    parity = formats.read_json(folder / formats.PARITY) if (folder / formats.PARITY).is_file() else {}
    verification = str(parity.get("verification", ""))
    if not verification and (folder / formats.VERIFICATION).is_file():
        figures = formats.read_json(folder / formats.VERIFICATION)
        with borders.reading(f"auc and num_pairs in {folder / formats.VERIFICATION}"):
            verification = f"AUC {float(figures['auc']):.4f} on {int(figures['num_pairs']):,} pairs of photos"
    return {
        "name": path.name,
        "kind": kind,
        "file": formats.MODEL,
        "sha256": manifest["model_sha256"],
        "made_from": manifest["inputs"],
        "card": {"name": card.name, "title": card.title, "licence": card.about["licence"]} if card else None,
        "verification": verification,
        "parity": str(parity.get("statement", "")),
    }


def photos(run: Run) -> dict[str, Any]:
    """Returns which photos a run compares, who is on them and how that was read, and whether copies were looked for."""
    spec, table = run.spec, run.protocol.table
    scan, read = None, {}
    if spec.protocol is not None:
        scan = protocol_files.read_protocol(spec.protocol)[1]["scan"]
        read["as the tables of make_protocol.py say"] = np.unique(table.database).tolist()
    else:
        for text in dict.fromkeys(text for texts in named_samples(spec).values() for text in texts):
            how, notes = inspection.how_read(samples.locate(text))
            databases = read.setdefault(" ".join([how, *notes]), [])
            databases += [
                one for one in np.unique(samples.list_samples(text).database).tolist() if one not in databases
            ]
    return {
        # Of the list without its places, so that whoever has the same photos elsewhere finds the same.
        "list_sha256": formats.sha256_table(table),
        "pixels_sha256": str(run.aad.manifest.get("pixels_sha256", "")),
        "parts": protocol_files.count_parts(run.protocol),
        "num_rejected": int(run.aad.manifest.get("rejected", 0)),
        "scan": protocol_files.scan_text(scan),
        "identities_read": read,  # the databases by how it is read who is on their photos
    }


def steps(run: Run) -> list[dict[str, Any]]:
    """Returns by what commands the audited model and the run were made, and the SHA-256 of what they were made from."""
    folders = (shelf.find(run.spec.audited), run.folder)
    made = [(folder.name, formats.read_json(folder / formats.MANIFEST)) for folder in folders]
    with borders.reading(f"a command and inputs in the manifests of {[name for name, _ in made]}"):
        for _, one in made:  # the report takes them apart, when everything is measured
            shlex.split(one["command"]), dict(one["inputs"])
        return [{"name": name, "command": one["command"], "inputs": one["inputs"]} for name, one in made]
