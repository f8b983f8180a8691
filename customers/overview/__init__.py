"""The start page: figures of the whole list, what needs the person, and the geometry of the pictures."""
