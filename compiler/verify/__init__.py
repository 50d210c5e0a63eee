"""Is the compiled network still the network? Figures and gates."""
