"""Small networks of published experiments, in plain PyTorch."""
