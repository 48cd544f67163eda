"""Images of any size on any body: opened, stretched to 8 bits, read in windows, placed."""
