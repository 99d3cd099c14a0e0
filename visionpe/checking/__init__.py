"""Conformance of position encodings, anybody's: what `visionpe.check` looks at."""
