"""The real programs that opsdoc is tested on, and what is needed to run them."""
