"""What leaves the engine: meshes, point clouds, pictures, videos, and the field itself."""
