"""From a collection of pictures, as a person keeps them, to a tree of labelled folders."""
