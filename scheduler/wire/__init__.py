"""What crosses a process boundary: frozen, validated messages.

Agents and the portal know the hub only through this package.
"""
