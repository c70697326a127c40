"""The hub as pages and commands see it: one method per endpoint."""
