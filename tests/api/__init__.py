"""The API, over ASGI, on both databases."""
