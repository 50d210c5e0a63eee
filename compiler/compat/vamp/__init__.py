"""`vamp`: run a bundle for speed or on a list of npz files, as the published instructions do."""
