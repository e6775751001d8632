"""Reading samples: locations, decoding, splits, protocols, and the faces of the lab."""
