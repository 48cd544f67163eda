"""Labels of any form, with their images, into the data-set form."""
