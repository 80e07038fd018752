"""`idle.py ANYTHING…`: does nothing; its arguments are for others to read."""

from stage import commands

commands()
