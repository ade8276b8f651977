"""One benchmark per claim in the README. Each prints what it measured, `--json` as one line."""
