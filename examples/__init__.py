"""Programs that show what cotyledon is for; each runs as ``python examples/NAME.py``."""
