"""Several users at once: runs, their rows, and the workers that carry them out."""
