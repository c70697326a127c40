"""What stands in front of the pages: sessions, one origin, headers."""
