"""Ray samplers: where samples lie along a ray."""
