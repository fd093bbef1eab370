"""Runs on the device, with NumPy and a TFLite runtime: artifact + texts → labels, latencies."""

__version__ = "0.1.0"
