"""One hemisphere with one head: trained on fine or on coarse labels."""
