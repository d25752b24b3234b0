"""How each format of meshes is read: vertices, polygons, and what a file says of them."""
