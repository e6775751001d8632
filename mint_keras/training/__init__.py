"""The only place that compiles and fits: heads, and audited models."""
