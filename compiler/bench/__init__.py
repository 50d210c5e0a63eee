"""Measure bundles: times, throughput, memory and energy, with their spread."""
