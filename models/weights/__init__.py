"""Weight files: our checkpoints, readers of foreign files and their names, architecture from shapes, averages."""
