"""colonnade's native core: packs weights and runs Plans."""

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray

class Runtime:
    """Topology and a pinned thread pool; engines may share one."""

    def __init__(self, threads: int = 0) -> None: ...
    @property
    def threads(self) -> int: ...
    @property
    def peak_threads_running(self) -> int: ...
    @property
    def threads_by_domain(self) -> list[int]: ...
    @property
    def is_forked(self) -> bool: ...
    @property
    def cpus(self) -> list[int]: ...
    @property
    def physical_cores(self) -> int: ...
    @property
    def quota_cpus(self) -> float: ...
    @property
    def l1d_bytes(self) -> int: ...
    @property
    def l2_bytes(self) -> int: ...
    @property
    def l3_bytes(self) -> int: ...
    @property
    def numa_nodes(self) -> int: ...

def trim_memory() -> None:
    """Gives freed memory back to the system."""

def best_isa(max_isa: str = "") -> str:
    """Best instruction set of this CPU, not above `max_isa`."""

class Executor:
    """A verified plan with its constants, ready to run."""

    def __init__(
        self,
        runtime: Runtime,
        words: Annotated[
            NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)
        ],
        constants: Sequence[Annotated[NDArray, dict(order="C", device="cpu", writable=False)]],
        isa: str,
    ) -> None: ...
    def run(
        self,
        inputs: Sequence[Annotated[NDArray, dict(order="C", device="cpu", writable=False)]],
        outputs: Sequence[Annotated[NDArray, dict(order="C", device="cpu")]],
        first: int = 0,
        count: int = 0,
    ) -> tuple[int, int, int, int, str]:
        """
        Runs on `count` threads of the runtime from thread `first` on; on all by default.
        """

    def trace(
        self,
        inputs: Sequence[Annotated[NDArray, dict(order="C", device="cpu", writable=False)]],
        outputs: Sequence[Annotated[NDArray, dict(order="C", device="cpu")]],
        first: int = 0,
        count: int = 0,
    ) -> list[tuple[int, int, int, int]]: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def scratch_bytes(self) -> int: ...
    @property
    def num_allocations(self) -> int: ...
    @property
    def step_items(self) -> list[int]:
        """Work items that each step deals to the threads, in order."""

def op_names() -> list[str]:
    """Names of the adapters a Plan may call."""

def written_operands(kernel: str, count: int) -> list[int]: ...
def elementwise_opcodes() -> list[str]:
    """Opcodes of element-wise programs, by number."""

def panel_lanes(isa: str) -> int:
    """Columns in one panel (NB)."""

def choose_matmul(isa: str, m: int, k: int, l: int) -> tuple[int, str, int]: ...
def choose_rows_matmul(isa: str, l: int, m: int, k: int) -> tuple[int, str, int]: ...
def choose_general_matmul(isa: str, m: int, n: int, k: int) -> tuple[int, str, int]: ...
def choose_conv(isa: str, shape: Sequence[int], transposed: bool) -> tuple[int, str, int]: ...
def choose_depthwise(isa: str, shape: Sequence[int]) -> tuple[int, str, int]: ...
def pack_matmul(
    row: int,
    w: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    m: int,
    k: int,
    transposed: bool,
) -> NDArray[numpy.float32]: ...
def pack_rows(
    row: int,
    w: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    m: int,
    k: int,
    transposed: bool,
) -> NDArray[numpy.float32]: ...
def choose_byte_matmul(isa: str) -> tuple[int, str, int]: ...
def byte_matmul_rows() -> list[tuple[str, str, int]]: ...
def pack_byte_matmul(
    row: int,
    w: Annotated[NDArray[numpy.int8], dict(order="C", device="cpu", writable=False)],
    m: int,
    k: int,
) -> NDArray[numpy.uint8]: ...
def pack_byte_conv(
    row: int,
    w: Annotated[NDArray[numpy.int8], dict(order="C", device="cpu", writable=False)],
    shape: Sequence[int],
    is_depthwise: bool,
) -> NDArray[numpy.uint8]: ...
def pack_byte_sparse(
    row: int,
    w: Annotated[NDArray[numpy.int8], dict(order="C", device="cpu", writable=False)],
    m: int,
    k: int,
    shape: Sequence[int],
    k_block: int,
) -> NDArray[numpy.uint8]: ...
def choose_sparse(isa: str, is_conv: bool) -> tuple[int, str, int]: ...
def pack_sparse(
    row: int,
    w: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    groups: int,
    m: int,
    k: int,
    k_block: int,
    is_integer: bool = False,
) -> NDArray[numpy.uint8]: ...
def choose_recurrent(isa: str) -> tuple[int, str]: ...
def recurrent_packed_floats(kind: int, directions: int, hidden: int, lanes: int) -> int: ...
def pack_recurrent(
    kind: int,
    r: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    directions: int,
    hidden: int,
    lanes: int,
) -> NDArray[numpy.float32]: ...
def pack_sparse_recurrent(
    kind: int,
    r: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    directions: int,
    hidden: int,
    lanes: int,
) -> NDArray[numpy.uint8]: ...
def pack_conv(
    row: int,
    w: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    shape: Sequence[int],
    transposed: bool,
) -> NDArray[numpy.float32]: ...
def choose_byte_recurrent(isa: str) -> tuple[int, str]: ...
def pack_byte_recurrent(
    kind: int,
    r: Annotated[NDArray[numpy.int8], dict(order="C", device="cpu", writable=False)],
    directions: int,
    hidden: int,
    lanes: int,
) -> NDArray[numpy.uint8]: ...
def pack_recurrent_scales(
    kind: int,
    rows: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    directions: int,
    hidden: int,
    lanes: int,
) -> NDArray[numpy.uint8]: ...
def pack_recurrent_sums(
    kind: int,
    rows: Annotated[NDArray[numpy.int32], dict(order="C", device="cpu", writable=False)],
    directions: int,
    hidden: int,
    lanes: int,
) -> NDArray[numpy.uint8]: ...
def read_panels(reach: Sequence[int], panel: int, end: int) -> tuple[int, int]: ...
