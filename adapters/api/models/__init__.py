"""What requests and answers look like. Field descriptions and examples become the OpenAPI description."""

from adapters.api.models.base import Answer, Failure, ProblemDetails
from adapters.api.models.documents import (
    BatchItem,
    BatchReceipt,
    Chunk,
    ChunkList,
    Document,
    DocumentList,
    Page,
    Progress,
    Receipt,
    StageProgress,
    Started,
)
from adapters.api.models.media import (
    Media,
    MediaList,
    MediaReceipt,
    OptimizationOrder,
    ProcessingOrder,
    ThumbnailOrder,
)
from adapters.api.models.search import Hit, SearchAnswer, SearchRequest
from adapters.api.models.status import Alive, Connections, Health, JobCounts, QueueCounts, Stats
from adapters.api.models.tasks import Attempt, Task, TaskList, TaskResult, TaskState, WhyNot
from adapters.api.models.webhooks import Delivery, DeliveryList, Endpoint, EndpointList, NewEndpoint, Secret

__all__ = [
    "Alive",
    "Answer",
    "Attempt",
    "BatchItem",
    "BatchReceipt",
    "Chunk",
    "ChunkList",
    "Connections",
    "Delivery",
    "DeliveryList",
    "Document",
    "DocumentList",
    "Endpoint",
    "EndpointList",
    "Failure",
    "Health",
    "Hit",
    "JobCounts",
    "Media",
    "MediaList",
    "MediaReceipt",
    "NewEndpoint",
    "OptimizationOrder",
    "Page",
    "ProblemDetails",
    "ProcessingOrder",
    "Progress",
    "QueueCounts",
    "Receipt",
    "SearchAnswer",
    "SearchRequest",
    "Secret",
    "StageProgress",
    "Started",
    "Stats",
    "Task",
    "TaskList",
    "TaskResult",
    "TaskState",
    "ThumbnailOrder",
    "WhyNot",
]
