"""Video as it comes: files, folders of frames and cameras in; labels, overlays and tables out. One frame at a time."""
