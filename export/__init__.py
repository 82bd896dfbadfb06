"""From a run to files for devices: `python -m export --run runs/imgs`. See `export/__main__.py`; this file imports nothing."""
