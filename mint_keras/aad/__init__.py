"""Auxiliary auditable data: what the taps gave for a set of samples."""
