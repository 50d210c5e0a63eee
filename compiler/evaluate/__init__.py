"""Task metrics on images with masks."""
