"""The packaged recipes, one TOML file a model."""
