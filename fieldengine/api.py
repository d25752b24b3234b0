"""Everything a plugin needs: `from fieldengine.api import ...`.

This module only re-exports; it imports nothing that computes. Beside it, plugins may use `fieldengine.fields` (MLP and
unit box), `fieldengine.ops` and `fieldengine.ntk`.
"""

from fieldengine.errors import DataError, FieldEngineError, PluginError, RunError, SceneError, TrainingError
from fieldengine.kinds.activation import Activation
from fieldengine.kinds.camera import CameraModel
from fieldengine.kinds.dataset import Dataset, DatasetOptions, ReferenceSurface
from fieldengine.kinds.encoding import Encoding, EncodingOptions
from fieldengine.kinds.exporter import Exporter, Trained
from fieldengine.kinds.field import (
    Advancing,
    FieldOptions,
    GradientsByRow,
    RadianceField,
    SignalField,
    SurfaceField,
    colour,
)
from fieldengine.kinds.hook import (
    UNCHANGED,
    BatchSampler,
    ErrorOracle,
    GradientTransform,
    HookOptions,
    Lattice,
    NearSamples,
    Order,
    Regularizer,
)
from fieldengine.kinds.kind import Candidates, Slot
from fieldengine.kinds.metric import Metric
from fieldengine.kinds.operator import Operator, OperatorOptions
from fieldengine.kinds.parameterization import MixesRows, Parameterization
from fieldengine.kinds.ray_sampler import Density, RaySampler, RaySamplerOptions
from fieldengine.kinds.renderer import Renderer, RendererOptions
from fieldengine.types import (
    Aabb,
    AdamSettings,
    Batch,
    Domain,
    Items,
    PixelGrid,
    Points,
    Rays,
    Rendered,
    RunContext,
    Samples,
    Stage,
    View,
)

__all__ = [
    "UNCHANGED",
    "Aabb",
    "Activation",
    "AdamSettings",
    "Advancing",
    "Batch",
    "BatchSampler",
    "CameraModel",
    "Candidates",
    "DataError",
    "Dataset",
    "DatasetOptions",
    "Density",
    "Domain",
    "Encoding",
    "EncodingOptions",
    "ErrorOracle",
    "Exporter",
    "FieldEngineError",
    "FieldOptions",
    "GradientTransform",
    "GradientsByRow",
    "HookOptions",
    "Items",
    "Lattice",
    "Metric",
    "MixesRows",
    "NearSamples",
    "Operator",
    "OperatorOptions",
    "Order",
    "Parameterization",
    "PixelGrid",
    "PluginError",
    "Points",
    "RadianceField",
    "RaySampler",
    "RaySamplerOptions",
    "Rays",
    "ReferenceSurface",
    "Regularizer",
    "Rendered",
    "Renderer",
    "RendererOptions",
    "RunContext",
    "RunError",
    "Samples",
    "SceneError",
    "SignalField",
    "Slot",
    "Stage",
    "SurfaceField",
    "Trained",
    "TrainingError",
    "View",
    "colour",
]
