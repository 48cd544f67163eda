"""Crater detectors for planetary images: from labelled images to a served Mask R-CNN."""

__version__ = "0.1.0"
