"""What comes to a page by itself, over a route beside the pages: a job's log as it is written."""
