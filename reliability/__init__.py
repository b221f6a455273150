"""Breaking things on purpose, and the figures in docs/reliability.md that come of it."""
