"""Somebody's Keras file → what it holds, without running anything that it brings.

What's where: `source` a file → its configuration as it stands, `vetting` that configuration → one
of stock layers and plain values alone, `loading` that and the file's weights → a Keras model,
`graph` the model → its layers in order, `translate` those → layers that can be lowered, `reading`
all of it in a process of its own, `process` the job for that process.
"""
