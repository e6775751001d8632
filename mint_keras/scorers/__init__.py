"""Whatever turns samples into scores and is not a head."""
