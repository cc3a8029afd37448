"""Searches a user's videos by text: an index, and its web page."""
