"""Small real Ray programs of the demo; each runs as it is, anywhere Ray runs."""
