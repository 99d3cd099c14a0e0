"""Many runs of one kind: a grid of configurations, carried out by Ray Tune.

grid      the sweep file: its axes, and the configuration of each cell
checks    what the values of a sweep file must be
configs   configurations of `visionpe fit`: read, joined, overridden, known by a digest
folder    what lies on disk: each cell's configuration, its outcome, one JSON line a run
running   one cell: an ordinary `visionpe fit`, and what is asked for after it
standing  whether a cell is done, as the sweep file is now
engine    all cells, on this machine or on a cluster
"""
