"""simplecell"""
