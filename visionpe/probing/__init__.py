"""How much position a network encodes: `visionpe.probe`, with controls that are always on.

targets        what is asked for: maps of position
images         batches, read several times and the same each time; dead_leaves generates them
layers         which layers can be probed, by `visionpe.trace`; features records their maps
readout        what a read-out must do; linear is the closed form (ridge its mathematics),
               trained is SGD (training its recipe, visionpe.models.posenet its nets)
scores         rank correlation, error, share of variance, intervals
controls       what a score must be compared with, by copies of the network (twins) and by images
               and targets without content (contents); splits: which images are tested
measuring      one network's layers; measured: their scores; plan: all conditions; gathering:
               rows, means and maps
field, shift   what else leaks position; companions puts both beside the layers
suite          `probe`; result and table: what it returns
"""
