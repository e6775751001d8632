"""The audit of a MINT run: references, controls and the verdict, as functions of a run, a scorer and a protocol."""
