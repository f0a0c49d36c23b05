"""SQE builders by family; `Ring` inherits from all of them."""

from .buffers import BufferBuilders
from .cancelling import CancelBuilders
from .command import CommandBuilders
from .descriptors import DescriptorBuilders
from .files import FileBuilders
from .messages import MessageBuilders
from .paths import PathBuilders
from .pipes import PipeBuilders
from .polling import PollBuilders
from .sockets import SocketBuilders
from .sync import SyncBuilders
from .timing import TimingBuilders
from .transfers import TransferBuilders
from .xattrs import XattrBuilders
from .zero_copy import ZeroCopyBuilders


class AllBuilders(
    FileBuilders,
    DescriptorBuilders,
    PathBuilders,
    PipeBuilders,
    XattrBuilders,
    SocketBuilders,
    TransferBuilders,
    ZeroCopyBuilders,
    PollBuilders,
    TimingBuilders,
    SyncBuilders,
    MessageBuilders,
    CommandBuilders,
    BufferBuilders,
    CancelBuilders,
):
    """The builders of every family."""
