"""Bundles for a laptop: export (needs TensorFlow) and offline scoring (does not)."""
