"""What the portal says where there is no page of Streamlit's to say it."""

AWAY = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>No answer from the hub · Commonpool</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><h1>No answer from the hub</h1>
<p>Nobody can be signed in while the hub does not answer. Jobs that run are not affected.</p>
<p>Is it started? <code>commonpool status</code> tells, <code>commonpool up</code> starts it.</p>
<p><a href="">Look again</a></p></main></body></html>
"""
