"""Parts of pages: what a view is put together from."""
