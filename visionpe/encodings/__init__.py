"""Encodings of position, one kind a file; the public names are in `visionpe`."""
