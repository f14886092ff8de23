"""New vectors for memories that are to be written: whether they will fit, what they cost, and where they wait.

The embedder is the deployment's own. Its vectors are kept beside the restores until they are in the database.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from uuid import UUID

from mem0_assets.errors import RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.memories import Memory
from mem0_assets.restores.embedding import Embedder
from mem0_assets.restores.record import RESTORES
from mem0_assets.restores.reembedding import Cost, Kept, Tell, cost_of, make_vectors, with_new_vectors
from mem0_assets.restores.vector_file import FILE, VectorFile, remove_vector_file, vector_file


class NewVectors:
    """The embedder of a deployment, for a column of `dimensions` (None: of any)."""

    def __init__(self, deployment: Deployment) -> None:
        """Raises ConfigurationError where fleet.yaml names no embedder."""
        self._embedder = Embedder(deployment.embedder)
        self._folder = deployment.backups / RESTORES

    def cost(self, memories: Iterable[Memory], dimensions: int | None) -> Cost:
        """What the vectors take, once it is known that they will fit. The embedder is asked for one.

        Raises RefusedError (`dimensions_changed`), EmbedderError, EmbedderAwayError, VectorFileError.
        """
        gives = self._embedder.dimensions()
        if dimensions not in (None, gives):
            raise RefusedError(
                f"the embedder gives {gives} dimensions, and the live collection holds vectors of {dimensions}",
                code="dimensions_changed",
                next_step="Name in fleet.yaml the embedder that mem0 itself embeds with now",
            )
        asked: AbstractContextManager[Kept] = nullcontext({})
        if (self._folder / FILE).exists():
            asked = self._file(dimensions)
        with asked as kept:
            return cost_of(memories, self._embedder, kept)

    @contextmanager
    def made(
        self, read: Callable[[], Iterable[Memory]], dimensions: int | None, left_out: list[UUID], tell: Tell
    ) -> Iterator[Iterator[Memory]]:
        """First all vectors, then the memories with them, to be written: so a transaction waits for no network.

        Those for which there is none are left out, and noted. What was asked for is forgotten only where this ends well.
        """
        with self._file(dimensions) as kept:
            make_vectors(read(), self._embedder, kept, tell)
            yield with_new_vectors(read(), kept, left_out)
        remove_vector_file(self._folder)

    def _file(self, dimensions: int | None) -> AbstractContextManager[VectorFile]:
        return vector_file(self._folder, f"{self._embedder.name} -> {dimensions}")
