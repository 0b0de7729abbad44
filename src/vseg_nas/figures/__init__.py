"""Every plot, one kind a file: drawings of cells, curves of searches, scores of methods, frames side by side."""
