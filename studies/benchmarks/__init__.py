"""What `studies.benchmark` measures: each part yields measurements, ours beside a peer's."""
