"""Several users at once: a file becomes rows, they are checked, and the ready ones become a run of the workers."""
