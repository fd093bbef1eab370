"""Artifacts → a page that runs them in a browser, its server, and records of what it measured."""
