"""The researcher's and the operator's commands that ask a hub."""
