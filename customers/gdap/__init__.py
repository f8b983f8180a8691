"""GDAP: our copy of the relationships, what it amounts to for people and customers, and the GDAP API's sync."""
