"""Exercises: the notebooks with their ideas left to write, and the checks that say what is wrong with an answer."""
