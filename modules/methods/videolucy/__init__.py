"""VideoLucy (arXiv 2510.12422): memories of a video in text, and an agent that looks back where they do not do."""
