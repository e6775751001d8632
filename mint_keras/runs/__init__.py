"""A MINT run: one audited model, some samples, and the heads that are trained and evaluated on them."""
