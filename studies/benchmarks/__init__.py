"""What benchmark.py measures: one module per part of the package, one function per comparison."""
