"""What leaves the engine: meshes, point clouds, images, videos, and the field itself."""
