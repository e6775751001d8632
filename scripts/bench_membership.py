"""Rank attacks on networks that are any good. A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.bench_membership", True, sys.argv[1:], "bench_membership.py"))
