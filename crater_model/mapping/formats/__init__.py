"""One module for each format of map files; `write` chooses by suffix."""
