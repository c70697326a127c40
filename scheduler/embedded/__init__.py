"""The whole of Commonpool on one machine: up, down, status, demo.

It prepares a data folder, then starts the same commands that a site's operator would
start by hand, and watches them. Nothing in here is needed to run a hub or an agent.
"""
