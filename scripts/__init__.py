"""What make calls: the demo, the tests and the checks. Nothing here is part of the portal."""
