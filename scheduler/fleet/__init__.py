"""What the nodes last said, in the memory of the process that they said it to."""
