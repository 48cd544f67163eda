"""The commands of `crater`, by the part of the way they are for."""
