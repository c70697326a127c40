"""One file per page, each run by Streamlit from its top to its last line, `page()`."""
