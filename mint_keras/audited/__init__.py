"""The models under audit: architectures, margins, taps, and models on disk."""
