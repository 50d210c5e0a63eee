"""The commands and the Python module of the published instructions, on a bundle."""
