"""What MINT+ finds on audited models that are trained for it; see `studies.measure_plus`."""
