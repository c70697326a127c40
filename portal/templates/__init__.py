"""Small real Ray programs, one for each research challenge; each runs as it is."""
