"""Data: what a task learns from, and the loaders that bring it in a reproducible order."""
