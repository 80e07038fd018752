"""Looks that several probes share: samples, stacks, and what is made of them."""
