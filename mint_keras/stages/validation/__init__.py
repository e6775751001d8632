"""Is the auditor to be trusted? Its verdicts on worlds whose truth is known, see `stage`."""
