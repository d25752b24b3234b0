"""How each format of images is read: stored numbers, what they mean, and what a file says of them."""
