"""What `experiments/census.py` is made of.

models   the names, and models whose large weights share their memory
sizes    the smallest images that a model takes
kinds    what is tried on each model
watching whether encodings act, site by site
trying   one encoding in one model: attached, compared, taken off again
rows     one model, all kinds: the census' lines
table    the lines, summed up in `docs/census.md`
listed   the same, as `visionpe list models` reads it
"""
