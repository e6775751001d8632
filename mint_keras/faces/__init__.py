"""From raw photos to aligned faces: detection and alignment, in NumPy and OpenCV."""
