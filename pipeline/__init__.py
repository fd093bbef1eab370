"""A table of texts → a trained, exported, verified and measured text model."""

__version__ = "0.1.0"
