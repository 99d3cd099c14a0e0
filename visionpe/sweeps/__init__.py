"""Many runs of one kind: a grid of configurations, carried out by Ray Tune.

grid      the sweep file: its axes, and the configuration of each cell
folder    what lies on disk: each cell's configuration, its outcome, one JSON line a run
running   one cell: an ordinary `visionpe fit`, and what is asked for after it
engine    all cells, on this machine or on a cluster
"""
