"""What a graph costs: operations, bytes, machine constants, and the time they predict."""
