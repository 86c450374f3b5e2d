"""What a search is, in keys: models, their defaults, presets and files."""
