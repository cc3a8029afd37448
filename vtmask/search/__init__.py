"""An index of a user's videos, and its page: which second shows it?"""
