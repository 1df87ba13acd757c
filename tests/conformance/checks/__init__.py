"""Reads the files of a mount with readers that others wrote, and compares what they see."""
