"""Baking coordinates into constants for one size: `visionpe.fold`."""
