"""The MINT models of the paper."""
