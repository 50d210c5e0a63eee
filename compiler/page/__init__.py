"""Self-contained HTML pages, from facts and pictures."""
