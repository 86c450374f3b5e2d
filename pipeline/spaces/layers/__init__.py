"""NAS' space: networks layer by layer."""
