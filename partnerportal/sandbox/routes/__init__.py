"""One module for each vendor's wire, and `control` for the sandbox's own doors."""
