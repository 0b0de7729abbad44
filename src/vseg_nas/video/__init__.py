"""Prediction on video: files, folders of frames and cameras in; label maps, overlays and tables out, frame by frame."""
