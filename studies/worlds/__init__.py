"""Worlds of known truth: who is claimed, who really was trained on, and what the auditor says; see `validate_auditor`.

`committed` holds the scores of 20 worlds, the first two of each kind of the first two audited models.
"""
