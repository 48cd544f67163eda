"""What people look at: outlines over pixels, sheets, plots, and the pages that hold them."""
