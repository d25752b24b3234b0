"""From a field to pictures: sensors that make points and rays, samples along rays, renderers that integrate them."""
