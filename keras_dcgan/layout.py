"""The names of the files in a run directory. Stdlib only."""

CONFIG, MANIFEST, METRICS = "config.json", "data.json", "metrics.jsonl"
BEST, LAST = "generator.keras", "generator_last.keras"
CHECKPOINTS, SAMPLES, LOGS, LOCK = "checkpoints", "samples", "logs", ".lock"
EXPORT, EVALUATION, REPORT = "export", "evaluation", "report.html"


def is_run(names: set[str]) -> bool:
    """Whether a folder with these names in it is a run directory."""
    return names >= {CONFIG, MANIFEST} and bool(names & {LOCK, CHECKPOINTS})
