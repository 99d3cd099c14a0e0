"""Pictures of all encodings: `python -m experiments.gallery`."""
