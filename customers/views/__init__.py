"""The pages of customers, one module a subject."""
